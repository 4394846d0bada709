"""A cross-validation: N processes of one thread side by side against one process of N threads."""

import json
import statistics
import tempfile
from pathlib import Path

from bench.corpus import EMODB
from bench.measure import CORES, Ratio, in_turn, ratios_of, seconds, table
from emospec.config import load_settings
from emospec.data.corpora import demo, read_corpus
from emospec.data.pack import prepare
from emospec.experiment import run_jobs
from emospec.job import Job

STEPS, FOLDS = 40, 4


def main() -> str:
    """The section of the report."""
    changed = [
        f"training.steps={STEPS}",
        "training.steps_for=0",
        "training.min_steps=1",
        "training.select_after=18",
    ]
    settings = load_settings("dai2019-mel", [*changed, "data.protocol=dai2019"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if EMODB.is_dir():
            corpus, utterances = "EMO-DB", read_corpus("emodb", EMODB)
        else:
            demo.synthesise(folder / "corpus")
            corpus, utterances = "the demo corpus", demo.read(folder / "corpus")
        pack, _ = prepare(utterances, folder / "pack")
        runs = iter(range(1000))
        trained: dict[str, list[float]] = {"together": [], "in turn": []}

        def crossval(way: str) -> float:
            side_by_side = CORES if way == "together" else 1
            out = folder / f"runs-{next(runs)}"
            jobs = [Job(pack.folder, out / f"f{fold}", settings, fold=fold) for fold in range(1, FOLDS + 1)]
            took = seconds(lambda: run_jobs(jobs, jobs=side_by_side))
            spent = [json.loads((job.out / "meta.json").read_text())["seconds"] for job in jobs]
            trained[way].append(sum(spent) / side_by_side)
            return took

        took = in_turn({"together": lambda: crossval("together"), "in turn": lambda: crossval("in turn")})
    steps = {way: times[1:] for way, times in trained.items()}  # without the warm-up
    rows = [
        Ratio(
            f"{what}, {CORES} processes of 1 thread",
            f"1 process of {CORES} threads",
            ratios_of(theirs, ours),
            f"{statistics.median(ours):.1f} s",
            f"{statistics.median(theirs):.1f} s",
            target=target,
        )
        for what, ours, theirs, target in (
            (f"{FOLDS} folds", took["together"], took["in turn"], 1.5),
            ("their training alone", steps["together"], steps["in turn"], None),
        )
    ]
    return f"""## Cross-validation

{FOLDS} folds of {corpus}, `dai2019`, {STEPS} steps each and 2 looks at dev, from settings to `scores.json`, by processes that are
there already.

{table(rows)}

What it can be: one thread makes more than half of the utterances per second that {CORES} threads make (Training, above), so
{CORES} processes of one thread can win no more than {CORES} times that share, less what they take from each other's cache and
memory. The rest of the time is reading and judging every utterance in float32.
"""
