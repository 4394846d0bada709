"""Settings x folds x repeats -> the runs to do. Says beforehand what does not go together; trains and writes nothing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emospec.config import Settings, load_settings
from emospec.errors import ConfigError
from emospec.experiments.run import notable, refuse_mixture
from emospec.experiments.spec import RunSpec, doubts_of, open_pack, split_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """One setting of an experiment: the folder of its runs, a preset, and overrides."""

    folder: str
    preset: str
    overrides: tuple[str, ...]


def plan(
    arms: Sequence[Arm],
    pack: Path | str,
    out: Path | str,
    *,
    folds: int = 0,
    repeats: int = 1,
    steps: int = 0,
    seed: int = 0,
    strict: bool = False,
    command: str = "",
) -> list[RunSpec]:
    """The runs of some settings: fold by fold, so that what is done at any time can be compared.

    Args:
        folds: only the first so many of each repeat; 0 means all.
        steps: exactly so many in each run; 0 leaves it to the presets.
        strict: refuse folds with a leak.
        command: how the user asked for them.

    Raises:
        EmospecError: settings, pack, split or folder do not allow it. What is doubtful is logged as a warning.
    """
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}: choose 1 or more")
    refuse_mixture(Path(out), "a folder of runs", but_for="runs")
    settings = [load_settings(arm.preset, arm.overrides, steps) for arm in arms]
    _refuse_equal(arms, settings)
    planned = [
        _fold_by_fold(
            RunSpec(
                Path(pack),
                Path(out) / arm.folder,
                setting,
                seed=seed,
                command=command,
                overrides=notable(setting, arm.preset),
                strict=strict,
            ),
            folds,
            repeats,
        )
        for arm, setting in zip(arms, settings, strict=True)
    ]
    # Arms may have other numbers of folds.
    places = sorted({(job.repeat, job.fold) for jobs in planned for job in jobs})
    return [job for place in places for jobs in planned for job in jobs if (job.repeat, job.fold) == place]


def _fold_by_fold(arm: RunSpec, folds: int, repeats: int) -> list[RunSpec]:
    """The runs of one setting, whose folder is the arm's; each fold's steps are planned before any is trained."""
    pack, utterances, _ = open_pack(arm.pack, arm.settings)
    todo, doubts = [], dict[str, None]()
    for repeat in range(repeats):
        split = split_of(utterances, arm.settings, repeat, arm.seed, own=pack.user_corpora)
        for number, fold in enumerate(split.folds[: folds or None], start=1):
            todo.append(replace(arm, out=arm.out / f"r{repeat}-f{number}", fold=number, repeat=repeat))
            found = doubts_of(arm, len(fold.train))
            doubts |= dict.fromkeys(found if len(todo) == 1 else ())
    for doubt in doubts:
        _log.warning("%s: %s", arm.out, doubt)
    return todo


def _refuse_equal(arms: Sequence[Arm], settings: Sequence[Settings]) -> None:
    """ConfigError where two arms are one setting, such as two alphas without centre loss."""
    seen: dict[str, Arm] = {}
    for arm, setting in zip(arms, settings, strict=True):
        idle = set() if setting.loss.center_weight else {"center_rate"}
        exclude = {"training": {"checkpoint_seconds"}, "loss": idle}
        other = seen.setdefault(setting.model_dump_json(exclude=exclude), arm)
        if other is not arm:
            raise ConfigError(f"{other.folder} and {arm.folder} are one and the same setting. Leave one out")
