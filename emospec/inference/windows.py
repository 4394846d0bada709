"""Windows of a recording that are predicted: those of a regular grid, or those of its speech.

Owns where they start and end, in whole samples at 16 kHz. Their predictions are `streaming`'s and `segments`'s.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.errors import TimelineError


@dataclass(frozen=True, slots=True)
class Window:
    """Samples `start` to `end` of a recording, `end` excluded."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows of equal length at equal distances, the same for a file and for a stream.

    With w = `window_samples` and h = `hop_samples`, window k covers [k h, k h + w) and is ready once k h + w
    samples are there, wherever the recording ends. The rest after the last full window, always less than a hop,
    gets no window. A recording shorter than w is one window of its whole length. Each window decides for its tile,
    the hop around its centre; the tiles cover the recording once.

    >>> grid = Grid.of_seconds(3.0, 1.0)
    >>> [(w.start, w.end, grid.tile_end(w)) for w in grid.windows(80_000)]
    [(0, 48000, 32000), (16000, 64000, 48000), (32000, 80000, 64000)]
    >>> grid.ready(47_999), grid.ready(48_000), list(grid.windows(8_000))
    (0, 1, [Window(start=0, end=8000)])
    """

    window_samples: int
    hop_samples: int

    def __post_init__(self) -> None:
        # A hop longer than a window would leave speech out.
        if not 1 <= self.hop_samples <= self.window_samples:
            window, hop = (n / SAMPLE_RATE for n in (self.window_samples, self.hop_samples))
            raise TimelineError(
                f"the hop must be at least one sample and at most a window, or speech is left out: found a hop of {hop:g} s "
                f"and a window of {window:g} s. Change the hop (--hop) or the window (--window)"
            )

    @classmethod
    def of_seconds(cls, window_seconds: float, hop_seconds: float) -> "Grid":
        """Return the grid whose lengths come nearest; raises TimelineError as the class does."""
        return cls(_samples(window_seconds), _samples(hop_seconds))

    def ready(self, samples: int) -> int:
        """Return the number of full windows within the first `samples` samples."""
        return max(0, (samples - self.window_samples) // self.hop_samples + 1)

    def window(self, k: int) -> Window:
        """Return window k, counted from 0."""
        return Window(k * self.hop_samples, k * self.hop_samples + self.window_samples)

    def windows(self, samples: int) -> Iterator[Window]:
        """Yield the windows of a recording of `samples` samples, in order; none where it has no sample."""
        full = self.ready(samples)
        yield from map(self.window, range(full))
        if not full and samples > 0:
            yield Window(0, samples)

    def tile_end(self, window: Window) -> int:
        """Return the sample where the tile of a window ends and the next tile starts."""
        # With m = floor((w - h) / 2) the tile is [k h + m, (k + 1) h + m), inside the window. The first starts at 0
        # and the last ends with the recording.
        margin = (self.window_samples - self.hop_samples) // 2
        return min(window.start + self.hop_samples + margin, window.end)


def speech_windows(
    speech: Iterable[tuple[float, float]],
    duration_seconds: float,
    max_seconds: float,
    min_seconds: float,
    join_seconds: float = 0.3,
) -> list[Window]:
    """Return the windows to predict of a recording whose segments of speech are known, without overlap.

    Segments are sorted, cut to the recording, and joined where they overlap or touch. From left to right, two
    neighbours are joined, with the pause between them, where either is shorter than `min_seconds` and the pause
    is at most `join_seconds`. One that is still shorter counts as no speech. One longer than `max_seconds` is
    split evenly into as few windows as can be.

    Args:
        speech: start and end of each segment, in seconds.
        duration_seconds: of the recording.
        max_seconds: the longest window, at least twice `min_seconds`.
        min_seconds: the shortest window, 0 or more.
        join_seconds: the longest pause within a window, 0 or more.

    >>> windows = speech_windows([(0.0, 0.2), (0.4, 2.4), (4.0, 4.1), (5.0, 8.0)], 9.0, max_seconds=2.0, min_seconds=0.5)
    >>> [(w.start / 16_000, w.end / 16_000) for w in windows]
    [(0.0, 1.2), (1.2, 2.4), (5.0, 6.5), (6.5, 8.0)]
    """
    longest, shortest, join = map(_samples, (max_seconds, min_seconds, join_seconds))
    samples = _samples(duration_seconds)
    # Below twice the shortest, a split would make windows that are too short.
    if not (longest >= 1 and 0 <= 2 * shortest <= longest and join >= 0):
        raise TimelineError(
            f"windows of speech need min_seconds >= 0, max_seconds > 0 and at least twice min_seconds, join_seconds >= 0; "
            f"found {min_seconds:g}, {max_seconds:g} and {join_seconds:g}"
        )
    windows: list[Window] = []
    for segment in _joined(_segments(speech, samples), shortest, join):
        length = segment.end - segment.start
        if length >= shortest:
            # As few equal windows as can be: n = ceil(length / longest). Cuts are whole samples, so they touch.
            count = -(-length // longest)
            cuts = [segment.start + length * k // count for k in range(count + 1)]
            windows += map(Window, cuts[:-1], cuts[1:])
    return windows


def cut_windows(blocks: Iterable[Waveform], windows: Iterable[Window]) -> Iterator[Waveform]:
    """Yield the samples of windows, in order and without overlap, of a recording in blocks of (samples,).

    >>> blocks = iter([np.arange(4.0), np.arange(4.0, 9.0)])
    >>> [samples.tolist() for samples in cut_windows(blocks, [Window(1, 2), Window(3, 6)])]
    [[1.0], [3.0, 4.0, 5.0]]
    """
    waiting, held, held_from = iter(blocks), np.zeros(0, np.float32), 0
    for window in windows:
        # Read on until the window is there, without what lies before it: only the current window is held.
        while held_from + len(held) < window.end:
            skipped = min(len(held), max(0, window.start - held_from))
            held, held_from = np.concatenate([held[skipped:], next(waiting)]), held_from + skipped
        yield held[window.start - held_from : window.end - held_from]


def _samples(seconds: float) -> int:
    if not math.isfinite(seconds * SAMPLE_RATE):
        raise TimelineError(f"a time must be a finite number of seconds, found {seconds}")
    return round(seconds * SAMPLE_RATE)


def _segments(speech: Iterable[tuple[float, float]], samples: int) -> Iterator[Window]:
    for start, end in sorted(speech):
        first, last = _samples(start), _samples(end)
        if first > last:
            raise TimelineError(f"a segment of speech starts at {start:g} s and ends at {end:g} s")
        # Cut to the recording: a segment outside it goes.
        first, last = max(0, first), min(samples, last)
        if first < last:
            yield Window(first, last)


def _joined(segments: Iterable[Window], shortest: int, join: int) -> list[Window]:
    """Join neighbours that touch, or of which one is short and the pause between them too."""
    joined: list[Window] = []
    for segment in segments:
        if joined:
            last = joined[-1]
            pause = segment.start - last.end
            short = min(last.end - last.start, segment.end - segment.start) < shortest
            # From left to right: a short segment between two near ones goes to the earlier.
            if pause <= 0 or (short and pause <= join):
                joined[-1] = Window(last.start, max(last.end, segment.end))
                continue
        joined.append(segment)
    return joined
