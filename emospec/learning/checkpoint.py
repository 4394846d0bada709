"""The checkpoint of a training: one safetensors file with a JSON header, replaced whole. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from emospec.errors import TrainingError
from emospec.learning.learner import load_tensors, save_tensors
from emospec.learning.task import HistoryRow


@dataclass
class TrainingState:
    """The state of a training beside its tensors; `TrainingResult` explains what they share."""

    precision: str
    protocol: Mapping[str, Any]
    step: int = 0
    # Of the best model so far.
    best_ua: float | None = None
    best_step: int = 0
    # Up to the last row.
    seconds: float = 0.0
    fitted_on: list[int] = field(default_factory=list)
    selected_on: list[int] = field(default_factory=list)
    rows: list[HistoryRow] = field(default_factory=list)


def save_checkpoint(
    path: Path, parts: Mapping[str, Mapping[str, Tensor]], state: TrainingState, settings_hash: str
) -> None:
    """Write the tensors of each part, by name, and the state."""
    tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    path.parent.mkdir(exist_ok=True)
    # The key has had this name since the first version.
    save_tensors(path, tensors, {"state": json.dumps({"fingerprint": settings_hash} | asdict(state))})


def load_checkpoint(path: Path, settings_hash: str) -> tuple[dict[str, dict[str, Tensor]], TrainingState]:
    """Return a checkpoint's parts and state; TrainingError where it is damaged or has another settings hash."""
    try:
        tensors, metadata = load_tensors(path)
        state = json.loads(metadata["state"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error}). Delete it to train from the start") from error
    if state.pop("fingerprint", None) != settings_hash or "precision" not in state:
        raise TrainingError(
            f"{path} is of other settings, utterances or another version. "
            "Resume with the settings of its config.toml, or name another folder"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = tensor
    return parts, TrainingState(**state | {"rows": [HistoryRow(**row) for row in state["rows"]]})


def saved_step(path: Path) -> int:
    """Return the step of a checkpoint."""
    return int(json.loads(load_tensors(path)[1]["state"])["step"])
