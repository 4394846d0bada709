"""Segments of a recording from the probabilities of its windows, one after the other.

Owns smoothing and segmenting, both causal and of constant memory, so that a file and a stream run the same code.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE
from emospec.errors import TimelineError
from emospec.inference.timeline import Segment
from emospec.inference.windows import Window

Probabilities = NDArray[np.floating[Any]]
"""(classes,): of one window."""


class Smoother:
    """A mean of all windows so far that forgets with a time constant.

    With h the hop, τ the time constant in seconds and p_k the probabilities of window k,

        s_k = sum over j <= k of exp(-(k - j) h / τ) p_j / sum over j <= k of exp(-(k - j) h / τ)

    over the windows that have probabilities. So s_0 = p_0, and s follows a change to 63 % after τ. τ = 0 changes nothing.

    Args:
        seconds: τ, 0 or more.
        hop_seconds: h, above 0.

    >>> smoother = Smoother(seconds=1.0, hop_seconds=1.0)
    >>> [smoother.push(np.array([p, 1 - p])).round(3).tolist() for p in (1.0, 0.0)]
    [[1.0, 0.0], [0.269, 0.731]]
    """

    def __init__(self, seconds: float, hop_seconds: float) -> None:
        if not (0 <= seconds < math.inf and 0 < hop_seconds < math.inf):
            raise TimelineError(
                f"smoothing needs a time constant of 0 s or more and a hop above 0 s, found {seconds:g} and {hop_seconds:g}"
            )
        self._keep = math.exp(-hop_seconds / seconds) if seconds else 0.0
        self._sum: Probabilities = np.zeros(0)
        self._weight = 0.0

    def push(self, probabilities: Probabilities) -> Probabilities:
        """Return the smoothed probabilities of the next window; (classes,) in and out, float64."""
        row = _finite(probabilities)
        # s_k = sum_k / weight_k, where each window takes both on by a factor of exp(-h / τ).
        self._sum = self._keep * self._sum + row if self._weight else row
        self._weight = self._keep * self._weight + 1.0
        return self._sum / self._weight

    def skip(self) -> None:
        """Pass a window without probabilities; those before it are forgotten as with any other."""
        self._sum, self._weight = self._keep * self._sum, self._keep * self._weight


@dataclass(slots=True)
class _Run:
    """Neighbouring tiles of one segment: samples, emotion, sum of probabilities, number of windows."""

    start: int
    end: int
    emotion: int | None
    sum: Probabilities
    count: int = 1

    @property
    def mean(self) -> Probabilities:
        return self.sum / self.count

    @property
    def confidence(self) -> float | None:
        return None if self.emotion is None else float(self.mean[self.emotion])

    def absorb(self, other: "_Run") -> "_Run":
        """Take a neighbour in; the emotion stays."""
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.sum, self.count = self.sum + other.sum, self.count + other.count
        return self

    def below(self, other: "_Run") -> bool:
        """Whether the other is surer; abstaining is the least sure."""
        mine, theirs = self.confidence, other.confidence
        return theirs is not None and (mine is None or mine < theirs)


class Segmenter:
    """Makes segments from the probabilities of tiles, each as soon as it can no longer change.

    A tile's emotion is its most probable class, or none below `abstain_below`. Tiles of one emotion in a row
    are a run. A run is settled once it lasts `minimum_seconds`, or at once where it continues the emotion
    that was settled last. A run that ends earlier waits, and joins a settled neighbour or other waiting runs.
    So no segment is shorter than `minimum_seconds`, unless all sound between two silences is, and a boundary is
    known less than twice `minimum_seconds` and a tile after it. Silence is a segment without probabilities, and
    joins no other.

    Args:
        classes: the model's, in its order.
        abstain_below: threshold of the highest probability, 0 (never abstain) to 1.
        minimum_seconds: 0 or more; 0 keeps every run.

    >>> segmenter = Segmenter(("calm", "angry"), minimum_seconds=1.0)
    >>> segments = []
    >>> for k, angry in enumerate([0.1, 0.2, 0.9, 0.3, 0.8, 0.9]):
    ...     segments += segmenter.push((k + 1) * 8_000, np.array([1 - angry, angry]))
    >>> segments += segmenter.finish(50_000)
    >>> [(s.start_seconds, s.end_seconds, s.emotion, round(s.confidence, 3)) for s in segments]
    [(0.0, 2.0, 'calm', 0.625), (2.0, 3.125, 'angry', 0.85)]
    """

    def __init__(
        self, classes: Sequence[str], abstain_below: float = 0.0, minimum_seconds: float = 0.0
    ) -> None:
        if not (0 <= abstain_below <= 1 and 0 <= minimum_seconds < math.inf):
            raise TimelineError(
                f"segments need abstain_below between 0 and 1 and minimum_seconds of 0 or more, "
                f"found {abstain_below:g} and {minimum_seconds:g}"
            )
        self._classes, self._threshold = tuple(classes), abstain_below
        self._minimum = minimum_seconds * SAMPLE_RATE
        # In order of time: the settled run, those that wait, the current one; and the start of a silence.
        self._settled: _Run | None = None
        self._waiting: _Run | None = None
        self._run: _Run | None = None
        self._silence: int | None = None
        self._position = 0

    def push(self, end: int, probabilities: Probabilities) -> list[Segment]:
        """Take the next tile, from the end of the last one to sample `end`; return the segments that this closes."""
        row = _finite(probabilities)
        if row.shape != (len(self._classes),):
            raise TimelineError(
                f"{len(self._classes)} classes need as many probabilities, found shape {row.shape}"
            )
        tile = _Run(self._position, self._advance(end), self._emotion(row), row)
        closed = self._end_silence(tile.start)
        if self._run is not None and self._run.emotion != tile.emotion:
            closed += self._wait()
        self._run = self._run.absorb(tile) if self._run else tile
        return closed + self._settle_due()

    def silence(self, end: int) -> list[Segment]:
        """Take silence up to sample `end`; return the segments that this closes."""
        start = self._position
        self._advance(end)
        if self._silence is not None:
            return []
        self._silence = start
        return self._end_speech()

    def finish(self, end: int) -> list[Segment]:
        """End the recording and its last tile or silence at sample `end`; return all remaining segments."""
        if end < self._position:
            raise TimelineError(
                f"a recording cannot end at sample {end}, before its last tile at {self._position}"
            )
        # What comes after the last tile is the last segment's.
        if last := self._run or self._settled:
            last.end = end
        closed = self._settle_due() + self._end_speech() + self._end_silence(end)
        self._position = end
        return closed

    def _advance(self, end: int) -> int:
        if end <= self._position:
            raise TimelineError(f"a tile must end after sample {self._position}, found {end}")
        self._position = end
        return end

    def _emotion(self, mean: Probabilities) -> int | None:
        top = int(mean.argmax())
        return top if mean[top] >= self._threshold else None

    def _is_long(self, run: _Run) -> bool:
        return run.end - run.start >= self._minimum

    def _settle_due(self) -> list[Segment]:
        """Settle the current run where it is long enough or continues the settled one."""
        run, settled = self._run, self._settled
        if run is None or not (self._is_long(run) or (settled and settled.emotion == run.emotion)):
            return []
        self._run = None
        return self._settle(run)

    def _wait(self) -> list[Segment]:
        """Let the current run, too short, wait; settle all waiting runs once they are long enough together."""
        # Their mean then decides the emotion.
        if self._run is not None:
            self._waiting = self._waiting.absorb(self._run) if self._waiting else self._run
        self._run = None
        if self._waiting is None or not self._is_long(self._waiting):
            return []
        merged, self._waiting = self._merged(self._waiting), None
        return self._settle(merged)

    def _settle(self, run: _Run) -> list[Segment]:
        settled, waiting, self._waiting = self._settled, self._waiting, None
        # Waiting runs go to the neighbour with the higher confidence now, the earlier one on a tie; abstained is
        # below any confidence.
        if waiting is not None:
            (run if settled is None or settled.below(run) else settled).absorb(waiting)
        if settled is not None and settled.emotion == run.emotion:
            settled.absorb(run)
            return []
        self._settled = run
        return [] if settled is None else [self._segment(settled)]

    def _end_speech(self) -> list[Segment]:
        closed = self._wait()
        # What still waits joins the settled run before it. Without one, the mean decides for all.
        last, rest = self._settled, self._waiting
        if rest is not None:
            last = last.absorb(rest) if last else self._merged(rest)
        self._settled = self._waiting = None
        return closed if last is None else [*closed, self._segment(last)]

    def _end_silence(self, end: int) -> list[Segment]:
        start, self._silence = self._silence, None
        return [] if start is None else [Segment(start / SAMPLE_RATE, end / SAMPLE_RATE, None, None)]

    def _merged(self, run: _Run) -> _Run:
        return replace(run, emotion=self._emotion(run.mean))

    def _segment(self, run: _Run) -> Segment:
        emotion = None if run.emotion is None else self._classes[run.emotion]
        start, end, mean = run.start / SAMPLE_RATE, run.end / SAMPLE_RATE, tuple(map(float, run.mean))
        return Segment(start, end, emotion, confidence=run.confidence, probabilities=mean)


def speech_segments(
    windows: Iterable[Window], probabilities: Iterable[Probabilities], samples: int, segmenter: Segmenter
) -> Iterator[Segment]:
    """Yield segments that cover a recording of `samples` samples from its `speech_windows` and a new segmenter."""
    position = 0
    # Each window is a tile, and silence lies between them.
    for window, row in zip(windows, probabilities, strict=True):
        if window.start > position:
            yield from segmenter.silence(window.start)
        yield from segmenter.push(window.end, row)
        position = window.end
    if samples > position:
        yield from segmenter.silence(samples)
    yield from segmenter.finish(samples)


def _finite(probabilities: Probabilities) -> Probabilities:
    # A copy, because a stream may reuse its buffer.
    row = np.array(probabilities, np.float64)
    if not np.isfinite(row).all():
        raise TimelineError(f"probabilities must be finite numbers, found {row.tolist()}")
    return row
