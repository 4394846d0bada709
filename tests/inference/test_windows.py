"""Windows of a grid and of speech: their places, the same for a stream, and nothing is lost."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emospec.errors import TimelineError
from emospec.inference.windows import Grid, Window, speech_windows

RATE = 16_000
GRIDS = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda pair: Grid(max(pair), min(pair)))


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(0, 500))
def test_windows_are_those_that_fit(grid: Grid, samples: int) -> None:
    expected, start = [], 0
    while start + grid.window_samples <= samples:
        expected.append(Window(start, start + grid.window_samples))
        start += grid.hop_samples
    assert grid.ready(samples) == len(expected)
    if not expected and samples:
        expected = [Window(0, samples)]
    assert list(grid.windows(samples)) == expected


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.lists(st.integers(1, 70), max_size=12))
def test_a_stream_sees_the_windows_of_the_file(grid: Grid, chunks: list[int]) -> None:
    seen, arrived = [], 0
    for chunk in chunks:
        arrived += chunk
        seen += [grid.window(k) for k in range(len(seen), grid.ready(arrived))]
        assert all(window.end <= arrived for window in seen)
    if not seen and arrived:
        seen = [Window(0, arrived)]
    assert seen == list(grid.windows(arrived))


@settings(max_examples=60, deadline=None)
@given(GRIDS, st.integers(1, 500))
def test_tiles_cover_the_recording_and_lie_in_their_windows(grid: Grid, samples: int) -> None:
    position = 0
    for k, window in enumerate(grid.windows(samples)):
        end = grid.tile_end(window)
        assert position < end <= window.end
        if k:
            assert end - position == grid.hop_samples
            assert window.start <= position
            assert abs((position + end) - (window.start + window.end)) <= 1  # the same centre
        position = end
    assert position <= samples
    assert samples - position < max(grid.window_samples, grid.hop_samples)


@pytest.mark.parametrize("lengths", [(1.0, 0.0), (1.0, 1.5), (0.0, 0.0), (1.0, -1.0), (1.0, 1e-6)])
def test_a_hop_that_leaves_speech_out_is_refused(lengths: tuple[float, float]) -> None:
    with pytest.raises(TimelineError, match="hop must be at least one sample"):
        Grid.of_seconds(*lengths)


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_times_are_finite(seconds: float) -> None:
    with pytest.raises(TimelineError, match="finite"):
        Grid.of_seconds(seconds, 1.0)
    with pytest.raises(TimelineError, match="finite"):
        speech_windows([(0.0, seconds)], 1.0, 1.0, 0.1)


def seconds(windows: list[Window]) -> list[tuple[float, float]]:
    return [(window.start / RATE, window.end / RATE) for window in windows]


@pytest.mark.parametrize(
    ("speech", "expected"),
    [
        ([], []),
        ([(2.0, 3.0), (0.0, 1.0)], [(0.0, 1.0), (2.0, 3.0)]),  # put in order
        ([(0.0, 1.0), (0.5, 2.0), (2.0, 3.0)], [(0.0, 3.0)]),  # overlap and touch
        ([(0.0, 3.0), (1.0, 2.0)], [(0.0, 3.0)]),  # one within the other
        ([(-1.0, 1.0), (9.5, 12.0)], [(0.0, 1.0), (9.5, 10.0)]),  # cut to the recording
        ([(11.0, 12.0)], []),
        ([(0.0, 1.0), (1.1, 2.0)], [(0.0, 1.0), (1.1, 2.0)]),  # both long: the pause stays
        ([(0.0, 1.0), (1.2, 1.4)], [(0.0, 1.4)]),  # a short one joins its near neighbour
        ([(0.0, 0.2), (0.4, 1.4)], [(0.0, 1.4)]),
        ([(0.0, 1.0), (1.2, 1.4), (1.5, 3.0)], [(0.0, 1.4), (1.5, 3.0)]),  # the earlier one
        ([(0.0, 0.2), (0.4, 0.6), (0.8, 1.0)], [(0.0, 1.0)]),  # short ones add up
        ([(0.0, 1.0), (3.0, 3.2), (5.0, 6.0)], [(0.0, 1.0), (5.0, 6.0)]),  # alone and short: dropped
        ([(0.0, 4.0)], [(0.0, 4.0)]),
        ([(0.0, 4.5)], [(0.0, 2.25), (2.25, 4.5)]),
        ([(0.0, 9.0)], [(0.0, 3.0), (3.0, 6.0), (6.0, 9.0)]),
    ],
)
def test_windows_of_speech(speech: list[tuple[float, float]], expected: list[tuple[float, float]]) -> None:
    assert seconds(speech_windows(speech, 10.0, max_seconds=4.0, min_seconds=0.5)) == expected


SEGMENTS = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(1, 900)).map(lambda s: (s[0] / 100, (s[0] + s[1]) / 100)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(SEGMENTS, st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([2.0, 3.7]))
def test_windows_of_speech_have_their_length_and_lose_no_long_speech(
    speech: list[tuple[float, float]], shortest: float, longest: float
) -> None:
    windows = speech_windows(speech, 31.0, longest, shortest, join_seconds=0.3)
    covered = bytearray(31 * 100)
    for k, window in enumerate(windows):
        length = window.end - window.start
        assert round(shortest * RATE) <= length <= round(longest * RATE)
        assert window.start >= 0
        assert window.end <= 31 * RATE
        assert k == 0 or windows[k - 1].end <= window.start
        # Speech begins and ends at whole 160 samples; cuts within it may lie between.
        covered[window.start // 160 : -(-window.end // 160)] = b"\1" * (
            -(-window.end // 160) - window.start // 160
        )
    speech_frames = bytearray(31 * 100)
    for start, end in speech:
        first, last = round(start * 100), min(3100, round(end * 100))
        speech_frames[first:last] = b"\1" * max(0, last - first)
    for segment in bytes(speech_frames).split(b"\0"):
        if len(segment) >= max(1, shortest * 100):
            where = bytes(speech_frames).find(segment)
            assert all(covered[where : where + len(segment)])
    for pause in bytes(covered[k] and not speech_frames[k] for k in range(3100)).split(b"\0"):
        assert len(pause) <= 30


@pytest.mark.parametrize("lengths", [(1.0, 0.6, 0.3), (0.0, 0.0, 0.3), (1.0, -0.1, 0.3), (1.0, 0.1, -0.3)])
def test_lengths_of_windows_out_of_range_are_refused(lengths: tuple[float, float, float]) -> None:
    with pytest.raises(TimelineError, match="at least twice min_seconds"):
        speech_windows([(0.0, 1.0)], 2.0, *lengths)


def test_speech_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(TimelineError, match="starts at 2 s and ends at 1 s"):
        speech_windows([(2.0, 1.0)], 3.0, 1.0, 0.1)
