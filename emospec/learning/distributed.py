"""Processes that train one model together: N of them take the step of one with the joint batch.

`torchrun` starts them; otherwise there is one process, and nothing here does anything. Losses, gradients and the
sums for the centres are sums over utterances, divided by totals of the joint batch: they are summed over processes.
"""

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from emospec.learning.device import training_device
from emospec.learning.frame_store import FrameStore
from emospec.learning.learner import Learner, Outputs

# While one process computes the frames of a large corpus, the others wait.
_LONGEST_WAIT = timedelta(days=1)


class Ranks:
    """This process among those that train together: its number `rank`, from 0, of `count`; `main` is the first."""

    def __init__(self) -> None:
        self.rank, self.count = (int(os.environ.get(*name)) for name in (("RANK", "0"), ("WORLD_SIZE", "1")))
        self.main = self.rank == 0
        if self.count > 1 and not distributed.is_initialized():
            backend = "nccl" if training_device().type == "cuda" else "gloo"
            distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
            atexit.register(distributed.destroy_process_group)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process run a block; the others follow when it has ended."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def share(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process's share of what all have to do."""
        return indices[self.rank :: self.count]

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over the processes, the same in each."""
        if self.count > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace gradients by their sums over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        joint = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        summed = torch.split(joint, [gradient.numel() for gradient in gradients])
        for gradient, values in zip(gradients, summed, strict=True):
            gradient.copy_(values.view_as(gradient))

    def forward_utterances(
        self,
        learner: Learner,
        store: FrameStore,
        indices: Sequence[int],
        precision: torch.dtype = torch.float32,
    ) -> Outputs:
        """Return `Learner.forward_utterances` of all indices in each process; each computes its share."""
        if self.count == 1:
            return learner.forward_utterances(store, indices, precision)
        share = self.share(np.asarray(indices)).tolist()
        parts: list[Outputs | None] = [None] * self.count
        outputs = learner.forward_utterances(store, share, precision) if share else None
        distributed.all_gather_object(parts, outputs)
        # Rank k has every N-th index from the k-th on.
        rows = np.argsort([i for rank in range(self.count) for i in range(rank, len(indices), self.count)])
        given = [part for part in parts if part]
        z = np.concatenate([part.z for part in given])[rows]
        probabilities = np.concatenate([part.probabilities for part in given])[rows]
        return Outputs(z, probabilities)
