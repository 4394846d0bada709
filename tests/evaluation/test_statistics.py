"""Intervals and paired tests against naive loops and enumeration, and 2,000 simulations with a known UA."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from emospec.config import load_settings
from emospec.errors import RunError
from emospec.evaluation.metrics import confusion_matrix, unweighted_accuracy, weighted_accuracy
from emospec.evaluation.statistics import (
    ACCURACIES,
    Metric,
    SpeakerCounts,
    count_by_speaker,
    holm,
    interval,
    paired,
)
from emospec.evaluation.summary import Summary, summarise
from emospec.runs.record import RunRecord
from emospec.runs.stored import Meta, Scores

SCORES = {"UA": unweighted_accuracy, "WA": weighted_accuracy}
CLASSES = 3

# One prediction: (run, repeat, speaker, utterance, target, predicted)
LabelRow = tuple[str, str, str, str, int, int]


def draw_rows(
    seed: int, speakers: int = 7, repeats: int = 3, folds: int = 3, unknown: bool = False
) -> list[LabelRow]:
    """Every speaker in one fold; speaker 0 has no class 0, so a fold and a deletion may lack a class."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(speakers):
        name = f"corpus/{s}"
        for u in range(int(rng.integers(2, 9))):
            target = int(rng.integers(1 if s == 0 else 0, CLASSES))
            for repeat in range(repeats):
                guess = target if rng.random() < 0.6 else int(rng.integers(CLASSES))
                run, speaker = f"{repeat}.{s % folds}", "" if unknown else name
                rows.append((run, str(repeat), speaker, f"{name}_{u}", target, guess))
    return rows


def other_system(rows: Sequence[LabelRow], seed: int) -> list[LabelRow]:
    """Return the same rows with the predictions of another system."""
    rng = np.random.default_rng(seed)
    return [(*row[:5], row[4] if rng.random() < 0.4 else int(rng.integers(CLASSES))) for row in rows]


def count(rows: Sequence[LabelRow], block: int = 1) -> SpeakerCounts:
    """Block 0: mean over runs, as dai2019 reports; 1: mean over repeats, as the others do."""
    columns = list(zip(*rows, strict=True)) or [()] * 6
    return count_by_speaker(
        blocks=columns[block],
        speakers=columns[2],
        utterances=columns[3],
        targets=columns[4],
        predicted=columns[5],
        classes=CLASSES,
    )


def naive_score(rows: Sequence[LabelRow], metric: Metric, block: int = 1) -> float:
    scores = []
    for name in {row[block] for row in rows}:
        tested = [row for row in rows if row[block] == name]
        targets, predicted = (np.array([row[k] for row in tested]) for k in (4, 5))
        scores.append(SCORES[metric](confusion_matrix(targets, predicted, CLASSES)))
    return sum(scores) / len(scores)


def naive_jackknife(estimate: float, deleted: Sequence[float]) -> tuple[float, float]:
    size = len(deleted)
    variance = 0.0
    for value in deleted:
        variance += (value - sum(deleted) / size) ** 2 * (size - 1) / size
    reach = student.ppf(0.975, size - 1) * math.sqrt(variance)
    return estimate - reach, estimate + reach


def summary(rows: Sequence[LabelRow], protocol: str) -> Summary:
    runs = []
    for fold, name in enumerate(sorted({row[0] for row in rows})):
        tested = [row for row in rows if row[0] == name]
        targets, predicted = (np.array([row[k] for row in tested]) for k in (4, 5))
        confusion = confusion_matrix(targets, predicted, CLASSES)
        about = {
            "name": protocol,
            "repeat": int(tested[0][1]),
            "fold": fold,
            "folds": 3,
            "hash": tested[0][1],
        }
        meta = {
            "preset": "p",
            "seed": 0,
            "classes": ["a", "b", "c"],
            "corpora": [{"name": "emodb"}],
            "protocol": about,
        }
        scores = {"test": {"confusion": confusion.tolist()}, "dev": {"UA": 0.5}}
        settings = load_settings("dai2019-mel", ["loss.center_weight=0"])
        runs.append(RunRecord(Path(name), settings, Meta.model_validate(meta), Scores.model_validate(scores)))
    return summarise(runs)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("protocol", "block"), [("dai2019", 0), ("one-speaker-out", 1)])
