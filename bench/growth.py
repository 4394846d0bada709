"""How the cost of a training step grows with the length of the utterances and with the batch."""

import statistics
from functools import cache

from bench.measure import CORES, REPEATS, seconds, worker

LENGTHS_SECONDS = (1, 2, 4, 8, 14)
LENGTHS_UNCROPPED = (1, 14, 30, 60)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH, LENGTH_SECONDS = 32, 4


@cache
def _learner(max_frames: int):  # type: ignore[no-untyped-def]
    import torch

    from emospec.learning.learner import Learner
    from emospec.learning.training import bfloat16_is_fast, reuse_freed_memory

    reuse_freed_memory()
    learner = Learner("log-mel", max_frames, ["a", "b", "c", "d"])
    learner.network.precision = torch.bfloat16 if bfloat16_is_fast() else torch.float32
    return learner, torch.optim.Adam(learner.parameters(), 3e-4, fused=True)


def _cost(max_frames: int, length_seconds: float, batch: int) -> float:
    """Milliseconds of a training step per second of audio; the median of some, after a warm-up."""
    import torch

    from emospec.learning.losses import weighted_cross_entropy

    learner, optimizer = _learner(max_frames)
    frames = int(100 * length_seconds)
    decibels, counts = torch.randn(batch, frames, 128), torch.full((batch,), frames)
    targets, weights = torch.arange(batch) % 4, torch.ones(batch)

    def step() -> None:
        z, logits = learner(decibels, counts)
        loss = weighted_cross_entropy(logits, targets, weights)
        loss = loss + 0.3 * learner.center_loss(z, targets, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        learner.center_loss.update(z, targets, 0.5)

    step()
    return 1000 * statistics.median(seconds(step) for _ in range(REPEATS)) / (batch * length_seconds)


def _series(title: str, name: str, costs: dict[float, float]) -> str:
    head = f"| {name} | " + " | ".join(f"{value:g}" for value in costs) + " |"
    row = "| ms per second of audio | " + " | ".join(f"{cost:.2f}" for cost in costs.values()) + " |"
    return f"{title}\n\n{head}\n{'|---' * (len(costs) + 1)}|\n{row}\n"


def main() -> str:
    """The section of the report."""
    with worker(CORES) as pool:

        def cost(max_frames: int, length: float, batch: int) -> float:
            return pool.submit(_cost, max_frames, length, batch).result()

        lengths = {s: cost(1400, s, BATCH) for s in LENGTHS_SECONDS}
        uncropped = {s: cost(0, s, 8) for s in LENGTHS_UNCROPPED}
        batches = {b: cost(1400, LENGTH_SECONDS, b) for b in BATCHES}
    return "\n".join(
        [
            f"## How cost grows\n\nA training step, log-Mel, {CORES} threads, all utterances of one length. Level means linear.\n",
            _series(f"Length, batch {BATCH}:", "seconds", lengths),
            _series("Length with the crop off, batch 8:", "seconds", uncropped),
            _series(f"Batch, {LENGTH_SECONDS} s each:", "batch", batches),
        ]
    )
