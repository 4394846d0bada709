"""Each metric is the plain loop over its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from emospec.evaluation.metrics import (
    Distances,
    class_distances,
    confusion_matrix,
    recalls,
    unweighted_accuracy,
    weighted_accuracy,
)

examples = settings(deadline=None, max_examples=50, derandomize=True, database=None)
pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@examples
@given(pairs)
def test_confusion_recall_ua_and_wa_equal_the_naive_loops(pairs: list[tuple[int, int]]) -> None:
    targets, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    confusion = confusion_matrix(targets, predicted, 5)
    naive = [[sum((t, p) == (i, j) for t, p in pairs) for j in range(5)] for i in range(5)]
    assert confusion.tolist() == naive
    assert confusion.dtype == np.int64
    recall = recalls(confusion)
    present = []
    for i in range(5):
        hits = [p == i for t, p in pairs if t == i]
        if hits:
            present.append(sum(hits) / len(hits))
            assert recall[i] == pytest.approx(present[-1], abs=1e-15)
        else:
            assert math.isnan(recall[i])
    assert unweighted_accuracy(confusion) == pytest.approx(sum(present) / len(present), abs=1e-12)
    assert weighted_accuracy(confusion) == pytest.approx(
        sum(t == p for t, p in pairs) / len(pairs), abs=1e-12
    )


def test_the_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets, predicted = rng.integers(0, 4, (2, 500))
    confusion = confusion_matrix(targets, predicted, 4)
    np.testing.assert_array_equal(confusion, sklearn_confusion(targets, predicted))
    assert unweighted_accuracy(confusion) == pytest.approx(balanced_accuracy_score(targets, predicted))
    assert weighted_accuracy(confusion) == pytest.approx(accuracy_score(targets, predicted))


def test_ua_weighs_classes_equally_and_wa_utterances() -> None:
    confusion = np.array([[90, 10], [1, 0]])
    assert unweighted_accuracy(confusion) == pytest.approx(0.45)
    assert weighted_accuracy(confusion) == pytest.approx(90 / 101)


def test_an_absent_class_does_not_count_and_is_nan() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(recalls(confusion), [0.75, np.nan, 0.5])
    assert unweighted_accuracy(confusion) == 0.625


def test_no_samples_give_nan_and_no_warning() -> None:
    confusion = confusion_matrix(np.array([], int), np.array([], int), 3)
    assert confusion.tolist() == [[0, 0, 0]] * 3
    assert math.isnan(unweighted_accuracy(confusion))
    assert math.isnan(weighted_accuracy(confusion))
    assert np.isnan(recalls(confusion)).all()


@pytest.mark.parametrize(
    ("targets", "predicted"),
    [([0, 1], [0]), ([[0]], [[0]]), ([0, 2], [0, 0]), ([0, 0], [2, 0]), ([-1, 0], [0, 0]), ([0, 0], [0, -1])],
)
def test_indices_outside_the_classes_are_refused(targets: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"must be equal vectors|must lie in \[0, 2\)"):
        confusion_matrix(np.array(targets), np.array(predicted), 2)


def naive_distances(z: NDArray[np.float64], labels: list[str]) -> tuple[float, float]:
    names = sorted(set(labels))
    means = {}
    within = []
    for name in names:
        rows = [z[i] for i in range(len(z)) if labels[i] == name]
        means[name] = sum(rows) / len(rows)
        within.append(sum(math.dist(row, means[name]) for row in rows) / len(rows))
    gaps = [math.dist(means[a], means[b]) for a in names for b in names if a < b]
    return sum(within) / len(within), sum(gaps) / len(gaps)


@pytest.mark.parametrize("seed", range(5))
def test_class_distances_equal_the_naive_double_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [str(name) for name in rng.choice(["angry", "happy", "sad", "neutral"], 40)]
    z = rng.normal(0, 3, (40, 8))
    distances = class_distances(z, labels)
    assert (distances.within, distances.between) == pytest.approx(naive_distances(z, labels))
    assert distances.ratio == pytest.approx(distances.within / distances.between)
    float32 = class_distances(z.astype(np.float32), np.array(labels))
    assert float32.within == pytest.approx(distances.within, rel=1e-5)


def test_distances_grow_with_scale_and_ignore_a_shift() -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(20, 3)), ["a", "b"] * 10
    plain, moved, doubled = (class_distances(x, labels) for x in (z, z + 100, 2 * z))
    assert (moved.within, moved.between) == pytest.approx((plain.within, plain.between))
    assert (doubled.within, doubled.between) == pytest.approx((2 * plain.within, 2 * plain.between))


def test_a_single_class_has_no_distance_between() -> None:
    distances = class_distances(np.array([[0.0], [2.0]]), ["a", "a"])
    assert distances.within == 1.0
    assert math.isnan(distances.between)
    assert math.isnan(distances.ratio)
    assert math.isnan(Distances(1.0, 0.0).ratio)


@pytest.mark.parametrize(
    ("shape", "labels"), [((0, 2), []), ((2, 2), ["a"]), ((2,), ["a", "b"]), ((1, 2), ["a", "b"])]
)
def test_z_and_labels_that_do_not_fit_are_refused(shape: tuple[int, ...], labels: list[str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        class_distances(np.zeros(shape), labels)
