"""Processes that train one model together: N of them take the step of one with the joint batch.

They are started by `accelerate launch` or `torchrun`; otherwise there is one, and nothing here does anything.
What is computed from a batch (losses, gradients, sums for the centres) is a sum over utterances divided by
what the joint batch gives, so that it is only to be summed over the processes.
"""

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from numpy.typing import NDArray
from torch import Tensor

from emospec.learning.batches import FrameStore
from emospec.learning.learner import Learner, Outputs

LONGEST_WAIT = timedelta(days=1)  # while one computes the frames of a large corpus


class Ranks:
    """This process among those that train together.

    Attributes:
        rank, count: its place, from 0, and how many there are.
        main: whether it is the one that writes.
    """

    def __init__(self) -> None:
        # By itself it would take processes without an accelerator for single ones.
        on_cpu = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
        self._state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
        self.rank, self.count = self._state.process_index, self._state.num_processes
        self.main = self.rank == 0
        if self.count > 1:
            atexit.register(self._state.destroy_process_group)

    def wait(self) -> None:
        """Until all are here."""
        self._state.wait_for_everyone()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What is inside is done by the main process, and by the others when that has ended."""
        with self._state.main_process_first():
            yield

    def share(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of what all have to do, what this one does."""
        return indices[self.rank :: self.count]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, the same in each."""
        return reduce(tensor, "sum") if self.count > 1 else tensor

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their sums over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        joint = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        pieces = torch.split(joint, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def judge(
        self,
        learner: Learner,
        store: FrameStore,
        indices: Sequence[int],
        precision: torch.dtype = torch.float32,
    ) -> Outputs:
        """What `Learner.judge` says; each process judges its share, and all know the whole."""
        if self.count == 1:
            return learner.judge(store, indices, precision)
        own = indices[self.rank :: self.count]
        parts = gather_object([learner.judge(store, own, precision) if own else None])
        rows = np.argsort([i for rank in range(self.count) for i in range(rank, len(indices), self.count)])
        said = [part for part in parts if part]
        return Outputs(
            np.concatenate([part.z for part in said])[rows],
            np.concatenate([part.probabilities for part in said])[rows],
        )
