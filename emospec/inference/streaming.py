"""Sound as it arrives -> what is heard, hop by hop; a file is a stream that has ended.

A window is scored as a recording of its own would be, and what is said of it never changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emospec.audio.samples import as_samples
from emospec.audio.waveform import SAMPLE_RATE, Resampler, Waveform
from emospec.inference.inputs import ArrayLike
from emospec.inference.segments import Segmenter, Smoother
from emospec.inference.timeline import Segment
from emospec.inference.vad import SpeechLog
from emospec.inference.windows import Grid, Window

if TYPE_CHECKING:
    from emospec.inference.model import Model
    from emospec.inference.recognizer import Recognizer

WINDOWS_AT_ONCE = 32


@dataclass(frozen=True)
class Timing:
    """How a recording is judged over its time.

    Attributes:
        window_seconds: what is judged at once; no longer than the model's crop (14 s).
        hop_seconds: from one window to the next.
        smoothing_seconds: time constant of the mean over windows, 0 for none; see `Smoother`.
        minimum_seconds: of a segment; see `Segmenter`.
        abstain_below: no emotion where the smoothed probability is lower, 0 to 1.
        check_speech: windows in which a voice detector finds no speech are not judged, and have no emotion.
    """

    window_seconds: float = 3.0
    hop_seconds: float = 1.0
    smoothing_seconds: float = 1.0
    minimum_seconds: float = 1.0
    abstain_below: float = 0.0
    check_speech: bool = True

    def __post_init__(self) -> None:
        """TimelineError where a value is out of range, before anything is heard."""
        grid = Grid.of_seconds(self.window_seconds, self.hop_seconds)
        Smoother(self.smoothing_seconds, grid.hop_seconds)
        Segmenter((), self.abstain_below, self.minimum_seconds)

    @classmethod
    def from_request(
        cls,
        *,
        speech: bool = False,
        window_seconds: float = 3.0,
        hop_seconds: float = 1.0,
        smoothing_seconds: float = 1.0,
        minimum_seconds: float = 1.0,
        abstain_below: float = 0.0,
        check_speech: bool = True,
    ) -> "Timing":
        """Return the timing that a user's options ask for, the same on the command line and over HTTP.

        Args:
            speech: score segments of speech instead of windows. They have no hop, so a hop that is longer than the
                window is no mistake then.
            window_seconds, hop_seconds, smoothing_seconds, minimum_seconds, abstain_below, check_speech: as of the class.

        Raises:
            TimelineError: a value is out of range.
        """
        hop = min(hop_seconds, window_seconds) if speech else hop_seconds
        return cls(window_seconds, hop, smoothing_seconds, minimum_seconds, abstain_below, check_speech)

    @property
    def latency_seconds(self) -> float:
        """How long after its start a hop is first judged: half a window and half a hop, and computing."""
        return (self.window_seconds + self.hop_seconds) / 2


@dataclass(frozen=True)
class Moment:
    """What is heard in one window.

    Attributes:
        start_seconds, end_seconds: the window.
        probabilities: of each class, as of a recording that is this window alone; empty where nobody speaks.
        smoothed: their mean with the windows before; empty where nobody speaks.
        emotion: the most probable smoothed class; None below `Timing.abstain_below`, or where nobody speaks.
        confidence: the highest smoothed probability, 0 to 1; None where nobody speaks.
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
    """A recogniser on sound that arrives.

    Args:
        recognizer: it may serve other streams too.
        sample_rate: Hz of what is pushed.
        timing: windows, smoothing, segments.
        model: the recogniser's, whose classes the stream keeps.

    Raises:
        AudioError: the rate is out of range.
        TimelineError: the timing is.

    Example:
        >>> stream = recognizer.stream(48_000)  # doctest: +SKIP
        >>> for moment in stream.push(samples):  # doctest: +SKIP
        ...     print(moment.end_seconds, moment.emotion, moment.confidence)
    """

    def __init__(self, recognizer: "Recognizer", sample_rate: int, timing: Timing, model: "Model") -> None:
        self.grid = Grid.of_seconds(timing.window_seconds, timing.hop_seconds)
        self._recognizer, self._model, self._classes = recognizer, model, model.names
        self._threshold = timing.abstain_below
        self._resampler = Resampler(sample_rate)
        self._smoother = Smoother(timing.smoothing_seconds, self.grid.hop_seconds)
        self._segmenter = Segmenter(self._classes, timing.abstain_below, timing.minimum_seconds)
        self._held = np.zeros(0, np.float32)
        self._held_from = 0
        self._speech = SpeechLog() if timing.check_speech else None
        self._samples = 0
        self._judged = 0

    @property
    def seconds(self) -> float:
        """How much was heard, at 16 kHz."""
        return self._samples / SAMPLE_RATE

    def push(self, samples: ArrayLike) -> list[Moment]:
        """Take the next samples; what is heard in the windows that they complete.

        Args:
            samples: of any number, as of `Recognizer.predict`: (samples,) or (samples, channels).

        Raises:
            AudioError: they are NaN or infinite, or of another type. The stream goes on without them.
        """
        return self._take(self._resampler.push(as_samples(samples)))

    def finish(self) -> tuple[list[Moment], list[Segment]]:
        """The stream ends: the last moments, and the segments that no moment has closed."""
        moments = self._take(self._resampler.finish())
        last = list(islice(self.grid.windows(self._samples), self._judged, None))
        moments += self._judge(last) if last else []
        return moments, self._segmenter.finish(self._samples)

    def _take(self, waveform: Waveform) -> list[Moment]:
        self._held = np.concatenate([self._held, waveform])
        if self._speech is not None:
            self._speech.push(waveform)
        self._samples += len(waveform)
        windows = map(self.grid.window, range(self._judged, self.grid.ready(self._samples)))
        moments: list[Moment] = []
        while some := list(islice(windows, WINDOWS_AT_ONCE)):
            moments += self._judge(some)
        first = min(self.grid.window(self._judged).start, self._samples)
        self._held = self._held[first - self._held_from :].copy()
        self._held_from = first
        if self._speech is not None:
            self._speech.forget(first)
        return moments

    def _judge(self, windows: Sequence[Window]) -> list[Moment]:
        """Score windows whose samples are held, as recordings of their own."""
        spoken = [self._speech is None or self._speech.has_speech(window) for window in windows]
        waveforms = [
            self._held[w.start - self._held_from : w.end - self._held_from]
            for w, speech in zip(windows, spoken, strict=True)
            if speech
        ]
        rows = iter(self._recognizer.score(waveforms, self._model)[0] if waveforms else ())
        self._judged += len(windows)
        return [
            self._moment(window, next(rows)) if speech else self._silence(window)
            for window, speech in zip(windows, spoken, strict=True)
        ]

    def _silence(self, window: Window) -> Moment:
        self._smoother.skip()
        closed = tuple(self._segmenter.silence(self.grid.tile_end(window)))
        start, end = window.start / SAMPLE_RATE, window.end / SAMPLE_RATE
        return Moment(start, end, {}, {}, None, None, closed)

    def _moment(self, window: Window, probabilities: NDArray[np.float64]) -> Moment:
        smoothed = self._smoother.push(probabilities)
        best = int(smoothed.argmax())
        return Moment(
            window.start / SAMPLE_RATE,
            window.end / SAMPLE_RATE,
            dict(zip(self._classes, probabilities.tolist(), strict=True)),
            dict(zip(self._classes, smoothed.tolist(), strict=True)),
            self._classes[best] if smoothed[best] >= self._threshold else None,
            float(smoothed[best]),
            tuple(self._segmenter.push(self.grid.tile_end(window), smoothed)),
        )


def segments_of(stream: Stream, blocks: Iterator[Waveform]) -> Iterator[Segment]:
    """The segments of a recording that comes in blocks at the stream's rate."""
    for block in blocks:
        for moment in stream.push(block):
            yield from moment.segments
    moments, rest = stream.finish()
    for moment in moments:
        yield from moment.segments
    yield from rest
