"""Progress of long work in words: durations, and lines for where there is no terminal to show a bar."""

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


Progress = Callable[[int, int], None]
"""Called with how many are done, and how many there are in all."""


class ProgressLines:
    """Prints a line on standard error now and then: about every tenth of the work, or every 30 seconds.

    Args:
        clock: gives seconds; they need not be of day.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: dict[
            str, tuple[float, int]
        ] = {}  # when each piece of work was first reported, and its share then
        self._last: dict[str, tuple[float, int, str]] = {}  # its last line

    def update(self, name: str, done: int, total: int, word: str) -> None:
        """Take the news of a piece of work; print it where a line is due.

        Args:
            name: of the piece of work.
            done, total: how far it is.
            word: how it stands; the first one is printed at once, and so is the end of what had a line before.
        """
        now = self._clock()
        first = self._first.setdefault(name, (now, done))
        since, at, last = self._last.get(name, (*first, ""))
        tenth = now - since >= SOON_SECONDS and done - at >= total / 10
        ended = done >= total and name in self._last and (done, word) != (at, last)
        if (word and not last) or ended or tenth or now - since >= LINE_SECONDS:
            left = "" if "about" in word else self._left(name, now, done, total)
            words = (f"{name}: {done} of {total}", word, left)
            print(", ".join(filter(None, words)), file=sys.stderr, flush=True)
            self._last[name] = now, done, word

    def _left(self, name: str, now: float, done: int, total: int) -> str:
        began, at = self._first[name]
        if done <= at or done >= total:
            return ""
        return f"about {roughly((total - done) * (now - began) / (done - at))} left"
