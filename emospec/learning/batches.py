"""The mini-batches of a training: frames from the store, augmented and standardised, with targets and weights."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emospec.audio.frames import MIN_FRAMES
from emospec.learning.augmentation import Augmenter
from emospec.learning.device import to_device
from emospec.learning.distributed import Ranks
from emospec.learning.frame_store import FrameStore
from emospec.learning.learner import Learner
from emospec.learning.losses import utterance_weights
from emospec.learning.sampling import batch_indices
from emospec.learning.task import TrainingTask


@dataclass(frozen=True)
class Batch:
    """One process's share of a mini-batch, on the device of the training; counts and speed stay on the CPU."""

    # (batch,) places in the store.
    indices: NDArray[np.int64]
    # (batch, time, bins), standardised.
    frames: Tensor
    counts: Tensor
    # (batch,) stored frames per frame here; other than 1 where augmentation changed it.
    speed: Tensor
    targets: Tensor
    # (batch,) w_i of Eq. 1, and the sum of the whole mini-batch's.
    weights: Tensor
    total_weight: Tensor
    # Of the whole mini-batch's utterances, those here: 1 in a single process.
    share: float


class Batches:
    """The mini-batches of a task: each is a function of its step."""

    def __init__(
        self, store: FrameStore, task: TrainingTask, learner: Learner, ranks: Ranks, device: torch.device
    ) -> None:
        self.store, self.task, self.ranks, self.device = store, task, ranks, device
        self.frontend = learner.frontend
        self.train = np.asarray(task.train)
        self.augment = Augmenter(task.augmentation, learner.frontend.frequencies)
        store.keep_on(device)
        self.windows = store.windows(self.train, 1e9 * task.training.window_gb, task.seed)
        targets = torch.from_numpy(task.targets[self.train])
        groups = torch.tensor([task.groups[i] for i in task.train]) if task.groups else 0 * targets
        self.weights = torch.zeros(len(task.targets))
        self.weights[self.train] = utterance_weights(targets, groups, len(learner.classes))

    def batch(self, step: int) -> Batch:
        """Return this process's share of the batch of a step, from 0."""
        size, seed = self.task.training.batch_size, self.task.seed
        if self.windows:
            self.store.read_ahead(self.windows.shards_to_read(step * size))
        whole = self.train[batch_indices(step, len(self.train), size, seed, windows=self.windows)]
        indices = self.ranks.share(whole)
        # Every process draws for its own share, anew at each step.
        entropy = np.random.SeedSequence([seed, step, self.ranks.rank])
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
        frames, counts = self.store.batch(indices)
        if self.augment.active:
            frames, counts = self.augment(frames, counts, generator)
        frames, counts = self.frontend.standardise(frames, counts)
        frames = self.augment.mask(frames, counts, generator)
        given = (
            torch.from_numpy(self.task.targets[indices]),
            self.weights[indices],
            self.weights[whole].sum(),
        )
        targets, weights, total = (to_device(values, self.device) for values in given)
        return Batch(
            indices, frames, counts, targets=targets,
            speed=torch.from_numpy(self.store.counts[indices]).clamp(min=MIN_FRAMES) / counts,
            weights=weights.to(frames.dtype), total_weight=total.to(frames.dtype),
            share=len(indices) / len(whole),
        )  # fmt: skip
