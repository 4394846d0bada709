"""Smoothing equals its sum; segments cover the recording, keep their length, and never wait for its end."""

import gc
import math
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from emospec.errors import TimelineError
from emospec.inference.segments import Segmenter, Smoother, speech_segments
from emospec.inference.timeline import Segment, Timeline
from emospec.inference.windows import Grid, Window

RATE = 16_000
TILE = 8_000  # half a second
CLASSES = ("calm", "angry", "sad")
Rows = NDArray[np.float64]


def grid_segments(
    rows: Iterable[Rows], grid: Grid, samples: int, segmenter: Segmenter, smoother: Smoother
) -> Iterator[Segment]:
    """Segment a whole recording at once, as a stream does push by push."""
    for window, row in zip(grid.windows(samples), rows, strict=True):
        yield from segmenter.push(grid.tile_end(window), smoother.push(row))
    yield from segmenter.finish(samples)


def rows_of(word: str, sure: float = 0.8) -> Rows:
    """Letters c, a and s are tiles of that class, the upper-case ones less sure; a dot is undecided."""
    rows = np.full((len(word), 3), 1 / 3)
    for row, letter in zip(rows, word, strict=True):
        if letter != ".":
            top = sure if letter.islower() else 0.6
            row[:] = (1 - top) / 2
            row["cas".index(letter.lower())] = top
    return rows


def run(segmenter: Segmenter, rows: Rows, end: int | None = None) -> list[Segment]:
    found = [s for k, row in enumerate(rows) for s in segmenter.push((k + 1) * TILE, row)]
    return found + segmenter.finish(len(rows) * TILE if end is None else end)


def words(found: list[Segment]) -> list[tuple[str | None, float]]:
    return [(s.emotion, s.end_seconds) for s in found]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.sampled_from([0.0, 0.3, 2.0, 50.0]), st.integers(0, 2**32 - 1))
def test_smoothing_is_its_sum(count: int, seconds: float, seed: int) -> None:
    rows = np.random.default_rng(seed).dirichlet(np.ones(3), count)
    smoother = Smoother(seconds, 0.5)
    for k in range(count):
        weights = [math.exp(-(k - j) * 0.5 / seconds) if seconds else float(j == k) for j in range(k + 1)]
        mean = sum(w * rows[j] for j, w in enumerate(weights)) / sum(weights)
        np.testing.assert_allclose(smoother.push(rows[k]), mean, rtol=1e-12)


def test_smoothing_follows_a_change_to_63_percent_in_its_time_constant() -> None:
    smoother = Smoother(2.0, 0.01)
    for _ in range(5_000):
        smoother.push(np.array([1.0, 0.0]))
    for _ in range(200):
        last = smoother.push(np.array([0.0, 1.0]))
    assert last[1] == pytest.approx(1 - math.exp(-1), abs=1e-6)


@pytest.mark.parametrize("times", [(-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf)])
def test_times_of_smoothing_out_of_range_are_refused(times: tuple[float, float]) -> None:
    with pytest.raises(TimelineError, match="time constant"):
        Smoother(*times)


def test_a_reused_buffer_changes_nothing() -> None:
    smoother, segmenter, buffer = Smoother(1.0, 1.0), Segmenter(CLASSES), np.zeros(3)
    buffer[:] = (1.0, 0.0, 0.0)
    smoother.push(buffer)
    segmenter.push(TILE, buffer)
    buffer[:] = (0.0, 1.0, 0.0)
    assert smoother.push(buffer)[0] == pytest.approx(math.exp(-1) / (1 + math.exp(-1)))
    assert segmenter.push(2 * TILE, buffer)[0].probabilities == (1.0, 0.0, 0.0)


def test_without_a_minimum_every_run_is_a_segment() -> None:
    found = run(Segmenter(CLASSES), rows_of("ccassc"))
    assert words(found) == [("calm", 1.0), ("angry", 1.5), ("sad", 2.5), ("calm", 3.0)]


