"""A cross-validation: N processes of one thread side by side against one process of N threads."""

import statistics
import tempfile
from pathlib import Path

from bench.measure import CORES, Ratio, in_turn, ratios_of, seconds, table
from emospec.config import load_settings
from emospec.data.corpora import demo, read_corpus
from emospec.data.pack import prepare
from emospec.experiment import run_jobs
from emospec.run import Job

STEPS, FOLDS = 40, 4
EMODB = Path(__file__).resolve().parents[2] / "shared" / "corpora" / "emodb"


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

        def crossval(side_by_side: int) -> float:
            out = folder / f"runs-{next(runs)}"
            jobs = [Job(pack.folder, out / f"f{fold}", settings, fold=fold) for fold in range(1, FOLDS + 1)]
            return seconds(lambda: run_jobs(jobs, jobs=side_by_side))

        took = in_turn({"together": lambda: crossval(CORES), "in turn": lambda: crossval(1)})
    ratio = Ratio(
        f"{FOLDS} folds, {CORES} processes of 1 thread",
        f"1 process of {CORES} threads",
        ratios_of(took["in turn"], took["together"]),
        *(f"{statistics.median(took[way]):.1f} s" for way in ("together", "in turn")),
        target=1.5,
    )
    return f"""## Cross-validation

{FOLDS} folds of {corpus}, `dai2019`, {STEPS} steps each and 2 looks at dev, from settings to `scores.json`; starting the processes is
in the time.

{table([ratio])}
"""
