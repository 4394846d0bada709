"""Presets and settings: TOML -> validated values. Mistakes are reported all at once, with the nearest right key."""

import json
import os
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emospec.errors import ConfigError, did_you_mean

# The settings that `--steps` replaces.
_LENGTH = ("training.steps", "training.epochs", "training.min_steps", "training.steps_for")
# Until November 2026 a preset named steps for a number of training utterances: its epochs, and these steps.
_FORMER_STEPS = {3520 * 32 / 4425: 3520, 2920 * 32 / 4425: 2920, 2500 * 32 / 4000: 2500}


class _Table(BaseModel):
    # A run of another version may hold further keys, which are kept; `parse_settings` forbids them.
    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


class Data(_Table):
    """Which classes, and how the corpus is divided."""

    classes: str | list[str] = Field(
        "default", description="`default` is the corpus's own; `all`, a class set, or a list of emotions"
    )
    protocol: str = Field("default", description="see `emospec.data.splits`; `default` is the corpus's own")


class Frontend(_Table):
    """The input of the network."""

    kind: Literal["log-mel", "log-stft"] = Field(description="128 Mel bands, or 513 bins of the spectrum")
    max_frames: int = Field(1400, ge=0, description="of 10 ms, that longer utterances keep; 0 keeps all")
    own_mean: bool = Field(False, description="take each utterance's own mean per bin from its frames")


class Network(_Table):
    """Changes to the paper's network; by default there are none."""

    channels: list[Annotated[int, Field(ge=1)]] = Field(
        [48, 64, 80, 96], min_length=4, max_length=4, description="of the four convolutions"
    )
    normalise: bool = Field(False, description="batch normalisation after every convolution")
    pooling: Literal["last", "statistics", "attention"] = Field(
        "last", description="the GRU's last states; mean and deviation, or an attentive mean, of its outputs"
    )


class Augmentation(_Table):
    """Changes to training utterances, drawn anew at each step; 0 is off."""

    speed: float = Field(0.0, ge=0, lt=1, description="time is stretched by up to this share")
    pitch: float = Field(0.0, ge=0, lt=1, description="frequencies are moved by up to this share")
    gain_db: float = Field(0.0, ge=0, description="the level moves by up to so many dB; own_mean undoes it")
    noise: float = Field(0.0, ge=0, le=1, description="share of utterances with noise of 0 to 30 dB SNR")
    telephone: float = Field(0.0, ge=0, le=1, description="share of utterances behind a telephone's filter")
    reverberation: float = Field(0.0, ge=0, le=1, description="share of utterances in a room of 0.1 to 0.8 s")
    masks: int = Field(0, ge=0, description="so many spans of time, and of frequency, are hidden")


class Loss(_Table):
    """L = L_s + lambda L_c."""

    center_weight: float = Field(ge=0, description="lambda")
    center_rate: float = Field(0.5, ge=0, le=1, description="alpha, how far centres move per batch")
    warmup_steps: int = Field(20, ge=0, description="first steps with lambda 0 and alpha 1")
    weights: Literal["pool", "corpus"] = Field(
        "pool", description="by the classes' frequency in all of training, or within each corpus"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    teacher: str = Field("", description="a file of a teacher's embeddings (docs/method.md); none if empty")
    teacher_weight: float = Field(1.0, ge=0, description="of the distillation loss")


# Settings on which no result depends, for `model_dump(exclude=...)`.
NO_RESULT: dict[str, Any] = {"training": {"checkpoint_seconds"}}


class Training(_Table):
    """Adam for a number of epochs; the model of the best dev UA is kept."""

    epochs: float = Field(0.0, ge=0, description="passes over the training utterances, rounded to ten steps")
    min_steps: int = Field(1, ge=1, description="at least so many steps, however few the utterances")
    steps: int = Field(0, ge=0, description="exactly so many steps instead; 0 trains for `epochs`")
    selection_start: float = Field(0.0, ge=0, lt=1, description="share of the steps before dev is evaluated")
    evaluate_every: int = Field(11, ge=1, description="steps between evaluations of dev")
    batch_size: int = Field(32, ge=1, description="utterances per step")
    window_gb: float = Field(0.0, ge=0, description="shuffle within so many GB of frames; 0: within all")
    learning_rate: float = Field(3e-4, gt=0, description="of Adam")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine: from 0 up, then down to 0"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled from the gradient, as in AdamW")
    averaging: float = Field(
        0.0, ge=0, lt=1, description="decay of the mean of weights that is kept; 0: none"
    )
    start_from: str = Field("", description="a run that gives the first weights, bar the last layer's")
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="of the convolutions in training; auto is bfloat16 where the machine has it"
    )
    checkpoint_seconds: float = Field(30.0, ge=0, description="between checkpoints; no result depends on it")

    def plan(self, utterances: int) -> tuple[int, int]:
        """Return the steps for so many training utterances, and the step after which dev is evaluated.

        >>> Training(epochs=25, min_steps=1000, selection_start=0.05).plan(428)
        (1000, 50)
        """
        steps, select_after = self._plan(utterances)
        if steps // self.evaluate_every * self.evaluate_every <= select_after:
            raise ConfigError(
                f"no model could be chosen: dev is evaluated every {self.evaluate_every} steps after step {select_after}, "
                f"training ends at step {steps}. Lower training.evaluate_every or training.selection_start, or train longer"
            )
        return steps, select_after

    def _plan(self, utterances: int) -> tuple[int, int]:
        if not (self.steps or self.epochs):
            raise ConfigError("nothing says how long to train: set training.epochs or training.steps")
        # Nine digits, so that a tie is one whatever the rounding of the setting: it goes to the even number.
        tens = round(round(self.epochs * utterances / self.batch_size / 10, 9))
        steps = self.steps or max(self.min_steps, 10 * tens)
        return steps, min(round(round(steps * self.selection_start, 9)), steps - 1)

    def exactly(self, steps: int) -> "Training":
        """Return these settings with exactly so many steps and at least one evaluation of dev.

        >>> short = Training(epochs=25, selection_start=0.05).exactly(60)
        >>> short.plan(428), short.evaluate_every
        ((60, 3), 11)
        """
        chosen = self.model_copy(update={"steps": steps})
        evaluated = steps // self.evaluate_every * self.evaluate_every > chosen._plan(1)[1]
        return chosen if evaluated else chosen.model_copy(update={"evaluate_every": steps})

    def work(self, utterances: int, dev: int, step: int) -> float:
        """Return the cost of a training up to a step, from 0; dev costs a third of a step per batch of it."""
        select_after = self.plan(utterances)[1]
        evaluations = step // self.evaluate_every - min(step, select_after) // self.evaluate_every
        return step + evaluations * dev / self.batch_size / 3


