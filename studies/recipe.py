"""Search the recipe: measure changes of the paper's recipe one after another, on dev alone.

`python -m studies.recipe PACKS OUT [--teacher FILE]` trains the missing runs under OUT (resumable) and prints the table
of docs/recipe.md. PACKS is a folder of four packs: `ravdess` and `nemo`, on which changes are evaluated, and
`not-ravdess` and `not-nemo`, all other corpora, for the change "first all other corpora". Only dev scores count: of
RAVDESS's folds 1 and 2 and of nEMO's first three one-speaker-out folds, two seeds each, which makes ten pairs of runs.
A change whose mean gain is above 0 is kept for all later ones. Changes after "first all other corpora" affect only the
training on the corpus itself.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from emospec.errors import exit_on_error
from emospec.experiments.parallel import run_specs
from emospec.experiments.plans import Arm, plan
from emospec.runs.record import RunRecord

FOLDS = {"ravdess": 2, "nemo": 3}
"""How many of a corpus's folds are run, from the first."""
SEEDS = 2
# Narrower than the paper, whose convolutions are three times the work.
BASE = (
    "network.channels=[16,32,64,96]",
    "training.steps=600",
    "training.steps_for=0",
    "training.evaluate_every=60",
    "training.select_after=200",
)
FIRST = ("data.protocol=groups:10", "loss.weights=corpus", "training.steps=3000", "training.select_after=600")
# Placeholders for the teacher's file and for the folder of a run on all other corpora.
TEACHER, START = "{teacher}", "{start}"

CHANGES: dict[str, tuple[str, ...]] = {
    "batch normalisation": ("network.normalise=true",),
    "cosine schedule from 1e-3, mean of weights": (
        "training.schedule=cosine",
        "training.learning_rate=1e-3",
        "training.averaging=0.98",
    ),
    "distillation": (f"loss.teacher={TEACHER}",),
    "speed and pitch": ("augmentation.speed=0.1", "augmentation.pitch=0.1"),
    "statistics pooling": ("network.pooling=statistics",),
    "own mean": ("frontend.own_mean=true",),
    "first all other corpora": (f"training.start_from={START}",),
    "masks": ("augmentation.masks=2",),
    "noise, room, telephone, gain": (
        "augmentation.noise=0.3",
        "augmentation.reverberation=0.3",
        "augmentation.telephone=0.1",
        "augmentation.gain_db=6",
    ),
    "label smoothing": ("loss.label_smoothing=0.1",),
    "no centre loss": ("loss.center_weight=0",),
    "distillation three times as heavy": ("loss.teacher_weight=3",),
}


def merged(base: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return overrides in which `more`, at the end, replaces those of the same keys."""
    keys = {o.partition("=")[0] for o in more}
    return (*(o for o in base if o.partition("=")[0] not in keys), *more)


@dataclass(frozen=True)
class Study:
    """The folders of packs and runs, and the teacher's file; trains and returns runs."""

    packs: Path
    out: Path
    teacher: str

    def filled(self, overrides: tuple[str, ...], start: Path | None = None) -> tuple[str, ...]:
        """Return overrides with the placeholders replaced by paths."""
        return tuple(o.format(teacher=self.teacher, start=start) for o in overrides)

    def starts(self, overrides: tuple[str, ...]) -> dict[str, Path]:
        """Return for each corpus a run on all others, trained by the overrides that precede the one with START."""
        earlier = overrides[: [o.endswith(START) for o in overrides].index(True)]
        jobs = [
            job
            for corpus in FOLDS
            for job in plan(
                [Arm("", "dai2019-mel", merged((*BASE, *FIRST), self.filled(earlier)))],
                self.packs / f"not-{corpus}",
                self.out / "first" / folder_name(earlier) / corpus,
                folds=1,
                command="python -m studies.recipe",
            )
        ]
        return dict(zip(FOLDS, (run.folder for run in run_specs(jobs, resume=True)), strict=True))

    def runs_of(self, overrides: tuple[str, ...]) -> dict[tuple[str, int, int], RunRecord]:
        """Return the runs of one recipe by corpus, fold and repeat; missing ones are trained."""
        starts = self.starts(overrides) if any(o.endswith(START) for o in overrides) else {}
        jobs = [
            job
            for corpus, folds in FOLDS.items()
            for job in plan(
                [Arm("", "dai2019-mel", merged(BASE, self.filled(overrides, starts.get(corpus))))],
                self.packs / corpus,
                self.out / folder_name(overrides) / corpus,
                folds=folds,
                repeats=SEEDS,
                command="python -m studies.recipe",
            )
        ]
        runs = run_specs(jobs, resume=True)
        return {(job.out.parent.name, job.fold, job.repeat): run for job, run in zip(jobs, runs, strict=True)}


def folder_name(overrides: tuple[str, ...]) -> str:
    """Return the name of the folder of a recipe's runs."""
    return "_".join(sorted(o.partition(".")[2].replace(".", "-") for o in overrides)) or "paper"


def main() -> None:
    """Train the missing runs and print the table row by row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "packs", type=Path, help="folder of the packs ravdess, nemo, not-ravdess and not-nemo"
    )
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--teacher", default="", help="a file of studies.teacher over all packs")
    parser.add_argument(
        "--only", type=int, default=len(CHANGES), help="how many of the changes, from the first"
    )
    options = parser.parse_args()
    study = Study(options.packs, options.out, options.teacher)
    print("| change | RAVDESS dev UA | nEMO dev UA | gain [95%] | kept |\n|---|---|---|---|---|", flush=True)
    base: tuple[str, ...] = ()
    plain = study.runs_of(base)
    print(f"| the paper's recipe, narrower, shorter | {dev_cells(plain)} | | |", flush=True)
    for name, overrides in list(CHANGES.items())[: options.only]:
        if any(o.endswith(TEACHER) for o in overrides) and not options.teacher:
            continue
        changed = study.runs_of(merged(base, overrides))
        # Two seeds of a fold share its speakers: a fold is one observation.
        folds = sorted({(corpus, fold) for corpus, fold, _ in plain})
        gain_of_run = {place: dev_ua(changed[place]) - dev_ua(run) for place, run in plain.items()}
        gains = [
            np.mean([gain for place, gain in gain_of_run.items() if place[:2] == fold]) for fold in folds
        ]
        mean, half = np.mean(gains), stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
        gain = f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"
        print(f"| {name} | {dev_cells(changed)} | {gain} | {'yes' if mean > 0 else 'no'} |", flush=True)
        if mean > 0:
            base, plain = merged(base, overrides), changed


def dev_ua(run: RunRecord) -> float:
    """Return a run's UA on dev in percent."""
    return float(100 * run.scores.dev.ua)


def dev_cells(runs: dict[tuple[str, int, int], RunRecord]) -> str:
    """Return the mean dev UA of each corpus as cells of a table."""
    means = (np.mean([dev_ua(run) for k, run in runs.items() if k[0] == corpus]) for corpus in FOLDS)
    return " | ".join(f"{mean:.1f}" for mean in means)


if __name__ == "__main__":
    with exit_on_error("studies.recipe"):
        main()