def test_the_estimate_is_the_reported_number(protocol: str, block: int, seed: int) -> None:
    rows = draw_rows(seed)
    reported = summary(rows, protocol)
    assert interval(count(rows, block), "UA").estimate == pytest.approx(reported.ua, abs=1e-14)
    assert interval(count(rows, block), "WA").estimate == pytest.approx(reported.wa, abs=1e-14)
    assert abs(reported.ua - interval(count(rows, 1 - block), "UA").estimate) > 1e-4


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("metric", ACCURACIES)
@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("unknown", [False, True])
def test_the_interval_equals_the_naive_jackknife(
    seed: int, metric: Metric, block: int, unknown: bool
) -> None:
    rows = draw_rows(seed, speakers=6, folds=6 if seed % 2 else 3, unknown=unknown)  # 6: an empty run is left
    cluster = 3 if unknown else 2
    names = sorted({row[cluster] for row in rows})
    deleted = [naive_score([r for r in rows if r[cluster] != name], metric, block) for name in names]
    low, high = naive_jackknife(naive_score(rows, metric, block), deleted)
    result = interval(count(rows, block), metric)
    assert (result.low, result.high) == pytest.approx((max(low, 0.0), min(high, 1.0)), abs=1e-12)
    assert (result.clusters, result.unit) == (len(names), "utterances" if unknown else "speakers")


@pytest.mark.parametrize("metric", ACCURACIES)
def test_the_interval_of_a_difference_equals_the_naive_jackknife(metric: Metric) -> None:
    rows = draw_rows(1)
    others = other_system(rows, 2)
    names = sorted({row[2] for row in rows})

    def difference(name: str) -> float:
        kept = [[r for r in system if r[2] != name] for system in (rows, others)]
        return naive_score(kept[0], metric) - naive_score(kept[1], metric)

    expected = naive_jackknife(difference("nobody"), [difference(name) for name in names])
    result = paired(count(rows), count(others), metric)
    assert result.difference == pytest.approx(difference("nobody"), abs=1e-14)
    assert (result.interval.low, result.interval.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", ACCURACIES)
@pytest.mark.parametrize("block", [0, 1])
def test_p_equals_the_enumeration_of_all_exchanges(seed: int, metric: Metric, block: int) -> None:
    """Exchange the predicted labels speaker by speaker, in all ways, and score each way from its rows."""
    second = draw_rows(seed, speakers=6, repeats=2)
    first = other_system(second, seed + 100)  # the worse one: the difference is negative
    names = sorted({row[2] for row in first})
    observed = abs(naive_score(first, metric, block) - naive_score(second, metric, block))
    extreme = 0
    for ways in itertools.product([False, True], repeat=len(names)):
        swap = dict(zip(names, ways, strict=True))
        swapped = [b if swap[a[2]] else a for a, b in zip(first, second, strict=True)]
        others = [a if swap[a[2]] else b for a, b in zip(first, second, strict=True)]
        difference = naive_score(swapped, metric, block) - naive_score(others, metric, block)
        extreme += abs(difference) >= observed - 1e-12
    result = paired(count(first, block), count(second, block), metric)
    assert (result.p, result.permutations, result.exact) == (extreme / 2**6, 2**6, True)


def test_the_sampled_p_is_near_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = draw_rows(3, speakers=14)
    first, second = count(rows), count(other_system(rows, 9))
    exact = paired(first, second, "WA")
    monkeypatch.setattr("emospec.evaluation.statistics._EXACT_UP_TO", 13)
    sampled = [paired(first, second, "WA", seed=seed) for seed in (0, 0, 1)]
    assert (exact.exact, exact.permutations) == (True, 2**14)
    assert (sampled[0].exact, sampled[0].permutations) == (False, 2**14)
    assert exact.p is not None
    assert sampled[0].p == sampled[1].p != sampled[2].p
    for result in sampled:  # four standard errors
        assert result.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 2**14))


def test_sampled_exchanges_count_the_identity() -> None:
    rows = draw_rows(0, speakers=30)
    right, wrong = ([(*row[:5], (row[4] + k) % CLASSES) for row in rows] for k in (0, 1))
    result = paired(count(right), count(wrong), "UA")
    assert result.difference == 1
    assert (result.p, result.permutations, result.exact) == (2**-14, 2**14, False)


def test_the_order_of_rows_and_runs_does_not_matter() -> None:
    rows = draw_rows(4, speakers=20)
    other = other_system(rows, 5)
    place = np.random.default_rng(0).permutation(len(rows))
    shuffled = [rows[i] for i in place], [other[i] for i in reversed(place)]
    assert interval(count(rows), "UA") == interval(count(shuffled[0]), "UA")
    assert paired(count(rows), count(other), "UA") == paired(count(shuffled[0]), count(shuffled[1]), "UA")


def test_a_speakers_rows_over_repeats_stay_together() -> None:
    """Ten repeats of the very same predictions say no more than one."""
    once = draw_rows(6, repeats=1)
    often = [(f"{k}.{r[0]}", str(k), *r[2:]) for k in range(10) for r in once]
    for metric in ACCURACIES:
        single, tenfold = interval(count(once), metric), interval(count(often), metric)
        assert (single.estimate, single.low, single.high) == pytest.approx(
            (tenfold.estimate, tenfold.low, tenfold.high)
        )
        assert single.clusters == tenfold.clusters == 7


