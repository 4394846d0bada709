"""Metrics over the whole of a test set, never over batches: confusion matrix, recall, UA, WA, groups, distances of z."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emospec.errors import RunError

GROUP_COLUMNS = ("corpus", "speaker", "sex", "language", "text")
_Integers = NDArray[np.int64]


def confusion_matrix(targets: _Integers, predicted: _Integers, classes: int) -> _Integers:
    """Count the predictions of each class (rows) as each class (columns), from two vectors of class indices.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    targets, predicted = np.asarray(targets, np.int64), np.asarray(predicted, np.int64)
    if targets.shape != predicted.shape or targets.ndim != 1:
        raise ValueError(f"targets {targets.shape} and predicted {predicted.shape} must be equal vectors")
    refuse_other_indices(targets, predicted, classes)
    # A pair of class indices is one number, so that one pass counts all pairs.
    counts = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def refuse_other_indices(targets: _Integers, predicted: _Integers, classes: int) -> None:
    """Raise ValueError where class indices lie outside [0, classes)."""
    indices = np.concatenate([targets, predicted])
    if ((indices < 0) | (indices >= classes)).any():
        raise ValueError(f"class indices must lie in [0, {classes})")


def predicted_confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> _Integers:
    """Return the confusion matrix of rows with the class names `target` and `predicted`; RunError for other names."""
    columns = predictions["target"], predictions["predicted"]
    if unknown := set().union(*columns).difference(classes):
        raise RunError(
            f"predictions name {', '.join(map(str, unknown))}, the classes are {', '.join(classes)}"
        )
    targets, predicted = (class_indices(column, classes) for column in columns)
    return confusion_matrix(targets, predicted, len(classes))


def class_indices(names: "pd.Series[str]", classes: Sequence[str]) -> _Integers:
    """Return the index of each name (utterances,) among the classes."""
    return names.map({name: i for i, name in enumerate(classes)}).to_numpy().astype(np.int64)


def recalls(confusion: _Integers) -> NDArray[np.float64]:
    """Return the recall per class, R_i = C_ii / sum_j C_ij: (classes,); NaN for a class without samples.

    >>> recalls(np.array([[1, 1], [0, 2]])).tolist()
    [0.5, 1.0]
    """
    totals = confusion.sum(axis=1)
    return np.where(totals > 0, np.diag(confusion) / np.maximum(totals, 1), np.nan)


def unweighted_accuracy(confusion: _Integers) -> float:
    """Return UA, the mean recall over the classes that have samples (UAR, balanced accuracy); NaN without samples.

    >>> unweighted_accuracy(np.array([[1, 1], [0, 2]]))
    0.75
    """
    present = confusion.sum(axis=1) > 0
    return float(recalls(confusion)[present].mean()) if present.any() else float("nan")


def weighted_accuracy(confusion: _Integers) -> float:
    """Return WA, correct / all (accuracy); NaN without samples.

    >>> weighted_accuracy(np.array([[1, 1], [0, 3]]))
    0.8
    """
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


@dataclass(frozen=True)
class Group:
    """Test scores of one group of utterances, such as those of a speaker.

    Attributes:
        name: the group, such as `f`.
        utterances: of it in test; one that several runs predict counts once.
        classes: how many classes it has; its UA is over these alone.
        ua, wa: in [0, 1].
    """

    name: str
    utterances: int
    classes: int
    ua: float
    wa: float


def by_group(predictions: pd.DataFrame, column: str, classes: Sequence[str]) -> list[Group]:
    """Return the scores of each group, worst UA first; none where the column has fewer than two known values.

    Args:
        predictions: test predictions of all runs, columns as in `predictions.csv`.
        column: one of `GROUP_COLUMNS`.
        classes: all classes.
    """
    known = predictions[predictions[column].astype(str) != ""]
    names = known[column].astype(str)
    # In a pool, a speaker or sentence of the same name in another corpus is another one.
    if column in ("speaker", "text") and "corpus" in known and known["corpus"].nunique() > 1:
        names = known["corpus"] + "/" + names
    groups = []
    for name, rows in known.groupby(names):
        confusion = predicted_confusion(rows, classes)
        utterances, present = rows["utterance"].nunique(), int((confusion.sum(axis=1) > 0).sum())
        ua, wa = unweighted_accuracy(confusion), weighted_accuracy(confusion)
        groups.append(Group(str(name), utterances, present, ua=ua, wa=wa))
    return sorted(groups, key=lambda g: (g.ua, g.name)) if len(groups) > 1 else []


@dataclass(frozen=True)
class Distances:
    """Mean Euclidean distances in the space of z.

    Attributes:
        within: mean over classes of the mean distance of a class's z to the class mean.
        between: mean distance between the class means of two different classes.
    """

    within: float
    between: float

    @property
    def ratio(self) -> float:
        """Within / between: lower means tighter and better separated classes."""
        return self.within / self.between if self.between > 0 else float("nan")


def class_distances(z: NDArray[np.floating], labels: Sequence[str] | NDArray[np.str_]) -> Distances:
    """Return the mean distances of z (utterances, dimensions) within and between classes.

    >>> class_distances(np.array([[0.0], [2.0], [10.0]]), ["a", "a", "b"])
    Distances(within=0.5, between=9.0)
    """
    z, labels = np.asarray(z, np.float64), np.asarray(labels)
    if z.ndim != 2 or not len(z) or labels.shape != z.shape[:1]:
        raise ValueError(f"z {z.shape} must be (utterances, dimensions), and labels {labels.shape} as many")
    of_class = [z[labels == name] for name in np.unique(labels)]
    means = np.stack([rows.mean(axis=0) for rows in of_class])
    within = [np.linalg.norm(rows - mean, axis=1).mean() for rows, mean in zip(of_class, means, strict=True)]
    # Each pair of different classes once: the part of the table above its diagonal.
    gaps = np.linalg.norm(means[:, None] - means[None, :], axis=-1)[np.triu_indices(len(means), 1)]
    return Distances(float(np.mean(within)), float(gaps.mean()) if gaps.size else float("nan"))
