"""Distillation of a teacher's embeddings, and initial weights from an earlier run.

A teacher's file is a NumPy archive (.npz): `id` (utterances, as in the pack), `steps` (of each), `vector` (all steps of
all utterances, one after the other, from the first that training keeps) and `seconds` (of a step).
`studies/teacher.py` makes one.
"""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emospec.audio.frames import HOP_SECONDS, MIN_FRAMES
from emospec.errors import TrainingError
from emospec.learning.device import to_device
from emospec.learning.learner import Learner
from emospec.learning.network import GRU_UNITS
from emospec.learning.strips import TIME_STRIDE

_HIDDEN = 256


class Distillation(nn.Module):
    """Heads that predict a teacher's embeddings, and their loss (regression on features: Romero et al. 2015, FitNets).

    One head predicts the embedding at every step of the GRU; the other predicts mean and deviation over the
    utterance from its pooled vector, `summary_width` long. The loss is the mean squared error of each dimension,
    standardised over the training utterances. The heads are thrown away after training.

    `path` is the teacher's file, `ids` are those of every utterance of the pack, in its order, and `train` the places
    of the training utterances. TrainingError where the file cannot be read, or lacks utterances.
    """

    def __init__(
        self, path: str, ids: Sequence[str], train: Sequence[int], summary_width: int, seed: int
    ) -> None:
        super().__init__()
        self._teacher = teacher = read_teacher(path)
        missing = [ids[i] for i in train if ids[i] not in teacher.places]
        if missing:
            raise TrainingError(
                f"{path} lacks {len(missing)} of {len(train)} training utterances, such as {missing[0]}. "
                "Make it from the same pack"
            )
        self._places = [teacher.places.get(name, -1) for name in ids]
        dimensions = teacher.embeddings.shape[1]
        self._steps = _standardiser(np.concatenate([teacher.steps(self._places[i]) for i in train]))
        summaries = np.stack([teacher.summary(self._places[i]) for i in train])
        self._whole = np.zeros((len(ids), 2 * dimensions), np.float32)
        self._whole[list(train)] = _standardiser(summaries)(summaries)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.step_head = _head(2 * GRU_UNITS, dimensions)
            self.head = _head(summary_width, 2 * dimensions)

    def forward(
        self, outputs: Tensor, mask: Tensor, utterance: Tensor, indices: NDArray[np.int64], speed: Tensor
    ) -> Tensor:
        """Return the scalar loss, a mean over the utterances.

        Args:
            outputs, mask: of `EmotionNetwork.encode`.
            utterance: of `EmotionNetwork.pool`.
            indices, speed: see `Batch`.
        """
        whole = to_device(torch.from_numpy(self._whole[indices]), outputs.device)
        of_whole = functional.mse_loss(self.head(utterance), whole)
        embeddings, covered = self._aligned(indices, outputs.shape[1], speed)
        mask = to_device(covered, outputs.device) & mask
        # Only valid steps for which the teacher has an embedding count.
        steps = to_device(torch.from_numpy(self._steps(embeddings)), outputs.device)
        errors = (self.step_head(outputs) - steps).square().mean(dim=2)
        of_steps = ((errors * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).mean()
        return of_whole + of_steps  # type: ignore[no-any-return]

    def _aligned(
        self, indices: NDArray[np.int64], steps: int, speed: Tensor
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Return the embedding at the centre of each step (batch, steps, dimensions), and where there is one."""
        # A step is computed of MIN_FRAMES frames.
        centre = (TIME_STRIDE * np.arange(steps) + MIN_FRAMES / 2) * HOP_SECONDS
        place = (centre * speed.numpy()[:, None] / self._teacher.seconds).astype(np.int64)
        embeddings = np.zeros((*place.shape, self._teacher.embeddings.shape[1]), np.float32)
        covered = np.zeros(place.shape, bool)
        for row, index in enumerate(indices):
            of_teacher = self._teacher.steps(self._places[index])
            covered[row] = place[row] < len(of_teacher)
            embeddings[row, covered[row]] = of_teacher[place[row, covered[row]]]
        return embeddings, torch.from_numpy(covered)


def _standardiser(rows: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return the map to mean 0 and deviation 1 in each dimension of the rows (rows, dimensions)."""
    mean, deviation = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-4)
    return lambda values: np.asarray((values - mean) / deviation, np.float32)


def _head(width: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, dimensions))


@dataclass(frozen=True)
class Teacher:
    """A teacher's file in memory."""

    # Utterance id -> its number in the file.
    places: dict[str, int]
    # (utterances + 1,) the row of `embeddings` where each utterance ends, from 0.
    ends: NDArray[np.int64]
    # (steps of all utterances, dimensions).
    embeddings: NDArray[np.float32]
    # Of a step.
    seconds: float

    def steps(self, place: int) -> NDArray[np.float32]:
        """Return the embeddings (steps, dimensions) of one utterance."""
        return self.embeddings[self.ends[place] : self.ends[place + 1]]

    def summary(self, place: int) -> NDArray[np.float32]:
        """Return mean and deviation (2 * dimensions,) over the steps of one utterance."""
        steps = self.steps(place)
        return np.concatenate([steps.mean(axis=0), steps.std(axis=0)])


def read_teacher(path: str) -> Teacher:
    """Read a teacher's file; raise TrainingError where it cannot be read."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            ids, steps, embeddings, seconds = (file[name] for name in ("id", "steps", "vector", "seconds"))
            steps, seconds = steps.astype(np.int64, casting="same_kind"), float(seconds)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path} cannot be read as a teacher's file ({error})") from error
    consistent = ids.ndim == steps.ndim == 1 and len(ids) == len(steps) > 0 and embeddings.ndim == 2
    if not (consistent and seconds > 0 and steps.sum() == len(embeddings) and steps.min() >= 1):
        raise TrainingError(
            f"{path} holds {ids.size} ids, {steps.size} numbers of steps of {seconds:g} s and {embeddings.shape} vectors: "
            "each id needs a number, and as many vectors"
        )
    places = {name: i for i, name in enumerate(ids.tolist())}
    return Teacher(places, np.concatenate([[0], steps.cumsum()]), np.asarray(embeddings, np.float32), seconds)


def take_weights(learner: Learner, run: Path) -> None:
    """Take the network's weights from an earlier run; RunError where it is damaged, TrainingError where it is another."""
    source = Learner.load(run / "model")
    theirs, ours = _settings(source), _settings(learner)
    if other := [key for key in ours if theirs[key] != ours[key]]:
        raise TrainingError(
            f"the network of {run} is another: {other[0]} is {theirs[other[0]]} there, {ours[other[0]]} here. "
            "Start from a run of the same front end and [network] settings"
        )
    # The last layer is left out: its classes may be others.
    weights = source.network.state_dict()
    kept = {name: values for name, values in weights.items() if not name.startswith("fc2.")}
    learner.network.load_state_dict(kept, strict=False)


def _settings(learner: Learner) -> dict[str, object]:
    frontend = {f"frontend.{key}": value for key, value in learner.frontend.config().items()}
    network = {f"network.{key}": value for key, value in learner.network.design.model_dump().items()}
    return {key: value for key, value in (frontend | network).items() if key != "frontend.max_frames"}
