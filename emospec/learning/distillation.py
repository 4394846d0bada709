"""What is learned from other models: a teacher's vectors foretold, an earlier run's weights taken over.

A teacher's file is a NumPy archive (.npz): `id` (utterances, as in the pack), `steps` (of each), `vector` (all steps of
all utterances, one after the other, from the first that training keeps) and `seconds` (of a step). How it was made is
its maker's affair; `bench/teacher.py` makes one.
"""

import zipfile
import zlib
from collections.abc import Sequence
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
from emospec.learning.network import GRU_UNITS, TIME_STRIDE

HIDDEN = 256


class Distillation(nn.Module):
    """Heads that foretell a teacher's vectors from the network's, and their loss.

    One does so at every step of the GRU, one foretells mean and deviation over the utterance from the network's
    summary of it. The mean squared error of each dimension, standardised over the training utterances (regression on
    a teacher's features: Romero et al. 2015, FitNets). The heads are thrown away after training.

    Args:
        path: the teacher's file.
        ids: of every utterance of the pack, in its order.
        train: indices of the training utterances.
        learner: gives the widths.
        seed: seeds the heads' initial weights.

    Raises:
        TrainingError: the file cannot be read, or lacks utterances.
    """

    def __init__(
        self, path: str, ids: Sequence[str], train: Sequence[int], learner: Learner, seed: int
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
        dimensions = teacher.vectors.shape[1]
        self._steps = _Standardiser(np.concatenate([teacher.steps(self._places[i]) for i in train]))
        summaries = np.stack([teacher.summary(self._places[i]) for i in train])
        self._whole = np.zeros((len(ids), 2 * dimensions), np.float32)
        self._whole[list(train)] = _Standardiser(summaries)(summaries)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.step_head = _head(2 * GRU_UNITS, dimensions)
            self.head = _head(learner.network.fc1.in_features, 2 * dimensions)

    def forward(
        self, outputs: Tensor, valid: Tensor, utterance: Tensor, indices: NDArray[np.int64], stretch: Tensor
    ) -> Tensor:
        """The scalar loss, a mean over the utterances.

        Args:
            outputs, valid: see `EmotionNetwork.outputs`.
            utterance: see `EmotionNetwork.pool`.
            indices: (batch,) which utterances of the pack; of training.
            stretch: (batch,) frames as stored per frame heard, where speed was changed.
        """
        whole = to_device(torch.from_numpy(self._whole[indices]), outputs.device)
        of_whole = functional.mse_loss(self.head(utterance), whole)
        wanted, told = self._aligned(indices, outputs.shape[1], stretch)
        told = to_device(told, outputs.device) & valid
        steps = to_device(torch.from_numpy(self._steps(wanted)), outputs.device)
        errors = (self.step_head(outputs) - steps).square().mean(dim=2)
        of_steps = ((errors * told).sum(dim=1) / told.sum(dim=1).clamp(min=1)).mean()
        loss: Tensor = of_whole + of_steps
        return loss

    def _aligned(
        self, indices: NDArray[np.int64], steps: int, stretch: Tensor
    ) -> tuple[NDArray[np.float32], Tensor]:
        """The teacher's vector at the centre of each step (batch, steps, dimensions), and where it has one."""
        # A step is computed of MIN_FRAMES frames.
        centre = (TIME_STRIDE * np.arange(steps) + MIN_FRAMES / 2) * HOP_SECONDS
        place = (centre * stretch.numpy()[:, None] / self._teacher.seconds).astype(np.int64)
        wanted = np.zeros((*place.shape, self._teacher.vectors.shape[1]), np.float32)
        told = np.zeros(place.shape, bool)
        for row, index in enumerate(indices):
            known = self._teacher.steps(self._places[index])
            told[row] = place[row] < len(known)
            wanted[row, told[row]] = known[place[row, told[row]]]
        return wanted, torch.from_numpy(told)


class _Standardiser:
    """Mean 0 and deviation 1 in each dimension of the rows (rows, dimensions) that it is made of."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.mean, self.deviation = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-4)

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((rows - self.mean) / self.deviation, np.float32)


def _head(wide: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, dimensions))


@dataclass(frozen=True)
class Teacher:
    """A teacher's file, read.

    Attributes:
        places: utterance id -> its number in the file.
        ends: (utterances + 1,) where in `vectors` each ends, from 0.
        vectors: (steps of all utterances, dimensions).
        seconds: of a step.
    """

    places: dict[str, int]
    ends: NDArray[np.int64]
    vectors: NDArray[np.float32]
    seconds: float

    def steps(self, place: int) -> NDArray[np.float32]:
        """(steps, dimensions) of one utterance."""
        return self.vectors[self.ends[place] : self.ends[place + 1]]

    def summary(self, place: int) -> NDArray[np.float32]:
        """(2 * dimensions,): mean and deviation over the steps of one utterance."""
        steps = self.steps(place)
        return np.concatenate([steps.mean(axis=0), steps.std(axis=0)])


def read_teacher(path: str) -> Teacher:
    """Read a teacher's file; TrainingError where it cannot be read."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            ids, steps, vectors, seconds = (file[name] for name in ("id", "steps", "vector", "seconds"))
            steps, seconds = steps.astype(np.int64, casting="same_kind"), float(seconds)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path} cannot be read as a teacher's file ({error})") from error
    right = vectors.ndim == 2 and ids.ndim == steps.ndim == 1 and len(ids) == len(steps) > 0 and seconds > 0
    if not right or steps.sum() != len(vectors) or steps.min() < 1:
        raise TrainingError(
            f"{path} holds {ids.size} ids, {steps.size} numbers of steps of {seconds:g} s and {vectors.shape} vectors: "
            "each id needs a number, and as many vectors"
        )
    ends = np.concatenate([[0], steps.cumsum()])
    places = {name: i for i, name in enumerate(ids.tolist())}
    return Teacher(places, ends, np.asarray(vectors, np.float32), seconds)


def take_over(learner: Learner, run: Path) -> None:
    """The network's weights of an earlier run, but for the last layer, whose classes may be others.

    Raises:
        RunError: its model is damaged.
        TrainingError: its network is another.
    """
    source = Learner.load(run / "model")
    theirs, own = (
        {"frontend." + k: v for k, v in one.frontend.about().items() if k != "max_frames"}
        | {"network." + k: v for k, v in one.network.design.model_dump().items()}
        for one in (source, learner)
    )
    if other := [key for key in own if theirs[key] != own[key]]:
        raise TrainingError(
            f"the network of {run} is another: {other[0]} is {theirs[other[0]]} there, {own[other[0]]} here. "
            "Start from a run of the same front end and [network] settings"
        )
    weights = source.network.state_dict()
    learner.network.load_state_dict(
        {name: values for name, values in weights.items() if not name.startswith("fc2.")}, strict=False
    )
