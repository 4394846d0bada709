"""`emospec timeline`: makes and writes timelines one after the other, and shows the progress."""

import dataclasses
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from emospec.cli.extras import needs
from emospec.cli.predictions import LINE_SECONDS, stopped
from emospec.cli.targets import STDIN, Output, label, picture_form
from emospec.errors import AudioError
from emospec.files import told_as_output

if TYPE_CHECKING:
    from emospec.audio.waveform import Waveform
    from emospec.inference.recordings import Recording
    from emospec.inference.recognizer import Recognizer
    from emospec.inference.streaming import Timing
    from emospec.inference.timeline import Timeline


def judge_all(
    recognizer: "Recognizer",
    plans: "Sequence[tuple[Recording, Sequence[Output]]]",
    timing: "Timing",
    *,
    speech: bool,
    channel: int | None,
    plot: Path | None,
) -> int:
    """Write the timeline of each recording; of one that cannot be read, why goes to standard error.

    Args:
        recognizer: the model.
        plans: recordings, each with its files.
        timing, speech, channel: as of `Recognizer.timeline`.
        plot: the picture to draw, where there is one recording.

    Returns:
        How many could not be read.

    Raises:
        AudioError: the only recording cannot be read.
    """
    failures = done = 0
    text = ""  # for standard output: only once the bar has gone, which catches what is printed beside it
    try:
        with progress(len(plans), 1 + speech) as begin:
            for recording, outputs in plans:
                try:
                    heard = recognizer.timeline(
                        recording,
                        timing=timing,
                        speech=speech,
                        channel=channel,
                        progress=begin(recording),
                    )
                except AudioError as error:
                    if len(plans) == 1:
                        raise
                    failures += 1
                    print(f"emospec: {error}", file=sys.stderr)
                    continue
                if isinstance(recording, bytes):
                    heard = dataclasses.replace(heard, recording=STDIN)
                if not heard.has_speech:
                    print(f"emospec: no speech found in {heard.recording}", file=sys.stderr)
                for warning in recognizer.reader.channel_warnings(recording) if channel is None else ():
                    print(f"emospec: {heard.recording}: {warning}", file=sys.stderr)
                text += _write(heard, outputs)
                if plot is not None:
                    _draw(heard, recognizer.reader.blocks(recording, channel=channel), plot)
                done += 1
    except KeyboardInterrupt:
        stopped(f"{done} of {len(plans)} timelines were made")
    print(text, end="", flush=True)
    return failures


def _write(heard: "Timeline", outputs: Sequence[Output]) -> str:
    """Write a timeline to its files; return what is for standard output."""
    from emospec.inference.formats import render, write

    text = ""
    for output in outputs:
        if output.path is None:
            text += render(output.form, heard)
            continue
        with told_as_output(output.path):
            output.path.parent.mkdir(exist_ok=True)
        write(output.form, heard, output.path)
    return text


def _draw(heard: "Timeline", blocks: "Iterator[Waveform]", path: Path) -> None:
    """Draw waveform, spectrogram and emotions of a recording into a file."""
    from emospec.audio.waveform import SAMPLE_RATE
    from emospec.files import write_bytes

    with needs("plot"):
        from emospec.inference.plot import draw, overview, to_image
    seen = overview(blocks, round(heard.duration_seconds * SAMPLE_RATE))
    write_bytes(path, to_image(draw(heard, seen), picture_form(path)))


@contextmanager
def progress(recordings: int, passes: int) -> Iterator[Callable[["Recording"], Callable[[float], None]]]:
    """Show the progress of timelines on standard error: a bar on a terminal, else a line now and then.

    Args:
        recordings: how many there are.
        passes: how often each is gone through.

    Yields:
        A function that is called with each recording, and returns one that is called with seconds gone through.
    """
    if not sys.stderr.isatty():
        yield _lines(recordings, passes)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("heard"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, done = bar.add_task("", total=recordings), -1

        def begin(recording: "Recording") -> Callable[[float], None]:
            nonlocal done
            done += 1
            bar.update(task, completed=done)
            total = (_seconds_of(recording) or 0.0) * passes

            def step(seconds: float) -> None:
                if total:
                    bar.advance(task, seconds / total)

            return step

        yield begin


def _lines(recordings: int, passes: int) -> Callable[["Recording"], Callable[[float], None]]:
    """As of `progress`, where there is no terminal."""
    last, begun = time.monotonic(), 0

    def begin(recording: "Recording") -> Callable[[float], None]:
        nonlocal begun
        begun += 1
        total, done = (_seconds_of(recording) or 0.0) * passes, 0.0

        def step(seconds: float) -> None:
            nonlocal last, done
            done += seconds
            if (now := time.monotonic()) - last < LINE_SECONDS:
                return
            last = now
            share = f"{min(100.0, 100 * done / total):.0f} %" if total else f"{done / passes:.0f} s"
            which = f"recording {begun} of {recordings}, " if recordings > 1 else ""
            print(f"{which}{label(recording)}: {share} heard", file=sys.stderr, flush=True)

        return step

    return begin


def _seconds_of(recording: "Recording") -> float | None:
    """Return the length in seconds that a recording states; None where it states none or cannot be opened."""
    import soundfile

    from emospec.audio.kinds import HEAD_BYTES, is_read_here

    try:
        with io.BytesIO(recording) if isinstance(recording, bytes) else open(str(recording), "rb") as file:
            if not is_read_here(file.read(HEAD_BYTES)):  # libsndfile may write on standard error of it
                return None
            file.seek(0)
            found = soundfile.info(file)
    except (RuntimeError, OSError, TypeError, ValueError):  # the error is raised when it is judged
        return None
    return float(found.duration) if 0 < found.duration < float(sys.maxsize) / found.samplerate / 2 else None