@pytest.mark.parametrize(
    ("tiles", "expected"),
    [
        ("cccasss", [("calm", 2.0), ("sad", 3.5)]),  # as sure on both sides: the earlier
        ("CCCasss", [("calm", 1.5), ("sad", 3.5)]),  # the surer side
        ("cccaSSS", [("calm", 2.0), ("sad", 3.5)]),
        ("cccaccc", [("calm", 3.5)]),
        ("cccac", [("calm", 2.5)]),  # back to what was settled: at once
        ("accc", [("calm", 2.0)]),  # nothing before
        ("ccca", [("calm", 2.0)]),  # nothing after
        ("ccc.sss", [("calm", 2.0), ("sad", 3.5)]),  # a tile too undecided to count
        ("...accc", [(None, 1.5), ("calm", 3.5)]),  # abstained is below any confidence
        ("ccca...", [("calm", 2.0), (None, 3.5)]),
        ("a", [("angry", 0.5)]),  # a recording shorter than the minimum
        ("aS", [("angry", 1.0)]),  # judged by its mean
        ("", []),
    ],
)
def test_short_runs_are_absorbed(tiles: str, expected: list[tuple[str | None, float]]) -> None:
    segmenter = Segmenter(CLASSES, abstain_below=0.4, minimum_seconds=1.5)
    assert words(run(segmenter, rows_of(tiles))) == expected


def test_short_runs_that_last_the_minimum_together_take_the_emotion_of_their_mean() -> None:
    rows = rows_of("cccasaccc")
    rows[3:6] = [(0.1, 0.5, 0.4), (0.0, 0.0, 1.0), (0.1, 0.5, 0.4)]  # angry, sad, angry; sad in the mean
    found = run(Segmenter(CLASSES, minimum_seconds=1.5), rows)
    assert words(found) == [("calm", 1.5), ("sad", 3.0), ("calm", 4.5)]


def test_the_last_tile_lasts_to_the_end_of_the_recording() -> None:
    found = run(Segmenter(CLASSES, minimum_seconds=1.0), rows_of("cca"), end=3 * TILE + 12_000)
    assert words(found) == [("calm", 1.0), ("angry", 2.25)]
    assert run(Segmenter(CLASSES), rows_of("c"), end=20_000)[0].end_seconds == 1.25


SCORES = st.tuples(
    st.integers(0, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.45, 0.6]), st.integers(0, 6)
)


