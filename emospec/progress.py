"""How far long work is, in words: durations, and lines for where there is no terminal to show a bar."""

import sys
import time
from collections.abc import Callable

LINE_SECONDS = 30.0  # between two lines of one piece of work
SOON_SECONDS = 10.0  # the least between two lines; what is done sooner has none


def roughly(seconds: float) -> str:
    """Return a duration in words, no more exact than an estimate is.

    >>> [roughly(seconds) for seconds in (0.2, 42, 700, 11_000)]
    ['1 s', '42 s', '12 min', '3 h 03 min']
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class ProgressLines:
    """Prints a line on standard error now and then: about every tenth of the work, or every 30 seconds.

    Args:
        clock: gives seconds; they need not be of day.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: dict[
            str, tuple[float, int]
        ] = {}  # of each piece of work: when it was first told of, and how far
        self._printed: dict[str, tuple[float, int]] = {}
        self._words: dict[str, str] = {}

    def update(self, name: str, done: int, total: int, word: str) -> None:
        """Take the news of a piece of work; print it where a line is due.

        Args:
            name: of the piece of work.
            done, total: how far it is.
            word: how it stands; the first one is printed at once.
        """
        now = self._clock()
        self._first.setdefault(name, (now, done))
        before = self._printed.get(name)
        since, at = before or self._first[name]
        first_word = bool(word) and not self._words.get(name)
        ended = (
            done >= total and (before is not None or bool(word)) and (at < done or word != self._words[name])
        )
        tenth = now - since >= SOON_SECONDS and done - at >= total / 10
        if first_word or ended or tenth or now - since >= LINE_SECONDS:
            left = "" if "about" in word else self._left(name, now, done, total)
            print(
                ", ".join(filter(None, (f"{name}: {done} of {total}", word, left))),
                file=sys.stderr,
                flush=True,
            )
            self._printed[name] = now, done
            self._words[name] = word

    def _left(self, name: str, now: float, done: int, total: int) -> str:
        began, at = self._first[name]
        if done <= at or done >= total:
            return ""
        return f"about {roughly((total - done) * (now - began) / (done - at))} left"