@pytest.mark.parametrize(("speakers", "p"), [(2, None), (5, None), (6, 2 / 2**6), (10, 2 / 2**10)])
def test_p_below_six_speakers_is_none(speakers: int, p: float | None) -> None:
    rows = draw_rows(0, speakers=speakers)
    right, wrong = ([(*r[:5], (r[4] + k) % CLASSES) for r in rows] for k in (0, 1))
    result = paired(count(right), count(wrong), "WA")
    assert result.p == p
    assert ("below 6 speakers" in result.reason) == (p is None)
    assert result.exact == (p is not None)


@pytest.mark.parametrize(
    ("rows", "estimate", "reason"),
    [
        ([(*row[:5], row[4]) for row in draw_rows(0)], 1.0, "no spread"),  # perfect is not certain
        ([(*row[:5], 0) for row in draw_rows(0, speakers=1)], 0.0, "at least two speakers"),
        ([], math.nan, "at least two speakers"),
    ],
)
def test_a_missing_interval_has_a_reason(rows: list[LabelRow], estimate: float, reason: str) -> None:
    result = interval(count(rows), "UA")
    assert result.estimate == pytest.approx(estimate, nan_ok=True)
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert reason in result.reason


def test_equal_systems_differ_by_nothing() -> None:
    counts = count(draw_rows(0))
    result = paired(counts, counts, "UA")
    assert (result.difference, result.p, math.isnan(result.interval.low)) == (0, 1, True)


def test_the_ends_stay_within_the_range_of_scores() -> None:
    correct = np.array([[[10]], [[10]], [[4]]])
    counts = SpeakerCounts(("a", "b", "c"), ("0",), correct, np.full((3, 1, 1), 10))
    result = interval(counts, "WA")
    assert result.high == 1
    assert 0 <= result.low < result.estimate
    worse = SpeakerCounts(counts.clusters, counts.blocks, 10 - correct, counts.total)
    assert interval(worse, "WA").low == 0
    assert paired(worse, counts, "WA").interval.low < -0.6
    assert paired(worse, counts, "WA").interval.low >= -1


def test_a_speaker_and_an_utterance_of_the_same_name_are_two_clusters() -> None:
    counts = count_by_speaker(
        blocks=["0"] * 3,
        speakers=["x", "x", ""],
        utterances=["a", "b", "x"],
        targets=[0, 0, 0],
        predicted=[0, 1, 0],
        classes=2,
    )
    assert len(counts.clusters) == 2
    assert counts.unit == "speakers and utterances"


def test_different_test_sets_cannot_be_compared_in_pairs() -> None:
    rows = draw_rows(0)
    first = count(rows)
    for other, difference in (
        ([r for r in rows if r[2] != "corpus/3"], "speakers"),
        ([r for r in rows if r[1] != "2"], "repeats"),
        (rows[:-1], "utterances in some fold"),
    ):
        with pytest.raises(RunError, match=difference):
            paired(first, count(other), "UA")


@pytest.mark.parametrize(("targets", "predicted"), [([0, 3], [0, 0]), ([0, 0], [0, -1]), ([0], [0, 0])])
def test_invalid_rows_are_refused(targets: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="must"):
        count_by_speaker(
            blocks=["0"] * 2,
            speakers=["a"] * 2,
            utterances=["u", "v"],
            targets=targets,
            predicted=predicted,
            classes=CLASSES,
        )


def naive_holm(p_values: Sequence[float]) -> list[float]:
    """Smallest level at which Holm's procedure, gone through step by step, rejects each hypothesis."""
    levels = sorted({min(1.0, k * p) for p in p_values for k in range(1, len(p_values) + 1)})
    corrected = [1.0] * len(p_values)
    for level in reversed(levels):
        left = list(range(len(p_values)))
        while left:
            best = min(left, key=lambda i: p_values[i])
            if p_values[best] * len(left) > level + 1e-15:
                break
            corrected[best] = level
            left.remove(best)
    return corrected


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_the_step_down_procedure(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p_values = (rng.integers(0, 21, size=1 + seed % 7) / 20 * rng.choice([1, 0.1])).tolist()
    assert holm(p_values) == pytest.approx(naive_holm(p_values))


def test_holm_leaves_missing_tests_out() -> None:
    assert holm([None, 0.02, None, 0.01]) == [None, 0.02, None, 0.02]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"found 1\.5"):
        holm([1.5])


# Simulations: speakers are drawn, each better or worse in all classes, and in single classes.

SHARES = np.array([127, 81, 46, 69, 71, 62, 79]) / 535  # EMO-DB's classes
LOGITS = np.array([2.2, 1.2, 0.8, 0.6, 0.2, 2.0, 1.3])
SPEAKER_DEVIATION, CELL_DEVIATION = 0.6, 0.5
REPEATS = 5


