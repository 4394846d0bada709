"""Recipe research: what each change of the paper's recipe gives, one at a time, on dev alone.

python -m studies.recipe PACKS OUT [--teacher FILE] trains what is missing under OUT (resumable) and prints the table of
docs/recipe.md. PACKS is a folder of packs: `ravdess` and `nemo`, on which changes are judged, and `not-ravdess` and
`not-nemo`, all other corpora, on which the change of that name is trained first. Only dev is looked at: of RAVDESS's
folds 1 and 2 and of nEMO's first three one-speaker-out folds, two seeds each: ten pairs of runs. A change whose mean
gain is above 0 is kept, and is part of all that come after it; those after "first all other corpora" change only what
comes second.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from emospec.errors import mistakes_in_one_line
from emospec.experiments.parallel import run_specs
from emospec.experiments.planning import Arm, plan
from emospec.runs.record import RunRecord

STUDIES = {"ravdess": 2, "nemo": 3}  # corpus: its first so many folds
SEEDS = 2
# The paper's convolutions are three times the work.
GROUND = (
    "network.channels=[16,32,64,96]",
    "training.steps=600",
    "training.steps_for=0",
    "training.evaluate_every=60",
    "training.select_after=200",
)
FIRST = ("data.protocol=groups:10", "loss.weights=corpus", "training.steps=3000", "training.select_after=600")
TEACHER, START = "{teacher}", "{start}"  # stand for the file, and for a run on all other corpora

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
    """Overrides of which a later one of the same key takes the place of the earlier, at the end."""
    keys = {o.partition("=")[0] for o in more}
    return (*(o for o in base if o.partition("=")[0] not in keys), *more)


@dataclass(frozen=True)
class Study:
    """Where everything lies."""

    packs: Path
    out: Path
    teacher: str

    def told(self, overrides: tuple[str, ...], start: Path | None = None) -> tuple[str, ...]:
        """Overrides with the names of what is there."""
        return tuple(o.format(teacher=self.teacher, start=start) for o in overrides)

    def started(self, overrides: tuple[str, ...]) -> dict[str, Path]:
        """A run on all other corpora for each, by the recipe as it was then; trained where it is missing."""
        own = overrides[: [o.endswith(START) for o in overrides].index(True)]
        jobs = [
            job
            for corpus in STUDIES
            for job in plan(
                [Arm("", "dai2019-mel", merged((*GROUND, *FIRST), self.told(own)))],
                self.packs / f"not-{corpus}",
                self.out / "first" / name_of(own) / corpus,
                folds=1,
                command="python -m studies.recipe",
            )
        ]
        return dict(zip(STUDIES, (run.folder for run in run_specs(jobs, resume=True)), strict=True))

    def runs_of(self, overrides: tuple[str, ...]) -> dict[tuple[str, int, int], RunRecord]:
        """The runs of one recipe, by corpus, fold and repeat; those that are missing are trained."""
        first = any(o.endswith(START) for o in overrides)
        starts = self.started(overrides) if first else {}
        jobs = [
            job
            for corpus, folds in STUDIES.items()
            for job in plan(
                [Arm("", "dai2019-mel", merged(GROUND, self.told(overrides, starts.get(corpus))))],
                self.packs / corpus,
                self.out / name_of(overrides) / corpus,
                folds=folds,
                repeats=SEEDS,
                command="python -m studies.recipe",
            )
        ]
        runs = run_specs(jobs, resume=True)
        return {(job.out.parent.name, job.fold, job.repeat): run for job, run in zip(jobs, runs, strict=True)}


def name_of(overrides: tuple[str, ...]) -> str:
    """A folder's name."""
    return "_".join(sorted(o.partition(".")[2].replace(".", "-") for o in overrides)) or "paper"


def main() -> None:
    """Train what is missing, print the table as it grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("packs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--teacher", default="", help="a file of studies.teacher over all packs")
    parser.add_argument("--only", type=int, default=len(CHANGES), help="only the first so many changes")
    options = parser.parse_args()
    study = Study(options.packs, options.out, options.teacher)
    print("| change | RAVDESS dev UA | nEMO dev UA | gain [95%] | kept |\n|---|---|---|---|---|", flush=True)
    base: tuple[str, ...] = ()
    plain = study.runs_of(base)
    print(f"| the paper's recipe, narrower, shorter | {told(plain)} | | |", flush=True)
    for name, overrides in list(CHANGES.items())[: options.only]:
        if any(o.endswith(TEACHER) for o in overrides) and not options.teacher:
            continue
        changed = study.runs_of(merged(base, overrides))
        # Two seeds of a fold share its speakers: a fold is one observation.
        folds = sorted({(corpus, fold) for corpus, fold, _ in plain})
        gains = np.array(
            [
                np.mean([dev_ua(changed[k]) - dev_ua(plain[k]) for k in plain if k[:2] == fold])
                for fold in folds
            ]
        )
        half, kept = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains), gains.mean() > 0
        print(
            f"| {name} | {told(changed)} | {gains.mean():+.1f} [{gains.mean() - half:+.1f}, {gains.mean() + half:+.1f}] "
            f"| {'yes' if kept else 'no'} |",
            flush=True,
        )
        if kept:
            base, plain = merged(base, overrides), changed


def dev_ua(run: RunRecord) -> float:
    """In percent."""
    return float(100 * run.scores.dev.ua)


def told(runs: dict[tuple[str, int, int], RunRecord]) -> str:
    """The mean dev UA of each corpus, as cells of a table."""
    means = (np.mean([dev_ua(run) for k, run in runs.items() if k[0] == corpus]) for corpus in STUDIES)
    return " | ".join(f"{mean:.1f}" for mean in means)


if __name__ == "__main__":
    with mistakes_in_one_line("studies.recipe"):
        main()
