"""A cross-validation: processes of one thread side by side against one process of all threads."""

import statistics
import tempfile
from pathlib import Path

import torch

from bench.corpus import EMODB
from bench.measure import CORES, Ratio, in_turn, ratios_of, seconds, table
from emospec.config import load_settings
from emospec.data.corpora import demo, read_corpus
from emospec.data.pack import prepare
from emospec.experiments.parallel import run_specs
from emospec.experiments.spec import RunSpec
from emospec.runs.stored import Meta

STEPS = 40
FOLDS = 4  # of five: an odd one would leave a core of two idle for its time
AT_ONCE = min(CORES, FOLDS)


def main() -> str:
    """The section of the report."""
    changed = [
        f"training.steps={STEPS}",
        "training.selection_start=0.45",
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
        trained: dict[str, list[float]] = {"together": [], "in turn": [], "alone": []}

        def crossval(way: str) -> float:
            at_once, folds = (AT_ONCE if way == "together" else 1), (1 if way == "alone" else FOLDS)
            out = folder / f"runs-{next(runs)}"
            jobs = [
                RunSpec(pack.folder, out / f"f{fold}", settings, fold=fold) for fold in range(1, folds + 1)
            ]
            # The processes share them: one each.
            torch.set_num_threads({"alone": 1, "together": AT_ONCE, "in turn": CORES}[way])
            took = seconds(lambda: run_specs(jobs, jobs=at_once))
            spent = [Meta.read(job.files.meta).seconds for job in jobs]
            trained[way].append(sum(spent) / at_once)
            return took

        took = in_turn({way: lambda way=way: crossval(way) for way in trained})  # type: ignore[misc]
    steps = {way: times[1:] for way, times in trained.items()}  # without the warm-up
    rows = [
        Ratio(
            f"{what}, {AT_ONCE} processes of 1 thread",
            f"1 process of {CORES} threads",
            ratios_of(theirs, ours),
            f"{statistics.median(ours):.1f} s",
            f"{statistics.median(theirs):.1f} s",
            target=target,
        )
        for what, ours, theirs, target in (
            (f"{FOLDS} folds", took["together"], took["in turn"], 1.5 if AT_ONCE == 2 else None),
            ("their training alone", steps["together"], steps["in turn"], None),
        )
    ]
    one, many, beside = (
        statistics.median(took[way]) / times
        for way, times in (("alone", 1), ("in turn", FOLDS), ("together", FOLDS / AT_ONCE))
    )
    return f"""## Cross-validation

{FOLDS} folds of {corpus}, `dai2019`, {STEPS} steps each and 2 looks at dev, from settings to `scores.json`, by processes already
running. A number of folds that {AT_ONCE} does not divide leaves cores idle at its end.

{table(rows)}

What it can be: a run takes {one:.1f} s on one thread, alone on the machine, and {many:.1f} s on {CORES}: {AT_ONCE} at once would be {AT_ONCE * many / one:.2f}x
if each took as long as alone. Beside each other they take {beside:.1f} s, {beside / one:.2f} times as long.
"""