def logistic(x: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))


def true_scores() -> dict[str, float]:
    """E logistic(logit + normal) by Gauss-Hermite quadrature, averaged over classes or by their shares."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    effects = math.hypot(SPEAKER_DEVIATION, CELL_DEVIATION) * nodes
    recall = logistic(LOGITS[:, None] + effects) @ weights / weights.sum()
    return {"UA": float(recall.mean()), "WA": float(recall @ SHARES)}


def draw_population(
    rng: np.random.Generator, speakers: int, systems: int = 1
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Correct of each system, and total: (speakers, repeats, classes). A speaker's table is EMO-DB's size."""
    sizes = rng.integers(35, 70, size=speakers)
    table = rng.multinomial(sizes, SHARES)
    total = np.repeat(table[:, None], REPEATS, axis=1)
    voice = LOGITS + rng.normal(0, SPEAKER_DEVIATION, (speakers, 1))
    correct = []
    for _ in range(systems):
        chance = logistic(voice + rng.normal(0, CELL_DEVIATION, (speakers, len(SHARES))))
        correct.append(rng.binomial(total, chance[:, None]))
    return correct, total


def as_counts(correct: NDArray[np.int64], total: NDArray[np.int64]) -> SpeakerCounts:
    names = tuple(map(str, range(len(total))))
    return SpeakerCounts(names, tuple(map(str, range(total.shape[1]))), correct, total)


def split_repeats(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(speakers x repeats, repeats, classes): each repeat of a speaker as if it were another speaker."""
    speakers, repeats, classes = counts.shape
    table = np.zeros((speakers, repeats, repeats, classes), np.int64)
    table[:, range(repeats), range(repeats)] = counts
    return table.reshape(speakers * repeats, repeats, classes)


@pytest.mark.parametrize("speakers", [10, 24, 40])
def test_the_interval_covers_the_true_score(speakers: int) -> None:
    rng = np.random.default_rng(speakers)
    truth, simulations = true_scores(), 2_000
    covered = dict.fromkeys(ACCURACIES, 0)
    for _ in range(simulations):
        (correct,), total = draw_population(rng, speakers)
        for metric in ACCURACIES:
            result = interval(as_counts(correct, total), metric)
            covered[metric] += result.low <= truth[metric] <= result.high
    for metric in ACCURACIES:
        print(f"coverage {metric} {speakers} speakers: {covered[metric] / simulations:.4f}")
        assert 0.91 <= covered[metric] / simulations <= 0.97


@pytest.mark.parametrize(
    ("speakers", "simulations", "metric"),
    [
        (10, 2_000, "UA"),
        (24, 400, "UA"),
        *(pytest.param(g, 2_000, m, marks=pytest.mark.full) for g in (6, 24, 40) for m in ACCURACIES),
    ],
)
def test_without_a_difference_the_test_rejects_rarely(
    speakers: int, simulations: int, metric: Metric
) -> None:
    rng = np.random.default_rng([speakers, simulations])
    small_p = outside = 0
    for simulation in range(simulations):
        (left, right), total = draw_population(rng, speakers, systems=2)
        result = paired(as_counts(left, total), as_counts(right, total), metric, seed=simulation)
        assert result.p is not None
        small_p += result.p <= 0.05
        outside += not result.interval.low <= 0 <= result.interval.high
    print(
        f"{metric} {speakers} speakers: p {small_p / simulations:.4f}, interval {outside / simulations:.4f}"
    )
    most = 0.06 if simulations == 2_000 else 0.083  # 5% and three standard errors
    assert 0.02 <= small_p / simulations <= most
    assert 0.02 <= outside / simulations <= 0.09


def test_with_a_difference_the_test_rejects_often() -> None:
    rng = np.random.default_rng(1)
    significant = 0
    for _ in range(200):
        (left, right), total = draw_population(rng, 10, systems=2)
        better = left + rng.binomial(total - left, 0.4)
        p = paired(as_counts(better, total), as_counts(right, total), "UA").p
        significant += p is not None and p <= 0.05
    assert significant / 200 > 0.9


def test_repeats_as_clusters_would_give_too_small_intervals() -> None:
    """Why a speaker's predictions stay together: the same simulations, each repeat its own cluster."""
    rng = np.random.default_rng(0)
    truth, simulations = true_scores()["UA"], 400
    covered = rejections = 0
    for simulation in range(simulations):
        (left, right), total = draw_population(rng, 10, systems=2)
        result = interval(as_counts(split_repeats(left), split_repeats(total)), "UA")
        covered += result.low <= truth <= result.high
        first, second = (as_counts(split_repeats(c), split_repeats(total)) for c in (left, right))
        p = paired(first, second, "UA", seed=simulation).p
        rejections += p is not None and p <= 0.05
    assert covered / simulations < 0.85
    assert rejections / simulations > 0.15
