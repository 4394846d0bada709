"""Progress of a verb's work on standard error: a bar on a terminal, else a line now and then.

rich is imported only for a bar: a short `emospec predict` would spend as long on the import as on its work.
"""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emospec.cli.targets import label
from emospec.progress import roughly

if TYPE_CHECKING:
    from rich.progress import Progress

    from emospec.experiments.progress import RunProgress
    from emospec.inference.bulk import ScoringProgress
    from emospec.inference.recordings import Recording

# Seconds between two lines where there is no terminal; those of runs come about every tenth of the work.
_LINE_SECONDS = 10.0
_RUN_LINE_SECONDS = 30.0

_Begin = Callable[["Recording"], Callable[[float], None]]


def _bars(*columns: str, quiet: bool = False, transient: bool = False) -> "Progress":
    """Return bars on standard error, of texts and of rich's columns, each named by its class."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    parts = [getattr(progress, c)() if c.endswith("Column") else progress.TextColumn(c) for c in columns]
    hidden = quiet or not console.is_terminal
    return progress.Progress(*parts, console=console, disable=hidden, transient=transient)


@contextmanager
def run_progress(quiet: bool) -> Iterator["RunProgress"]:
    """Show a bar per run, or lines; on a terminal nothing where `quiet`."""
    columns = ("{task.description}", "BarColumn", "MofNCompleteColumn", "TimeRemainingColumn")
    with _bars(*columns, "{task.fields[word]}", quiet=quiet) as bars:
        tasks: dict[str, Any] = {}
        lines = None if bars.console.is_terminal else RunLines()

        def update(name: str, done: int, total: int, word: str) -> None:
            if lines:
                lines.update(name, done, total, word)
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total, word="")
            bars.update(tasks[name], completed=done, total=total, word=word)

        yield update


class RunLines:
    """Prints a line on standard error about every tenth of a run, or every 30 seconds; none in the first 10."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Of each run: the time and the steps done at its first report, and at its last line, with the line's word.
        self._first: dict[str, tuple[float, int]] = {}
        self._last: dict[str, tuple[float, int, str]] = {}

    def update(self, name: str, done: int, total: int, word: str) -> None:
        """Print the steps of a run, and a word on its state, where a line is due."""
        # The first word is printed at once, and so is the end of a run that had a line before.
        now = self._clock()
        first = self._first.setdefault(name, (now, done))
        since, at, last = self._last.get(name, (*first, ""))
        tenth = now - since >= _LINE_SECONDS and done - at >= total / 10
        ended = done >= total and name in self._last and (done, word) != (at, last)
        if (word and not last) or ended or tenth or now - since >= _RUN_LINE_SECONDS:
            left = ""
            # A word that estimates the time itself needs no second estimate.
            if "about" not in word and first[1] < done < total:
                left = f"about {roughly((total - done) * (now - first[0]) / (done - first[1]))} left"
            line = ", ".join(filter(None, (f"{name}: {done} of {total}", word, left)))
            print(line, file=sys.stderr, flush=True)
            self._last[name] = now, done, word


@contextmanager
def scoring_progress() -> Iterator["ScoringProgress"]:
    """Show how many files are scored, their rate and the time left."""
    first: int | None = None
    last_line = started = time.monotonic()
    with _bars("BarColumn", "MofNCompleteColumn", "{task.description}") as bar:
        task = bar.add_task("files")

        def update(done: int, total: int, audio_seconds: float) -> None:
            nonlocal first, last_line
            now = time.monotonic()
            # What an earlier call has scored tells nothing of this one's rate.
            first = done if first is None else first
            words = _rate(done - first, total - done, audio_seconds, now - started)
            bar.update(task, completed=done, total=total, description=words)
            if bar.disable and (now - last_line >= _LINE_SECONDS or done == total):
                last_line = now
                print(f"{done} of {total} {words}", file=sys.stderr, flush=True)

        yield update


def _rate(files: int, left: int, audio_seconds: float, seconds: float) -> str:
    if not files:
        return "files"
    hours = audio_seconds / 3600 / (seconds / 60)
    rest = round(left * seconds / files)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"files, {files / seconds:.1f} files/s, {hours:.2f} hours of audio a minute, {clock} left"


@contextmanager
def counter(done_word: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many recordings are done, on a terminal and where there are several."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda _: None
        return
    with _bars(done_word, "BarColumn", "MofNCompleteColumn", "TimeRemainingColumn") as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def timeline_progress(recordings: int, passes: int) -> Iterator[_Begin]:
    """Show how far timelines are: recordings so many, each gone through in so many passes."""
    # The function yielded takes a recording that begins, and returns one that takes the seconds gone through.
    if not sys.stderr.isatty():
        yield _timeline_lines(recordings, passes)
        return
    columns = ("timelines", "BarColumn", "TaskProgressColumn", "TimeRemainingColumn")
    with _bars(*columns, transient=True) as bar:
        task, done = bar.add_task("", total=recordings), -1

        def begin(recording: "Recording") -> Callable[[float], None]:
            nonlocal done
            done += 1
            bar.update(task, completed=done)
            total = (_stated_seconds(recording) or 0.0) * passes
            return lambda seconds: bar.advance(task, seconds / total) if total else None

        yield begin


def _timeline_lines(recordings: int, passes: int) -> _Begin:
    last_line, begun = time.monotonic(), 0

    def begin(recording: "Recording") -> Callable[[float], None]:
        nonlocal begun
        begun += 1
        total, done = (_stated_seconds(recording) or 0.0) * passes, 0.0

        def step(seconds: float) -> None:
            nonlocal last_line, done
            done += seconds
            if (now := time.monotonic()) - last_line < _LINE_SECONDS:
                return
            last_line = now
            share = f"{min(100.0, 100 * done / total):.0f} %" if total else f"{done / passes:.0f} s"
            position = f"recording {begun} of {recordings}, " if recordings > 1 else ""
            print(f"{position}{label(recording)}: {share} done", file=sys.stderr, flush=True)

        return step

    return begin


def _stated_seconds(recording: "Recording") -> float | None:
    import soundfile

    from emospec.audio.kinds import HEAD_BYTES, is_supported

    try:
        with io.BytesIO(recording) if isinstance(recording, bytes) else open(str(recording), "rb") as file:
            # Of other kinds libsndfile may write on standard error.
            if not is_supported(file.read(HEAD_BYTES)):
                return None
            file.seek(0)
            info = soundfile.info(file)
    # It is raised again when the recording is decoded.
    except (RuntimeError, OSError, TypeError, ValueError):
        return None
    # A stream of unknown length states the largest number of samples, which is no length.
    return float(info.duration) if 0 < info.duration < float(sys.maxsize) / info.samplerate / 2 else None
