"""Prints predictions as a table, CSV row by row, or JSON, and the windows of a stream line by line."""

import csv
import json
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from emospec.cli.streams import can_print, print_json

if TYPE_CHECKING:
    from emospec.inference.prediction import Failure, Prediction
    from emospec.inference.streaming import WindowPrediction


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
        if self._form == "csv":
            self._csv.writerow(_cells(result, len(self._classes)))
            sys.stdout.flush()
        else:
            self._results.append(result)
        return failed

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
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
    numbers = (result.confidence, result.typicality, result.seconds, *result.span)
    cells = ["" if number is None else f"{number:.4f}" for number in numbers]
    shares = [f"{share:.4f}" for share in result.probabilities.values()]
    return [result.recording, result.emotion or "", *cells, *shares, "; ".join(result.warnings), ""]


def _print_table(predictions: "Sequence[Prediction]") -> None:
    """Print columns of plain text: importing rich would take as long as the answer."""
    rows = [("recording", "emotion", "confidence", "typicality", "warnings")]
    for prediction in predictions:
        confidence, typicality = (
            "n/a" if share is None else f"{100 * share:.1f} %"
            for share in (prediction.confidence, prediction.typicality)
        )
        warnings = "; ".join(prediction.warnings)
        rows.append((prediction.recording, prediction.emotion or "-", confidence, typicality, warnings))
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
