"""Sound as it arrives, predicted window by window; a file is a stream that has ended.

A window's prediction is that of a recording of its own, and never changes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.audio.samples import as_samples
from emospec.audio.waveform import SAMPLE_RATE, Resampler, Waveform
from emospec.inference.recordings import ArrayLike
from emospec.inference.segments import Segmenter, Smoother
from emospec.inference.timeline import Segment
from emospec.inference.vad import SpeechLog
from emospec.inference.windows import Grid, Window

_Forward = Callable[[Sequence[Waveform]], NDArray[np.float64]]
_WINDOWS_AT_ONCE = 32


@dataclass(frozen=True)
class Timing:
    """Windows, smoothing and segments of a timeline.

    Attributes:
        window_seconds: length of a window; no longer than the model's crop (14 s).
        hop_seconds: from one window to the next.
        smoothing_seconds: time constant of the mean over windows, 0 for none; see `Smoother`.
        minimum_seconds: of a segment; see `Segmenter`.
        abstain_below: no emotion where the smoothed probability is lower, 0 to 1.
        check_speech: windows without speech are not predicted, and have no emotion.
    """

    window_seconds: float = 3.0
    hop_seconds: float = 1.0
    smoothing_seconds: float = 1.0
    minimum_seconds: float = 1.0
    abstain_below: float = 0.0
    check_speech: bool = True

    def __post_init__(self) -> None:
        # Each raises TimelineError for a value out of range, here and not in the middle of a recording.
        grid = Grid.of_seconds(self.window_seconds, self.hop_seconds)
        Smoother(self.smoothing_seconds, grid.hop_samples / SAMPLE_RATE)
        Segmenter((), self.abstain_below, self.minimum_seconds)

    @classmethod
    def from_request(
        cls, *, speech: bool = False, window_seconds: float = 3.0, hop_seconds: float = 1.0, **others: Any
    ) -> "Timing":
        """Return the timing of a user's options, the same on the command line and over HTTP."""
        # Segments of speech have no hop: one longer than the window is no mistake there.
        return cls(window_seconds, min(hop_seconds, window_seconds) if speech else hop_seconds, **others)

    @property
    def latency_seconds(self) -> float:
        """Seconds from the start of a hop to its first prediction: half a window and half a hop, and computing."""
        return (self.window_seconds + self.hop_seconds) / 2


@dataclass(frozen=True)
class WindowPrediction:
    """The prediction of one window.

    Attributes:
        probabilities: of each class, as of a recording that is this window alone; empty without speech.
        smoothed: their mean with the windows before; empty without speech.
        emotion: the most probable smoothed class; None below `Timing.abstain_below`, or without speech.
        confidence: the highest smoothed probability, 0 to 1; None without speech.
        segments: those that this window closed.
    """

    start_seconds: float
    end_seconds: float
    probabilities: dict[str, float]
    smoothed: dict[str, float]
    emotion: str | None
    confidence: float | None
    segments: tuple[Segment, ...]


class Stream:
    """A model on sound that arrives.

    Args:
        forward: returns calibrated probabilities (n, classes) of waveforms at 16 kHz; other streams may share it.
        classes: their names, in order.
        sample_rate: Hz of what is pushed; AudioError where it is out of range.
        timing: windows, smoothing, segments.
    """

    def __init__(self, forward: _Forward, classes: Sequence[str], sample_rate: int, timing: Timing) -> None:
        self.grid = Grid.of_seconds(timing.window_seconds, timing.hop_seconds)
        self._forward, self._classes, self._threshold = forward, tuple(classes), timing.abstain_below
        self._resampler = Resampler(sample_rate)
        self._smoother = Smoother(timing.smoothing_seconds, self.grid.hop_samples / SAMPLE_RATE)
        self._segmenter = Segmenter(self._classes, timing.abstain_below, timing.minimum_seconds)
        self._speech = SpeechLog() if timing.check_speech else None
        # The samples that coming windows need, and where in the stream they start.
        self._held, self._held_from = np.zeros(0, np.float32), 0
        self._samples = self._windows = 0

    @property
    def seconds(self) -> float:
        """Length of what was pushed, at 16 kHz."""
        return self._samples / SAMPLE_RATE

    def push(self, samples: ArrayLike) -> list[WindowPrediction]:
        """Take the next (samples,) or (samples, channels); return the predictions of the windows that they complete.

        NaN, infinite values and other types raise AudioError; the stream goes on without them.
        """
        return self._push(self._resampler.push(as_samples(samples)))

    def finish(self) -> tuple[list[WindowPrediction], list[Segment]]:
        """End the stream; return the last predictions, and the segments that none of them has closed."""
        predictions = self._push(self._resampler.finish())
        last = list(islice(self.grid.windows(self._samples), self._windows, None))
        predictions += self._predict(last) if last else []
        return predictions, self._segmenter.finish(self._samples)

    def segments(self, blocks: Iterable[Waveform]) -> Iterator[Segment]:
        """Yield the segments of a whole recording that comes in blocks at the stream's rate."""
        yield from (segment for block in blocks for p in self.push(block) for segment in p.segments)
        predictions, rest = self.finish()
        yield from (segment for p in predictions for segment in p.segments)
        yield from rest

    def _push(self, waveform: Waveform) -> list[WindowPrediction]:
        self._held = np.concatenate([self._held, waveform])
        if self._speech is not None:
            self._speech.push(waveform)
        self._samples += len(waveform)
        windows = map(self.grid.window, range(self._windows, self.grid.ready(self._samples)))
        predictions: list[WindowPrediction] = []
        while group := list(islice(windows, _WINDOWS_AT_ONCE)):
            predictions += self._predict(group)
        # Drop the samples before the next window.
        first = min(self.grid.window(self._windows).start, self._samples)
        self._held = self._held[first - self._held_from :].copy()
        self._held_from = first
        if self._speech is not None:
            self._speech.forget(first)
        return predictions

    def _predict(self, windows: Sequence[Window]) -> list[WindowPrediction]:
        """Return the predictions of windows whose samples are held, each as of a recording of its own."""
        spoken = [w for w in windows if self._speech is None or self._speech.has_speech(w)]
        # A window without speech is not predicted. All others share the passes of the network.
        waveforms = [self._held[w.start - self._held_from : w.end - self._held_from] for w in spoken]
        rows = dict(zip(spoken, self._forward(waveforms) if spoken else (), strict=True))
        self._windows += len(windows)
        return [self._prediction(window, rows.get(window)) for window in windows]

    def _prediction(self, window: Window, probabilities: NDArray[np.float64] | None) -> WindowPrediction:
        start, end, tile_end = (
            window.start / SAMPLE_RATE,
            window.end / SAMPLE_RATE,
            self.grid.tile_end(window),
        )
        if probabilities is None:
            self._smoother.skip()
            closed = tuple(self._segmenter.silence(tile_end))
            return WindowPrediction(start, end, {}, {}, emotion=None, confidence=None, segments=closed)
        smoothed = self._smoother.push(probabilities)
        best = int(smoothed.argmax())
        return WindowPrediction(
            start_seconds=start,
            end_seconds=end,
            probabilities=dict(zip(self._classes, probabilities.tolist(), strict=True)),
            smoothed=dict(zip(self._classes, smoothed.tolist(), strict=True)),
            emotion=self._classes[best] if smoothed[best] >= self._threshold else None,
            confidence=float(smoothed[best]),
            segments=tuple(self._segmenter.push(tile_end, smoothed)),
        )
