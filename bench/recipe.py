"""Recipe research: what each change of the paper's recipe gives, one at a time, on dev alone.

python -m bench.recipe PACKS OUT [--teacher FILE] trains what is missing under OUT (resumable) and prints the table of
docs/recipe.md. PACKS is a folder of packs: `ravdess` and `nemo`, on which changes are judged, and `not-ravdess` and
`not-nemo`, all other corpora, on which the change of that name is trained first. Only dev is looked at: of RAVDESS's
folds 1 and 2 and of nEMO's first three one-speaker-out folds, two seeds each: ten pairs of runs. A change that is kept
is part of all that come after it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from emospec.evaluation.results import Run
from emospec.experiment import Arm, plan, run_jobs

STUDIES = {"ravdess": 2, "nemo": 3}  # corpus: its first so many folds
SEEDS = 2
SHORT = (
    "training.steps=1000",
    "training.steps_for=0",
    "training.evaluate_every=50",
    "training.select_after=200",
)
FIRST = ("data.protocol=groups:10", "loss.weights=corpus", "training.steps=3000", "training.select_after=600")
TEACHER, START = "{teacher}", "{start}"  # stand for the file, and for a run on all other corpora


@dataclass(frozen=True)
class Change:
    """One change, and whether it is kept."""

    name: str
    overrides: tuple[str, ...]
    kept: bool = False


CHANGES = (
    Change("narrower convolutions", ("network.channels=[16,32,64,96]",)),
    Change("batch normalisation", ("network.normalise=true",)),
    Change(
        "cosine schedule from 1e-3, mean of weights",
        ("training.schedule=cosine", "training.learning_rate=1e-3", "training.averaging=0.99"),
    ),
    Change("masks", ("augmentation.masks=2",)),
    Change("speed and pitch", ("augmentation.speed=0.1", "augmentation.pitch=0.1")),
    Change("distillation", (f"loss.teacher={TEACHER}",)),
    Change("first all other corpora", (f"training.start_from={START}",)),
    Change("own mean", ("frontend.own_mean=true",)),
    Change("statistics pooling", ("network.pooling=statistics",)),
    Change("attention pooling", ("network.pooling=attention",)),
    Change(
        "noise, room, telephone, gain",
        (
            "augmentation.noise=0.3",
            "augmentation.reverberation=0.3",
            "augmentation.telephone=0.1",
            "augmentation.gain_db=6",
        ),
    ),
    Change("label smoothing", ("loss.label_smoothing=0.1",)),
    Change("no centre loss", ("loss.center_weight=0",)),
)


def bases() -> list[tuple[Change, tuple[str, ...]]]:
    """Each change with the overrides of what it is added to."""
    base: tuple[str, ...] = ()
    found = []
    for change in CHANGES:
        found.append((change, base))
        base = merged(base, change.overrides) if change.kept else base
    return found


def merged(base: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides of which a later one of the same key replaces the earlier."""
    return tuple({o.partition("=")[0]: o for o in (*base, *more)}.values())


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
        """A run on all other corpora for each, by the same recipe; trained where it is missing."""
        own = tuple(o for o in overrides if not o.endswith(START))
        jobs = [
            job
            for corpus in STUDIES
            for job in plan(
                [Arm("", "dai2019-mel", merged((*SHORT, *FIRST), self.told(own)))],
                self.packs / f"not-{corpus}",
                self.out / "first" / name_of(own) / corpus,
                folds=1,
                command="python -m bench.recipe",
            )
        ]
        return dict(zip(STUDIES, (run.folder for run in run_jobs(jobs, resume=True)), strict=True))

    def runs_of(self, overrides: tuple[str, ...]) -> dict[tuple[str, int, int], Run]:
        """The runs of one recipe, by corpus, fold and repeat; those that are missing are trained."""
        first = any(o.endswith(START) for o in overrides)
        starts = self.started(overrides) if first else {}
        jobs = [
            job
            for corpus, folds in STUDIES.items()
            for job in plan(
                [Arm("", "dai2019-mel", merged(SHORT, self.told(overrides, starts.get(corpus))))],
                self.packs / corpus,
                self.out / name_of(overrides) / corpus,
                folds=folds,
                repeats=SEEDS,
                command="python -m bench.recipe",
            )
        ]
        runs = run_jobs(jobs, resume=True)
        return {(job.out.parent.name, job.fold, job.repeat): run for job, run in zip(jobs, runs, strict=True)}


def name_of(overrides: tuple[str, ...]) -> str:
    """A folder's name."""
    return "_".join(sorted(o.replace(".", "-") for o in overrides)) or "paper"


def main() -> None:
    """Train what is missing, print the table as it grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("packs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--teacher", default="", help="a file of bench.teacher over all packs")
    parser.add_argument("--only", type=int, default=len(CHANGES), help="only the first so many changes")
    options = parser.parse_args()
    study = Study(options.packs, options.out, options.teacher)
    print("| change | RAVDESS dev UA | nEMO dev UA | gain [95%] | kept |\n|---|---|---|---|---|")
    for change, base in bases()[: options.only]:
        if any(o.endswith(TEACHER) for o in change.overrides) and not options.teacher:
            continue
        plain, changed = (study.runs_of(recipe) for recipe in (base, merged(base, change.overrides)))
        gains = np.array(
            [100 * (changed[k].scores["dev"]["UA"] - plain[k].scores["dev"]["UA"]) for k in plain]
        )
        half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
        means = [
            100 * np.mean([r.scores["dev"]["UA"] for k, r in changed.items() if k[0] == c]) for c in STUDIES
        ]
        print(
            f"| {change.name} | {means[0]:.1f} | {means[1]:.1f} | {gains.mean():+.1f} [{gains.mean() - half:+.1f}, {gains.mean() + half:+.1f}] "
            f"| {'yes' if change.kept else 'no'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
