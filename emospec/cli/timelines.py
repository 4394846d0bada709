"""Predicts and writes the timelines of `emospec timeline`, one recording after the other."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emospec.cli.options import needs
from emospec.cli.progress import timeline_progress
from emospec.cli.stopping import stopped
from emospec.cli.targets import STDIN, Output, picture_form
from emospec.errors import AudioError
from emospec.files import output_errors

if TYPE_CHECKING:
    from emospec.audio.waveform import Waveform
    from emospec.inference.recognizer import Recognizer
    from emospec.inference.recordings import Recording
    from emospec.inference.streaming import Timing
    from emospec.inference.timeline import Timeline


def write_timelines(
    recognizer: "Recognizer",
    targets: "Sequence[tuple[Recording, Sequence[Output]]]",
    timing: "Timing",
    *,
    speech: bool,
    channel: int | None,
    plot: Path | None,
) -> int:
    """Write the timeline of each recording to its files; return how many recordings cannot be read.

    The reason goes to standard error; of an only recording it is raised, as AudioError.
    """
    failures = done = 0
    # Text for standard output waits until the bar has gone, which catches what is printed beside it.
    text = ""
    try:
        with timeline_progress(len(targets), passes=1 + speech) as begin:
            for recording, outputs in targets:
                step = begin(recording)
                try:
                    timeline = recognizer.timeline(
                        recording, timing=timing, speech=speech, channel=channel, progress=step
                    )
                except AudioError as error:
                    if len(targets) == 1:
                        raise
                    failures += 1
                    print(f"emospec: {error}", file=sys.stderr)
                    continue
                if isinstance(recording, bytes):
                    timeline = dataclasses.replace(timeline, recording=STDIN)
                if not timeline.has_speech:
                    print(f"emospec: no speech found in {timeline.recording}", file=sys.stderr)
                for warning in recognizer.reader.channel_warnings(recording) if channel is None else ():
                    print(f"emospec: {timeline.recording}: {warning}", file=sys.stderr)
                text += _write(timeline, outputs)
                if plot is not None:
                    _draw(timeline, recognizer.reader.blocks(recording, channel=channel), plot)
                done += 1
    except KeyboardInterrupt:
        stopped(f"{done} of {len(targets)} timelines were made")
    print(text, end="", flush=True)
    return failures


def _write(timeline: "Timeline", outputs: Sequence[Output]) -> str:
    """Write a timeline to its files; return the text for standard output."""
    from emospec.inference.formats import render, write

    text = ""
    for output in outputs:
        if output.path is None:
            text += render(output.form, timeline)
            continue
        with output_errors(output.path):
            output.path.parent.mkdir(exist_ok=True)
        write(output.form, timeline, output.path)
    return text


def _draw(timeline: "Timeline", blocks: "Iterator[Waveform]", path: Path) -> None:
    """Draw waveform, spectrogram and emotions of a recording into a file."""
    from emospec.audio.waveform import SAMPLE_RATE
    from emospec.files import write_bytes

    with needs("plot"):
        from emospec.inference.plot import draw, overview, to_image
    samples = round(timeline.duration_seconds * SAMPLE_RATE)
    write_bytes(path, to_image(draw(timeline, overview(blocks, samples)), picture_form(path)))
