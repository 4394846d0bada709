"""Prints predictions (table, CSV, JSON) and the windows of a stream; writes timelines, one after the other."""

import csv
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emospec.cli.options import needs
from emospec.cli.progress import timeline_progress
from emospec.cli.streams import can_print, print_json
from emospec.cli.targets import STDIN, Output, picture_form
from emospec.cli.verbs import stopped
from emospec.errors import AudioError
from emospec.files import output_errors, write_bytes

if TYPE_CHECKING:
    from emospec.audio.waveform import Waveform
    from emospec.inference.prediction import Failure, Prediction
    from emospec.inference.recognizer import Recognizer
    from emospec.inference.recordings import Recording
    from emospec.inference.streaming import Timing, WindowPrediction
    from emospec.inference.timeline import Timeline


class Printer:
    """Prints predictions with the model's classes: as they come (CSV), or at the end (table, JSON)."""

    def __init__(self, classes: Sequence[str], form: Literal["table", "csv", "json"]) -> None:
        self._classes, self._form = classes, form
        self._results: list[Prediction | Failure] = []
        self._csv = csv.writer(sys.stdout, lineterminator="\n")

    def __enter__(self) -> "Printer":
        if self._form == "csv":
            head = ["recording", "emotion", "confidence", "typicality", "seconds", "start", "end"]
            self._csv.writerow([*head, *(f"p_{name}" for name in self._classes), "warnings", "error"])
        return self

    def add(self, result: "Prediction | Failure") -> bool:
        """Take one more result; return whether it is a failure."""
        failed = report_failure(result)
        # CSV is flushed row by row, for a program that reads it while recordings are still predicted.
        if self._form == "csv":
            self._csv.writerow(_cells(result, len(self._classes)))
            sys.stdout.flush()
        else:
            self._results.append(result)
        return failed

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        # After Ctrl-C the finished results are printed too, whole: JSON that breaks off is of no use.
        if (kind is not None and not issubclass(kind, KeyboardInterrupt)) or self._form == "csv":
            return
        if self._form == "json":
            print_json([result.facts() for result in self._results])
            return
        from emospec.inference.prediction import Prediction

        if predictions := [result for result in self._results if isinstance(result, Prediction)]:
            _print_table(predictions)


def report_failure(result: "Prediction | Failure") -> bool:
    """Return whether a recording could not be used; print why on standard error."""
    from emospec.inference.prediction import Failure

    if isinstance(result, Failure):
        print(f"emospec: {result.error}", file=sys.stderr)
        return True
    return False


def _cells(result: "Prediction | Failure", classes: int) -> list[object]:
    from emospec.inference.prediction import Failure

    if isinstance(result, Failure):
        return [result.recording, *[""] * (7 + classes), result.error]
    # A share that could not be computed leaves its cell empty: 0 would be read as a result.
    numbers = (result.confidence, result.typicality, result.seconds, *result.span)
    cells = ["" if number is None else f"{number:.4f}" for number in numbers]
    shares = [f"{share:.4f}" for share in result.probabilities.values()]
    return [result.recording, result.emotion or "", *cells, *shares, "; ".join(result.warnings), ""]


def _print_table(predictions: "Sequence[Prediction]") -> None:
    # Plain text in columns: importing rich would take as long as the answer.
    rows = [["recording", "emotion", "confidence", "typicality", "warnings"]]
    for prediction in predictions:
        shares = (prediction.confidence, prediction.typicality)
        cells = ("n/a" if share is None else f"{100 * share:.1f} %" for share in shares)
        name, emotion = prediction.recording, prediction.emotion or "-"
        rows.append([name, emotion, *cells, "; ".join(prediction.warnings)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_window(window: "WindowPrediction", as_json: bool) -> None:
    """Print a line for a window: its time, the emotion, and the confidence."""
    if as_json:
        facts = {name: value for name, value in vars(window).items() if name != "segments"}
        print(json.dumps(facts, ensure_ascii=False), flush=True)
        return
    time = f"{window.start_seconds:7.1f} to {window.end_seconds:.1f} s"
    if window.confidence is None:
        print(f"{time:20}  no speech", flush=True)
        return
    bar = ("█" if can_print("█") else "#") * round(20 * window.confidence)
    print(f"{time:20}  {window.emotion or '-':12} {100 * window.confidence:5.1f} %  {bar}", flush=True)


def write_timelines(
    recognizer: "Recognizer",
    targets: "Sequence[tuple[Recording, Sequence[Output]]]",
    timing: "Timing",
    *,
    speech: bool,
    channel: int | None,
    plot: Path | None,
) -> int:
    """Write the timeline of each recording to its files; return how many recordings cannot be read."""
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
                # One recording that cannot be read ends the verb; of several, the others go on.
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
    from emospec.audio.waveform import SAMPLE_RATE

    with needs("plot"):
        from emospec.inference.plot import draw, overview, to_image
    samples = round(timeline.duration_seconds * SAMPLE_RATE)
    write_bytes(path, to_image(draw(timeline, overview(blocks, samples)), picture_form(path)))
