"""One of the processes of a training: `torchrun ranked.py PACK OUT DTYPE right|wrong`; each saves what it ends with."""

import sys
from pathlib import Path

import torch
from test_training import make_task

import emospec.learning.training as room
from emospec.data.pack import Pack
from emospec.learning.distributed import Ranks
from emospec.learning.learner import save_tensors

STEPS, BATCH = 40, 7  # two processes have 4 and 3 utterances of a batch


def main() -> None:
    pack, out, dtype, denominators = sys.argv[1:]
    ranks, cross_entropy = Ranks(), room.weighted_cross_entropy
    if denominators == "wrong":
        # Each process divides by its own weights, and gradients are averaged: what a plain wrapper would do.
        room.weighted_cross_entropy = (  # type: ignore[assignment]
            lambda logits, targets, weights, smoothing, total: (
                cross_entropy(logits, targets, weights, smoothing) / ranks.count
            )
        )
    settings = [f"steps={STEPS}", f"batch_size={BATCH}", "evaluate_every=10", "learning_rate=1e-4"]
    learner, store, task = make_task(Pack(pack), *(f"training.{setting}" for setting in settings))
    learner.to(getattr(torch, dtype))
    room.fit(learner, store, task, Path(out))
    save_tensors(Path(out) / f"ends-{ranks.rank}.safetensors", learner.state_dict(), {})


if __name__ == "__main__":
    main()