def naive_rows(count: int, seed: int) -> Rows:
    """Emotions that last a while, with noise."""
    rng = np.random.default_rng(seed)
    return np.array([rng.dirichlet(0.3 + 3 * (np.arange(3) == k // 4 % 3)) for k in range(count)]).reshape(
        -1, 3
    )


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_segments_cover_the_recording_and_are_the_means_of_their_windows(
    case: tuple[int, int, float, int],
) -> None:
    count, seed, threshold, tiles = case
    rows = naive_rows(count, seed)
    found = run(Segmenter(CLASSES, threshold, tiles * 0.5), rows)
    Timeline("x", max(count, 1) * 0.5, CLASSES, tuple(found))
    assert [0.0, *(s.end_seconds for s in found)] == [*(s.start_seconds for s in found), count * 0.5]
    assert all(one.emotion != other.emotion for one, other in pairwise(found))
    for s in found:
        assert s.end_seconds - s.start_seconds >= tiles * 0.5 or len(found) == 1
        within = rows[round(s.start_seconds * 2) : round(s.end_seconds * 2)]
        np.testing.assert_allclose(s.probabilities, within.mean(0), rtol=1e-12)
        assert s.confidence == (None if s.emotion is None else s.probabilities[CLASSES.index(s.emotion)])


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_without_a_minimum_segments_are_the_runs(case: tuple[int, int, float, int]) -> None:
    count, seed, threshold, _ = case
    rows = naive_rows(count, seed)
    labels = [CLASSES[row.argmax()] if row.max() >= threshold else None for row in rows]
    expected, end = [], 0.0
    for label, group in groupby(labels):
        end += 0.5 * len(list(group))
        expected.append((label, end))
    assert words(run(Segmenter(CLASSES, threshold), rows)) == expected


@settings(max_examples=60, deadline=None)
@given(SCORES, st.integers(0, 2**32 - 1), st.integers(0, 40))
def test_closed_segments_do_not_depend_on_what_follows(
    case: tuple[int, int, float, int], other_seed: int, cut: int
) -> None:
    count, seed, threshold, tiles = case
    rows = naive_rows(count, seed)
    cut = min(cut, count)
    other = np.concatenate([rows[:cut], naive_rows(count - cut, other_seed)])
    segmenter = Segmenter(CLASSES, threshold, tiles * 0.5)
    given_early = [s for k in range(cut) for s in segmenter.push((k + 1) * TILE, rows[k])]
    for future in (rows, other):
        whole = run(Segmenter(CLASSES, threshold, tiles * 0.5), future)
        assert whole[: len(given_early)] == given_early
    # All that is older than twice the minimum and a tile is settled, if not yet closed.
    if cut and (waiting := segmenter._waiting or segmenter._run):
        assert cut * TILE - waiting.start < 2 * tiles * TILE + TILE


def test_memory_does_not_grow_with_the_recording() -> None:
    segmenter, smoother = Segmenter(CLASSES, 0.4, 2.0), Smoother(0.5, 0.5)
    rows = naive_rows(100, 0)
    sizes = []
    tracemalloc.start()
    for k in range(3_000):
        segmenter.push((k + 1) * TILE, smoother.push(rows[k * 37 % 100]))
        if k in (500, 2_999):
            # Python keeps freed tuples and floats for reuse until it collects.
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 4_096


def test_a_file_is_a_loop_over_the_stream() -> None:
    grid = Grid.of_seconds(2.0, 0.5)
    samples = 7 * RATE + 123
    rows = naive_rows(len(list(grid.windows(samples))), 3)
    whole = list(grid_segments(rows, grid, samples, Segmenter(CLASSES, 0.4, 1.0), Smoother(1.0, 0.5)))
    segmenter, smoother, streamed, seen = (
        Segmenter(CLASSES, 0.4, 1.0),
        Smoother(1.0, grid.hop_samples / 16_000),
        [],
        0,
    )
    for arrived in (*range(0, samples, 777), samples):
        for k in range(seen, grid.ready(arrived)):
            streamed += segmenter.push(grid.tile_end(grid.window(k)), smoother.push(rows[k]))
            seen = k + 1
    streamed += segmenter.finish(samples)
    assert streamed == whole
    assert whole[-1].end_seconds == samples / RATE


def test_a_recording_shorter_than_a_window_is_one_segment() -> None:
    grid = Grid.of_seconds(2.0, 0.5)
    found = list(grid_segments(rows_of("a"), grid, 4_000, Segmenter(CLASSES, 0.0, 1.0), Smoother(0.0, 0.5)))
    assert words(found) == [("angry", 0.25)]


def test_silence_stands_between_speech_and_absorbs_nothing() -> None:
    pieces = [Window(8_000, 16_000), Window(16_000, 24_000), Window(40_000, 48_000), Window(48_000, 56_000)]
    found = list(speech_segments(pieces, rows_of("aaa."), 64_000, Segmenter(CLASSES, 0.4, 3.0)))
    assert words(found) == [(None, 0.5), ("angry", 1.5), (None, 2.5), ("angry", 3.5), (None, 4.0)]
    silence = [s for s in found if s.emotion is None]
    assert all(s.confidence is None and s.probabilities == () for s in silence)
    assert found[3].probabilities == pytest.approx(rows_of("a.").mean(0))


def test_abstaining_and_silence_differ() -> None:
    found = list(speech_segments([Window(0, 8_000)], rows_of("."), 16_000, Segmenter(CLASSES, 0.4)))
    assert words(found) == [(None, 0.5), (None, 1.0)]
    assert [len(s.probabilities) for s in found] == [3, 0]


@pytest.mark.parametrize(("pieces", "samples", "expected"), [([], RATE, [(None, 1.0)]), ([], 0, [])])
def test_a_recording_without_speech(
    pieces: list[Window], samples: int, expected: list[tuple[str | None, float]]
) -> None:
    assert words(list(speech_segments(pieces, [], samples, Segmenter(CLASSES)))) == expected


def test_silence_in_parts_is_one_segment() -> None:
    segmenter = Segmenter(CLASSES)
    assert segmenter.silence(TILE) == segmenter.silence(2 * TILE) == []
    assert words(segmenter.push(3 * TILE, rows_of("a")[0])) == [(None, 1.0)]
    assert words(segmenter.silence(4 * TILE)) == [("angry", 1.5)]
    assert words(segmenter.finish(5 * TILE)) == [(None, 2.5)]


@pytest.mark.parametrize("settings", [(-0.1, 0.0), (1.1, 0.0), (0.0, -1.0), (math.nan, 0.0), (0.0, math.inf)])
def test_settings_of_segments_out_of_range_are_refused(settings: tuple[float, float]) -> None:
    with pytest.raises(TimelineError, match="abstain_below between 0 and 1"):
        Segmenter(CLASSES, *settings)


def test_probabilities_and_tiles_that_do_not_fit_are_refused() -> None:
    segmenter = Segmenter(CLASSES)
    segmenter.push(TILE, rows_of("a")[0])
    with pytest.raises(TimelineError, match="3 classes need as many probabilities"):
        segmenter.push(2 * TILE, np.ones(2))
    with pytest.raises(TimelineError, match="finite numbers"):
        segmenter.push(2 * TILE, np.array([math.nan, 0.0, 0.0]))
    with pytest.raises(TimelineError, match="must end after sample 8000, found 8000"):
        segmenter.push(TILE, rows_of("a")[0])
    with pytest.raises(TimelineError, match="cannot end at sample 100"):
        segmenter.finish(100)
    with pytest.raises(TimelineError, match="finite numbers"):
        Smoother(1.0, 1.0).push(np.array([math.inf, 0.0]))


@pytest.mark.parametrize(
    ("timeline", "message"),
    [
        ((" ", 1.0, ("a",), ()), "needs a name"),
        (("x", 0.0, ("a",), ()), "duration must be above 0 s, found 0"),
        (("x", math.nan, ("a",), ()), "duration must be above 0 s, found nan"),
        (("x", 1.0, ("a", "a"), ()), "different words, found 'a', 'a'"),
        (("x", 1.0, ("a", ""), ()), "different words"),
        (("x", 1.0, ("a",), (Segment(0.5, 0.5, None, None),)), "segment 0 is 0.5 s to 0.5 s"),
        (("x", 1.0, ("a",), (Segment(0.5, 1.5, None, None),)), "lie within 1 s"),
        (("x", 3.0, ("a",), (Segment(0.0, 2.0, "a", 1.0), Segment(1.0, 3.0, "a", 1.0))), "segment 1 is 1 s"),
        (("x", 1.0, ("a",), (Segment(math.nan, 1.0, "a", 1.0),)), "segment 0"),
        (("x", 1.0, ("a",), (Segment(0.0, 1.0, "b", 1.0),)), "says 'b', which is none of the classes a"),
        (("x", 1.0, ("a",), (Segment(0.0, 1.0, "a", 1.0, (0.5, 0.5)),)), "2 probabilities for 1 classes"),
    ],
)
def test_a_timeline_refuses_mistaken_segments(
    timeline: tuple[str, float, tuple[str, ...], tuple[Segment, ...]], message: str
) -> None:
    with pytest.raises(TimelineError, match=message):
        Timeline(*timeline)
