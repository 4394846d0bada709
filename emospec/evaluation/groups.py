"""Scores by group of utterances: by corpus, speaker, sex, language or sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from emospec.evaluation.metrics import predicted_confusion, unweighted_accuracy, weighted_accuracy

GROUP_COLUMNS = ("corpus", "speaker", "sex", "language", "text")


@dataclass(frozen=True)
class Group:
    """One group's scores.

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
    """Return the scores of each group, worst UA first.

    Args:
        predictions: test predictions of all runs, columns as in `predictions.csv`.
        column: one of `GROUP_COLUMNS`.
        classes: all classes.

    Returns:
        One entry per value of the column; none where fewer than two are known.

    Example:
        >>> table = pd.DataFrame({"sex": list("fm"), "target": ["a", "b"], "predicted": ["a", "a"]})
        >>> table["utterance"] = ["demo/1", "demo/2"]
        >>> [(g.name, g.ua) for g in by_group(table, "sex", ["a", "b"])]
        [('m', 0.0), ('f', 1.0)]
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
        groups.append(Group(str(name), utterances, present, ua, wa))
    return sorted(groups, key=lambda g: (g.ua, g.name)) if len(groups) > 1 else []
