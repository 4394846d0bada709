"""The input of a training, the rows that it logs, and its result. Needs no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emospec.config import Augmentation, Loss, Training


@dataclass(frozen=True)
class HistoryRow:
    """One line of `history.csv`. Losses are means over the steps since the line before."""

    step: int
    epoch: float
    loss: float
    softmax_loss: float
    center_loss: float
    seconds: float
    dev_ua: float | None = None
    dev_wa: float | None = None


@dataclass(frozen=True)
class TrainingTask:
    """The input of a training."""

    # Places in the store; the lists below have an entry for each utterance of the store.
    train: Sequence[int]
    dev: Sequence[int]
    # Class indices; -1 where an utterance is of no class.
    targets: np.ndarray[tuple[int], np.dtype[np.int64]]
    loss: Loss
    training: Training
    seed: int
    # Hash of all that the result depends on; a checkpoint with another hash is refused.
    settings_hash: str
    # The protocol's name, the hash of its fold lists and so on, for the checkpoint.
    protocol: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    # Ids, by which a teacher's file knows them; groups within which classes are weighted, none for all in one.
    names: Sequence[str] = ()
    groups: Sequence[int] = ()


@dataclass(frozen=True)
class TrainingResult:
    """The end of a training."""

    steps: int
    selected_step: int
    # UA of dev at the selected step.
    dev_ua: float
    # Over all resumptions.
    seconds: float
    # Of the convolutions in training and dev: `bfloat16` or `float32`.
    precision: str
    # The utterances whose frames the standardiser was in fact fitted on, and whose predictions chose the model.
    fitted_on: tuple[int, ...]
    selected_on: tuple[int, ...]