class Settings(_Table):
    """All settings of a run."""

    name: str
    data: Data = Field(default_factory=Data)
    frontend: Frontend
    network: Network = Field(default_factory=Network)
    augmentation: Augmentation = Field(default_factory=Augmentation)
    loss: Loss
    training: Training


def preset_names() -> list[str]:
    """Return the names of the presets in the box."""
    files = (resources.files("emospec") / "presets").iterdir()
    return sorted(p.name.removesuffix(".toml") for p in files if p.name.endswith(".toml"))


def load_settings(preset: str, overrides: Iterable[str] = (), steps: int = 0) -> Settings:
    """Return a preset with overrides; ConfigError names all mistakes at once, each with the nearest right key.

    Args:
        preset: the name of one in the box, or the path of a TOML file. A file may hold only the differences from
            another preset or file, which it names as `extends`: a path is from the file's own folder.
        overrides: `table.key=value` each; values as in TOML, bare words are strings.
        steps: train exactly so many, see `Training.exactly`; 0 leaves the preset's.

    >>> load_settings("dai2019-mel", ["loss.center_weight=0"]).loss.center_weight
    0.0
    """
    values = _read_preset(preset)
    if steps < 0:
        raise ConfigError(f"steps is {steps}: choose 1 or more, or 0 for the preset's")
    if steps:
        values["training"] = parse_settings(values).training.exactly(steps).model_dump()
    for override in overrides:
        key, separator, text = override.partition("=")
        if steps and key.strip() in _LENGTH:
            raise ConfigError(f"--steps {steps} and --set {override} both say how long to train. Name one")
        path = key.strip().split(".")
        if not separator or not all(path):
            raise ConfigError(
                f"--set {override!r} is not of the form table.key=value, such as loss.center_weight=0.3"
            )
        table = values
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {override!r}: {part!r} is a value, not a table")
        try:
            table[path[-1]] = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            table[path[-1]] = text.strip()
    return parse_settings(values)


def parse_settings(values: dict[str, Any]) -> Settings:
    """Return settings from plain values, as read from TOML, with keys of today or of earlier versions."""
    try:
        return Settings.model_validate(with_current_keys(values), extra="forbid")
    except ValidationError as error:
        # A union, that of data.classes, has an error for each of its types: the first is enough.
        mistakes = {".".join(map(str, e["loc"][:2])): e for e in reversed(error.errors())}
        raise ConfigError("; ".join(_explain(k, e) for k, e in reversed(mistakes.items()))) from error


