"""Settings x folds x repeats -> the runs to do. What does not go together is refused before anything is trained."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emospec.config import Settings, load_settings, toml_value
from emospec.errors import ConfigError
from emospec.experiments.spec import RunSpec, doubt_of, open_pack, split_of
from emospec.runs.folder import refuse_mixture
from emospec.runs.record import flatten

# The name of a setting tells the first three; the last one changes no result.
_NAMED_OTHERWISE = (
    "loss.center_weight",
    "loss.center_rate",
    "data.protocol",
    "training.checkpoint_seconds",
)

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
    command: str | None = None,
) -> list[RunSpec]:
    """Return the runs of some settings: fold by fold, so that what is done at any time can be compared.

    Args:
        folds: only the first so many of each repeat; 0 means all.
        steps: exactly so many in each run; 0 leaves it to the presets.
        strict: refuse folds with a leak.
        command: the words that asked for them.

    Raises:
        EmospecError: settings, pack, split or folder do not allow it. What is doubtful is logged as a warning.
    """
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}: choose 1 or more")
    refuse_mixture(Path(out), "a folder of runs", but_for="runs")
    settings = [load_settings(arm.preset, arm.overrides, steps) for arm in arms]
    _refuse_equal(arms, settings)
    specs = []
    for arm, setting in zip(arms, settings, strict=True):
        spec = RunSpec(
            pack=Path(pack),
            out=Path(out) / arm.folder,
            settings=setting,
            seed=seed,
            command=command or "",
            changed_settings=changed_settings(setting, arm.preset),
            strict=strict,
        )
        specs += _all_folds(spec, folds, repeats)
    return sorted(specs, key=lambda spec: (spec.repeat, spec.fold))


def changed_settings(settings: Settings, preset: str) -> tuple[str, ...]:
    """Return what differs from the preset, `table.key=value`, sorted, except what a setting's name tells."""
    values, defaults = (flatten(tables.model_dump()) for tables in (settings, load_settings(preset)))
    changed = sorted(
        (key, value)
        for key, value in values.items()
        if value != defaults[key] and key not in _NAMED_OTHERWISE
    )
    return tuple(
        f"{key}={value if isinstance(value, str) else toml_value(value).replace(' ', '')}"
        for key, value in changed
    )


def _all_folds(spec: RunSpec, folds: int, repeats: int) -> list[RunSpec]:
    """Return the runs of one setting, whose folder is the spec's; each fold's steps are planned before any is trained."""
    pack, utterances, _ = open_pack(spec.pack, spec.settings)
    specs, doubts = [], []
    for repeat in range(repeats):
        split = split_of(utterances, spec.settings, repeat, spec.seed, own=pack.user_corpora)
        for number, fold in enumerate(split.folds[: folds or None], start=1):
            doubts.append(doubt_of(spec.settings, len(fold.train)))
            specs.append(replace(spec, out=spec.out / f"r{repeat}-f{number}", fold=number, repeat=repeat))
    # The doubts of further folds would be the same again.
    if doubts[0]:
        _log.warning("%s: %s", spec.out, doubts[0])
    return specs


def _refuse_equal(arms: Sequence[Arm], settings: Sequence[Settings]) -> None:
    """ConfigError where two arms are one setting, such as two alphas without centre loss."""
    seen: dict[str, Arm] = {}
    for arm, setting in zip(arms, settings, strict=True):
        idle = set() if setting.loss.center_weight else {"center_rate"}
        exclude = {"training": {"checkpoint_seconds"}, "loss": idle}
        other = seen.setdefault(setting.model_dump_json(exclude=exclude), arm)
        if other is not arm:
            raise ConfigError(f"{other.folder} and {arm.folder} are one and the same setting. Leave one out")
