"""Recipe research: what each change of the paper's recipe gives, one at a time, on dev alone.

python -m bench.recipe RAVDESS NEMO OUT [--teacher FILE] trains what is missing under OUT (resumable) and prints the
table of docs/recipe.md. RAVDESS and NEMO are packs. Only dev is looked at: of RAVDESS's folds 1 and 2 and of nEMO's
first three one-speaker-out folds, two seeds each: ten pairs of runs. A change that is kept is part of all that come after.
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
    "training.evaluate_every=25",
    "training.select_after=200",
)
TEACHER = "TEACHER"  # stands for the file


@dataclass(frozen=True)
class Change:
    """One change, and whether it is kept."""

    name: str
    overrides: tuple[str, ...]
    kept: bool = False


CHANGES = (
    Change("narrower first convolutions", ("network.channels=[24,48,80,112]",)),
    Change("batch normalisation", ("network.normalise=true",)),
    Change("cosine schedule, weight averaging", ("training.schedule=cosine", "training.averaging=0.995")),
    Change("masks", ("augmentation.masks=2",)),
    Change("speed and pitch", ("augmentation.speed=0.1", "augmentation.pitch=0.1")),
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
    Change("distillation", (f"loss.teacher={TEACHER}",)),
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


def runs_of(
    overrides: tuple[str, ...], packs: dict[str, Path], out: Path, teacher: str
) -> dict[tuple[str, int, int], Run]:
    """The runs of one recipe, by corpus, fold and repeat; those that are missing are trained."""
    told = tuple(o.replace(TEACHER, teacher) for o in overrides)
    name = "_".join(sorted(o.replace(".", "-") for o in overrides)).replace("/", "-") or "paper"
    found = {}
    jobs = []
    for corpus, folds in STUDIES.items():
        arm = Arm("", "dai2019-mel", merged(SHORT, told))
        jobs += plan(
            [arm],
            packs[corpus],
            out / name / corpus,
            folds=folds,
            repeats=SEEDS,
            command=f"python -m bench.recipe ({name})",
        )
    for job, run in zip(jobs, run_jobs(jobs, resume=True), strict=True):
        found[job.out.parent.name, job.fold, job.repeat] = run
    return found


def main() -> None:
    """Train what is missing, print the table as it grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("ravdess", "nemo", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--teacher", default="")
    parser.add_argument("--only", type=int, default=len(CHANGES), help="only the first so many changes")
    options = parser.parse_args()
    packs = {"ravdess": options.ravdess, "nemo": options.nemo}
    print("| change | RAVDESS dev UA | nEMO dev UA | gain [95%] | kept |\n|---|---|---|---|---|")
    for change, base in bases()[: options.only]:
        if TEACHER in str(change.overrides) and not options.teacher:
            continue
        plain = runs_of(base, packs, options.out, options.teacher)
        changed = runs_of(merged(base, change.overrides), packs, options.out, options.teacher)
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
