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
    """The input of a training.

    Attributes:
        train, dev: indices of utterances in the store.
        targets: (utterances of the store,) class index of each; -1 where it is of no class.
        loss, training, augmentation: settings.
        names: (utterances of the store,) their ids, by which a teacher's file knows them.
        groups: (utterances of the store,) what classes are weighted within; none is one group for all.
        seed: seeds the batches.
        settings_hash: hash of everything the result depends on; a checkpoint of another is refused.
        protocol: its name, the hash of its fold lists and so on: a checkpoint carries it.
    """

    train: Sequence[int]
    dev: Sequence[int]
    targets: np.ndarray[tuple[int], np.dtype[np.int64]]
    loss: Loss
    training: Training
    seed: int
    settings_hash: str
    protocol: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    names: Sequence[str] = ()
    groups: Sequence[int] = ()


@dataclass(frozen=True)
class TrainingResult:
    """The end of a training.

    Attributes:
        steps: how many were taken.
        selected_step, dev_ua: the step whose model was chosen, and its dev UA.
        seconds: spent, over all resumptions.
        precision: of the convolutions in training and dev, over all resumptions: `bfloat16` or `float32`.
        fitted_on: indices of the utterances whose frames the standardiser was in fact fitted on.
        selected_on: indices of the utterances whose predictions in fact chose the model, each once.
    """

    steps: int
    selected_step: int
    dev_ua: float
    seconds: float
    precision: str
    fitted_on: tuple[int, ...]
    selected_on: tuple[int, ...]
