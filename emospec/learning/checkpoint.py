"""The checkpoint of a training: one safetensors file with a JSON header, replaced whole. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
from torch import Tensor

from emospec.errors import TrainingError
from emospec.learning.learner import load_tensors, save_tensors
from emospec.learning.task import HistoryRow


@dataclass(frozen=True)
class CheckpointState:
    """The state of a training beside its tensors.

    Attributes:
        step: how many steps are taken.
        precision: of the convolutions, by its name in torch.
        best_ua, best_step: of the best model so far; None and 0 before the first.
        seconds: spent, over all resumptions.
        protocol: its name, the hash of its fold lists and so on.
        fitted_on, selected_on: as in `TrainingResult`: utterances that made the statistics and the choice here.
        rows: of the history.
    """

    step: int
    precision: str
    best_ua: float | None
    best_step: int
    seconds: float
    protocol: Mapping[str, Any]
    fitted_on: list[int]
    selected_on: list[int]
    rows: list[HistoryRow]


def save_checkpoint(
    path: Path, parts: Mapping[str, Mapping[str, Tensor]], state: CheckpointState, settings_hash: str
) -> None:
    """Write the checkpoint; its folder is made where it is missing.

    Args:
        path: of the file.
        parts: tensors by name, of the learner, the optimiser and so on.
        state: everything else.
        settings_hash: of the training; `load_checkpoint` takes no other.
    """
    tensors = {f"{part}.{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    path.parent.mkdir(exist_ok=True)
    save_tensors(path, tensors, {"state": json.dumps({"fingerprint": settings_hash} | asdict(state))})


def load_checkpoint(path: Path, settings_hash: str) -> tuple[dict[str, dict[str, Tensor]], CheckpointState]:
    """Return the parts and the state of a checkpoint.

    Raises:
        TrainingError: it is damaged, or of a training with another settings hash.
    """
    try:
        tensors, metadata = load_tensors(path)
        state = json.loads(metadata["state"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error}). Delete it to train from the start") from error
    if state.pop("fingerprint") != settings_hash or "precision" not in state:
        raise TrainingError(
            f"{path} is of other settings, utterances or another version. "
            "Resume with the settings of its config.toml, or name another folder"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = tensor
    rows = [HistoryRow(**row) for row in state.pop("rows")]
    return parts, CheckpointState(rows=rows, **state)


def saved_step(path: Path) -> int:
    """Return the step of a checkpoint."""
    return int(json.loads(load_tensors(path)[1]["state"])["step"])
