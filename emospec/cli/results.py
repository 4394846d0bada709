"""The verbs of results: `evaluate`, `compare`, `report`. They need the extra `train`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

import emospec
from emospec.cli.options import AsJson, needs
from emospec.cli.streams import print_json
from emospec.cli.verbs import Panel
from emospec.errors import RunError

result_verbs = Panel("Results")

Runs = Annotated[list[Path], Argument(metavar="RUN...", help="Run folders, or folders that hold some.")]


@result_verbs.verb("evaluate", "emospec evaluate runs/one --on packs/ravdess")
def _evaluate(
    runs: Runs,
    on: Annotated[
        Path | None, Option(metavar="PACK", help="Evaluate on another pack: all that is new to the model.")
    ] = None,
    out: Annotated[Path | None, Option(help="With --on: write the predictions there, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Summarize the test scores of runs, or evaluate one run's model on another pack."""
    from emospec.cli.tables import print_scores, print_summaries

    with needs("train"):
        if on is None:
            if out is not None:
                raise RunError("--out is for the predictions on another pack: name it by --on PACK")
            print_summaries(emospec.evaluate(*runs), as_json, {})
            return
        from emospec.experiments.results import evaluate_new, predict_pack
        from emospec.runs.record import read_run

        if len(runs) != 1:
            raise RunError(f"--on evaluates one run's model, found {len(runs)} folders. Name one run folder")
        run = read_run(runs[0])
        scores = evaluate_new(run, predict_pack(run, on, out), on)
    if as_json:
        print_json(scores.to_dict())
    else:
        print_scores(scores)


@result_verbs.verb("compare", "emospec compare runs/center runs/plain")
def _compare(
    first: Annotated[Path, Argument(metavar="RUN", help="Runs of one setting.")],
    second: Annotated[Path, Argument(metavar="RUN", help="Runs of another, on the same folds and seeds.")],
    as_json: AsJson = False,
) -> None:
    """Compare two settings in pairs: the difference, its interval by speaker, and a permutation test."""
    from emospec.cli.tables import print_comparison

    with needs("train"):
        from emospec.evaluation.comparison import compare

        print_comparison(compare(first, second), as_json)


@result_verbs.verb("report", "emospec report runs/emodb-plain runs/emodb-center --out report")
def _report(
    runs: Runs,
    out: Annotated[Path, Option(help="The folder for report.html and its pictures.")],
    title: Annotated[str | None, Option(help="The report's title.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML report on runs, with its pictures as PNG and SVG."""
    with needs("train"):
        from emospec.report.page import write_report
        from emospec.report.words import count
        from emospec.runs.record import find_runs

        records = find_runs(runs)
        path = write_report(records, out, title)
    if as_json:
        print_json({"report": str(path), "runs": len(records)})
    else:
        print(f"Report on {count(len(records), 'run')}: {path.resolve()}")
