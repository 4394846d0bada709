"""Metrics over the whole of a test set: confusion matrix, recall, UA, WA, distances of z.

Averaging over batches is nowhere: every function takes the predictions of a whole set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emospec.errors import RunError

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_matrix(targets: Integers, predicted: Integers, classes: int) -> Integers:
    """Count the predictions by class.

    Args:
        targets: (utterances,) true class indices in [0, classes).
        predicted: (utterances,) predicted class indices in [0, classes).
        classes: how many classes.

    Returns:
        (classes, classes): entry [i, j] counts utterances of class i predicted as j.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    targets, predicted = np.asarray(targets, np.int64), np.asarray(predicted, np.int64)
    if targets.shape != predicted.shape or targets.ndim != 1:
        raise ValueError(f"targets {targets.shape} and predicted {predicted.shape} must be equal vectors")
    if targets.size and not (
        min(targets.min(), predicted.min()) >= 0 and max(targets.max(), predicted.max()) < classes
    ):
        raise ValueError(f"class indices must lie in [0, {classes})")
    counts = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def predicted_confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> Integers:
    """The confusion matrix of rows with columns `target` and `predicted` (class names)."""
    index = {name: i for i, name in enumerate(classes)}
    if strange := {*predictions["target"], *predictions["predicted"]} - index.keys():
        raise RunError(
            f"predictions name {', '.join(map(str, strange))}, the classes are {', '.join(classes)}"
        )
    targets = predictions["target"].map(index).to_numpy().astype(np.int64)
    predicted = predictions["predicted"].map(index).to_numpy().astype(np.int64)
    return confusion_matrix(targets, predicted, len(classes))


def recalls(confusion: Integers) -> Floats:
    """Recall per class, R_i = C_ii / sum_j C_ij: (classes,); NaN for a class without samples.

    Example:
        >>> recalls(np.array([[1, 1], [0, 2]])).tolist()
        [0.5, 1.0]
    """
    totals = confusion.sum(axis=1)
    return np.where(totals > 0, np.diag(confusion) / np.maximum(totals, 1), np.nan)


def unweighted_accuracy(confusion: Integers) -> float:
    """UA = mean recall over the classes that have samples (UAR, balanced accuracy), in [0, 1].

    As Dai et al. 2019 report it. NaN when there are no samples.

    Example:
        >>> unweighted_accuracy(np.array([[1, 1], [0, 2]]))
        0.75
    """
    present = confusion.sum(axis=1) > 0
    return float(recalls(confusion)[present].mean()) if present.any() else float("nan")


def weighted_accuracy(confusion: Integers) -> float:
    """WA = correct / all (accuracy), in [0, 1]. As Dai et al. 2019 report it. NaN without samples.

    Example:
        >>> weighted_accuracy(np.array([[1, 1], [0, 3]]))
        0.8
    """
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


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
    """Distances within and between classes of features z.

    Args:
        z: (utterances, dimensions).
        labels: (utterances,) class names.

    Example:
        >>> d = class_distances(np.array([[0.0], [2.0], [10.0]]), ["a", "a", "b"])
        >>> d.within, d.between
        (0.5, 9.0)
    """
    z, labels = np.asarray(z, np.float64), np.asarray(labels)
    if z.ndim != 2 or not len(z) or labels.shape != z.shape[:1]:
        raise ValueError(f"z {z.shape} must be (utterances, dimensions), and labels {labels.shape} as many")
    names = np.unique(labels)
    means = np.stack([z[labels == name].mean(axis=0) for name in names])
    within = np.mean(
        [
            np.linalg.norm(z[labels == name] - mean, axis=1).mean()
            for name, mean in zip(names, means, strict=True)
        ]
    )
    gaps = np.linalg.norm(means[:, None] - means[None, :], axis=-1)[np.triu_indices(len(names), 1)]
    return Distances(float(within), float(gaps.mean()) if gaps.size else float("nan"))