def with_current_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings with the keys `steps_for` and `select_after` of earlier versions in today's terms.

    >>> with_current_keys({"training": {"steps": 2500, "select_after": 250, "steps_for": 4000}})
    {'training': {'steps': 0, 'epochs': 20.0, 'selection_start': 0.1}}
    """
    # `steps` was for `steps_for` training utterances, and `select_after` counted steps out of it.
    table = values.get("training")
    if not isinstance(table, dict):
        return values
    former = {key: table[key] for key in ("steps_for", "select_after") if isinstance(table.get(key), int)}
    if not former:
        return values
    training = {key: value for key, value in table.items() if key not in former}
    steps = training.get("steps") or _FORMER_STEPS.get(training.get("epochs", 0))
    if not isinstance(steps, int):
        raise ConfigError(
            f"setting 'training.{next(iter(former))}' is of an earlier version, and counts out of training.steps, which is "
            "not set. Set training.epochs and training.selection_start instead"
        )
    if utterances := former.get("steps_for"):
        training |= {"steps": 0, "epochs": steps * training.get("batch_size", 32) / utterances}
    elif "steps_for" in former:
        training["steps"] = steps
    if "select_after" in former:
        training["selection_start"] = former["select_after"] / steps
    return values | {"training": training}


def to_toml(settings: Settings) -> str:
    """Return the settings as TOML that `load_settings` reads back."""
    values = settings.model_dump()
    lines = [f"name = {toml_value(values.pop('name'))}"]
    for table, content in values.items():
        lines += ["", f"[{table}]", *(f"{key} = {toml_value(value)}" for key, value in content.items())]
    return "\n".join(lines) + "\n"


def explain_preset(preset: str) -> str:
    """Return all settings of a preset as TOML, each with a description: the start of a user's own preset."""
    settings = load_settings(preset)
    hint = 'below a first line: extends = "dai2019-mel"'
    lines = [f"# Your own file may hold only what differs from a preset, {hint}"]
    for table in (name for name in type(settings).model_fields if name != "name"):
        values: BaseModel = getattr(settings, table)
        lines += ["", f"# {(type(values).__doc__ or '').splitlines()[0]}", f"[{table}]"]
        for key, field in type(values).model_fields.items():
            assignment = f"{key} = {toml_value(getattr(values, key))}"
            lines.append(f"{assignment:<28}# {field.description}" if field.description else assignment)
    return "\n".join(lines) + "\n"


def _read_preset(preset: str, extended_by: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a preset's values, over those of the preset that it extends; `extended_by` has the files on the way."""
    place = os.path.realpath(preset) if preset.endswith(".toml") else preset
    if place in extended_by:
        way = " -> ".join(os.path.basename(name) for name in (*extended_by, place))
        raise ConfigError(f"preset {extended_by[0]}: extends itself ({way}). Take one `extends` out")
    try:
        values = tomllib.loads(_text_of(preset, extended_by))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"preset {preset}: is not TOML ({error})") from error
    base = values.pop("extends", None)
    values = {"name": Path(preset).stem if preset.endswith(".toml") else preset} | values
    if base is None:
        return values
    if not isinstance(base, str) or not base.strip():
        raise ConfigError(
            f"preset {preset}: extends is {base!r}: it names one preset or .toml file, such as {preset_names()[0]!r}"
        )
    if base.endswith(".toml"):
        # A path is from the folder of the file that names it.
        base = os.path.join(os.path.dirname(preset), os.path.expanduser(base))
    return _merge(_read_preset(base, (*extended_by, place)), values)


def _merge(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    tables = [key for key in values if isinstance(values[key], dict) and isinstance(base.get(key), dict)]
    return base | values | {key: _merge(base[key], values[key]) for key in tables}


def _text_of(preset: str, extended_by: tuple[str, ...]) -> str:
    prefix = f"{extended_by[-1]} extends a preset that cannot be had: " if extended_by else ""
    if preset.endswith(".toml"):
        try:
            # Windows' editors write a mark at the start.
            return Path(preset).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{prefix}preset file {preset}: cannot be read ({reason})") from error
    names = preset_names()
    if preset not in names:
        raise ConfigError(
            f"{prefix}preset {preset!r} is not known{did_you_mean(preset, names) or '.'} "
            f"Known: {', '.join(names)}, or the path of a .toml file"
        )
    return (resources.files("emospec") / "presets" / f"{preset}.toml").read_text(encoding="utf-8")


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):
        # A JSON string is a TOML string but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _explain(key: str, error: Any) -> str:
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(key, setting_keys()) or ". `emospec presets dai2019-mel` lists all"
        return f"setting {key!r} is not known{hint}"
    if error["type"] == "missing":
        return f"setting {key!r} is missing"
    if len(error["loc"]) > 2 and key == "data.classes":
        return f"setting {key!r} is {error['input']!r}: input should be a string or a list of strings"
    if error["type"] == "model_type":
        return f"setting {key!r} is {error['input']!r}: it is a table of settings"
    return f"setting {key!r} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def setting_keys() -> list[str]:
    """Return every `table.key` of the settings, the tables, and `extends`."""
    keys = ["extends"]
    for name, field in Settings.model_fields.items():
        kind: Any = field.annotation
        # The name of a run is a text, all else a table.
        keys += [f"{name}.{inner}" for inner in getattr(kind, "model_fields", ())] + [name]
    return keys
