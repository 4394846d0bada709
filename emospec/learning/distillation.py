"""What is learned from other models: a teacher's vectors foretold, an earlier run's weights taken over.

A teacher's file is a NumPy archive (.npz) of two arrays: `id` (utterances, as in the pack) and `vector` (one row each).
How it was made is its maker's affair; `bench/teacher.py` makes one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emospec.errors import TrainingError
from emospec.learning.device import to_device
from emospec.learning.learner import Learner

HIDDEN = 256


class Distillation(nn.Module):
    """A head that foretells a teacher's vector from the network's summary of an utterance, and its loss.

    The mean squared error of each dimension, standardised over the training utterances (regression on a
    teacher's features: Romero et al. 2015, FitNets). The head is thrown away after training.

    Args:
        path: the teacher's file.
        ids: of every utterance of the pack, in its order.
        train: indices of the training utterances.
        learner: gives the width of the summary.
        seed: seeds the head's initial weights.

    Raises:
        TrainingError: the file cannot be read, or lacks utterances.
    """

    def __init__(
        self, path: str, ids: Sequence[str], train: Sequence[int], learner: Learner, seed: int
    ) -> None:
        super().__init__()
        places, vectors = read_teacher(path)
        missing = [ids[i] for i in train if ids[i] not in places]
        if missing:
            raise TrainingError(
                f"{path} lacks {len(missing)} of {len(train)} training utterances, such as {missing[0]}. "
                "Make it from the same pack"
            )
        rows = vectors[[places[ids[i]] for i in train]]
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        self._wanted = np.zeros((len(ids), vectors.shape[1]), np.float32)
        self._wanted[list(train)] = (rows - mean) / np.maximum(deviation, 1e-4)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = learner.network.fc1.in_features
            self.head = nn.Sequential(
                nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, vectors.shape[1])
            )

    def forward(self, utterance: Tensor, indices: NDArray[np.int64]) -> Tensor:
        """The scalar loss.

        Args:
            utterance: (batch, 256 or 512), see `EmotionNetwork.utterance`.
            indices: (batch,) which utterances of the pack; of training.
        """
        wanted = to_device(torch.from_numpy(self._wanted[indices]), utterance.device)
        loss: Tensor = functional.mse_loss(self.head(utterance), wanted)
        return loss


def read_teacher(path: str) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Row by utterance id, and the vectors (rows, dimensions); TrainingError where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            ids, vectors = file["id"], file["vector"]
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{path} cannot be read as a teacher's file ({error})") from error
    if vectors.ndim != 2 or len(ids) != len(vectors):
        raise TrainingError(
            f"{path} holds {ids.shape} ids and {vectors.shape} vectors: it needs one row for each id"
        )
    return {name: i for i, name in enumerate(ids.tolist())}, np.asarray(vectors, np.float32)


def take_over(learner: Learner, run: Path) -> None:
    """The network's weights of an earlier run, but for the last layer, whose classes may be others.

    Raises:
        RunError: its model is damaged.
        TrainingError: its network is another.
    """
    theirs, own = Learner.load(run / "model").network.state_dict(), learner.network.state_dict()
    wanted = [name for name in own if not name.startswith("fc2.")]
    other = [name for name in wanted if name not in theirs or theirs[name].shape != own[name].shape]
    if other:
        raise TrainingError(
            f"the network of {run} is another: network.{min(other)} differs. Start from a run of the same "
            "front end and [network] settings"
        )
    learner.network.load_state_dict({name: theirs[name] for name in wanted}, strict=False)
