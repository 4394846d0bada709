"""How predictions are printed: a table, CSV row by row, or JSON; failures on standard error."""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn

from emospec.cli.output import can_print

if TYPE_CHECKING:
    from emospec.inference.recognizer import Failure, Prediction
    from emospec.inference.streaming import WindowPrediction

STOPPED = 130  # exit code, as of shells: 128 + SIGINT
LINE_SECONDS = 10.0  # between two lines of progress where there is no terminal

Form = Literal["table", "csv", "json"]


class Printer:
    """Prints predictions as they come (CSV) or at the end (table, JSON).

    Args:
        classes: the model's, in its order.
        form: how.
    """

    def __init__(self, classes: Sequence[str], form: Form) -> None:
        self.classes, self.form = classes, form
        self.rows: list[Prediction | Failure] = []
        self.csv = csv.writer(sys.stdout, lineterminator="\n")

    def __enter__(self) -> "Printer":
        if self.form == "csv":
            head = ["recording", "emotion", "confidence", "typicality", "seconds", "start", "end"]
            self.csv.writerow([*head, *(f"p_{name}" for name in self.classes), "warnings", "error"])
        return self

    def add(self, result: "Prediction | Failure") -> bool:
        """Take one more; whether it is a failure."""
        failed = told_failure(result)
        if self.form == "csv":
            self.csv.writerow(_cells(result, len(self.classes)))
            sys.stdout.flush()
        else:
            self.rows.append(result)
        return failed

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After Ctrl-C what was judged is printed too, whole: JSON that breaks off is of no use.
        if (kind is not None and not issubclass(kind, KeyboardInterrupt)) or self.form == "csv":
            return
        if self.form == "json":
            from emospec.cli.tables import print_json

            print_json([row.facts() for row in self.rows])
            return
        from emospec.inference.recognizer import Prediction

        if judged := [row for row in self.rows if isinstance(row, Prediction)]:
            _print_table(judged)


def stopped(words: str) -> NoReturn:
    """End a verb after Ctrl-C, with one line that says what is left of its work."""
    import typer

    print(f"emospec: stopped. {words}", file=sys.stderr)
    raise typer.Exit(STOPPED)


def told_failure(result: "Prediction | Failure") -> bool:
    """Whether a recording could not be judged; why goes to standard error."""
    from emospec.inference.recognizer import Failure

    if isinstance(result, Failure):
        print(f"emospec: {result.error}", file=sys.stderr)
        return True
    return False


def _cells(result: "Prediction | Failure", classes: int) -> list[object]:
    from emospec.inference.recognizer import Failure

    if isinstance(result, Failure):
        return [result.recording, *[""] * (7 + classes), result.error]
    numbers = [
        "" if value is None else f"{value:.4f}"
        for value in (result.confidence, result.typicality, result.seconds, *result.span)
    ]
    shares = [f"{p:.4f}" for p in result.probabilities.values()]
    words = "; ".join(result.warnings)
    return [result.recording, result.emotion or "", *numbers, *shares, words, ""]


def _print_table(predictions: "Sequence[Prediction]") -> None:
    """Columns of plain text: importing rich would take as long as the answer."""
    rows = [("recording", "emotion", "confidence", "typicality", "warnings")]
    for one in predictions:
        shares = ("n/a" if p is None else f"{100 * p:.1f} %" for p in (one.confidence, one.typicality))
        rows.append((one.recording, one.emotion or "-", *shares, "; ".join(one.warnings)))  # type: ignore[arg-type]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_moment(moment: "WindowPrediction", as_json: bool) -> None:
    """A line for a window: when, what, how sure."""
    if as_json:
        import json

        facts = {name: value for name, value in vars(moment).items() if name != "segments"}
        print(json.dumps(facts, ensure_ascii=False), flush=True)
        return
    when = f"{moment.start_seconds:7.1f} to {moment.end_seconds:.1f} s"
    if moment.confidence is None:
        print(f"{when:20}  no speech", flush=True)
        return
    bar = ("█" if can_print("█") else "#") * round(20 * moment.confidence)
    print(f"{when:20}  {moment.emotion or '-':12} {100 * moment.confidence:5.1f} %  {bar}", flush=True)


@contextmanager
def counter(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal and there is more than one thing to do."""
    if total < 2 or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)
