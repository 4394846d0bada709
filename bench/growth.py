"""How the cost of a training step grows with the length of the utterances and with the batch."""

import statistics
from functools import cache

import numpy as np

from bench.measure import CORES, in_turn, seconds, worker

LENGTHS_SECONDS = (1, 2, 4, 8, 14)
LENGTHS_UNCROPPED = (1, 14, 30, 60)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH, LENGTH_SECONDS = 32, 4


@cache
def _learner(max_frames: int):  # type: ignore[no-untyped-def]
    import torch

    from emospec.learning.device import reuse_freed_memory
    from emospec.learning.learner import Learner
    from emospec.learning.optimizer import Adam
    from emospec.learning.training import bfloat16_is_fast

    reuse_freed_memory()
    learner = Learner("log-mel", max_frames, ["a", "b", "c", "d"])
    learner.network.precision = torch.bfloat16 if bfloat16_is_fast(torch.device("cpu")) else torch.float32
    return learner, Adam(list(learner.parameters()))


def _cost(max_frames: int, length_seconds: float, batch: int) -> float:
    """Milliseconds of a training step, after a warm-up."""
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
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(3e-4)
        learner.center_loss.update(z, targets, 0.5)

    step()
    return 1000 * seconds(step)


def _series(title: str, name: str, audio: dict[float, float], took: dict[str, list[float]]) -> str:
    """A table over points that have so many seconds of audio, and how far each is from a line through all."""
    steps = np.array([statistics.median(took[str(value)]) for value in audio])
    heard = np.array([*audio.values()])
    more, fixed = np.polyfit(heard, steps, 1, w=1 / steps)
    off = steps / (fixed + more * heard) - 1
    cells = {
        name: [f"{value:g}" for value in audio],
        "ms per second of audio": [f"{ms:.2f}" for ms in steps / heard],
        "spread": [
            f"{min(t) / s:.2f} to {max(t) / s:.2f}" for t, s in zip(took.values(), heard, strict=True)
        ],
        "off the line": [f"{100 * share:+.0f}%" for share in off],
    }
    head, *rows = (f"| {row} | {' | '.join(values)} |" for row, values in cells.items())
    words = f"The line: {fixed:.0f} ms a step and {more:.2f} ms per second of audio."
    return "\n".join([f"{title}\n", head, "|---" * (len(audio) + 1) + "|", *rows, "", words, ""])


def main() -> str:
    """The section of the report."""
    with worker(CORES) as pool:

        def series(
            title: str, name: str, points: dict[float, tuple[float, int]], max_frames: int = 1400
        ) -> str:
            ways = {
                str(value): lambda at=at: pool.submit(_cost, max_frames, *at).result()  # type: ignore[misc]
                for value, at in points.items()
            }
            return _series(title, name, {v: s * b for v, (s, b) in points.items()}, in_turn(ways))

        tables = [
            series(f"Length, batch {BATCH}:", "seconds", {s: (s, BATCH) for s in LENGTHS_SECONDS}),
            series(
                "Length with the crop off, batch 8:", "seconds", {s: (s, 8) for s in LENGTHS_UNCROPPED}, 0
            ),
            series(f"Batch, {LENGTH_SECONDS} s each:", "batch", {b: (LENGTH_SECONDS, b) for b in BATCHES}),
        ]
    return "\n".join(
        [
            f"## How cost grows\n\nA training step, log-Mel, {CORES} threads, all utterances of one length. A line, fitted to "
            "relative errors, gives a step's fixed cost and the cost of a second of audio.\n",
            *tables,
        ]
    )
