"""The content of `scores.json`: what a run's chosen model reaches on dev and test."""

from pydantic import Field

from emospec.runs.meta import Protocol
from emospec.runs.stored import Number, Stored, StoredFile


class SetScores(Stored):
    """The scores of one set of predictions.

    Attributes:
        classes: in the order of the confusion matrix.
        ua: unweighted accuracy, in [0, 1]; `UA` on disk.
        wa: weighted accuracy, in [0, 1]; `WA` on disk.
        recall: by class; NaN for a class without utterances.
        confusion: counts; row = true class.
        utterances: how many were predicted.
    """

    classes: tuple[str, ...] = ()
    ua: Number = Field(float("nan"), alias="UA")
    wa: Number = Field(float("nan"), alias="WA")
    recall: dict[str, Number] = Field(default_factory=dict)
    confusion: list[list[int]] = Field(default_factory=list)
    utterances: int = 0


class SetDistances(Stored):
    """The mean distances of z within and between the classes of one set; NaN where a class is missing."""

    within: Number
    between: Number


class Scores(StoredFile):
    """All that `scores.json` says.

    Attributes:
        classes: in the order of the confusion matrices.
        protocol: as in `Meta`.
        distances: of train, dev and test.
        dev, test: of the chosen model; dev chose it.
        selected_step: of the chosen model.
        audit: the audit in one line; None where an earlier version made none.
    """

    classes: tuple[str, ...] = ()
    protocol: Protocol | None = None
    distances: dict[str, SetDistances] = Field(default_factory=dict)
    dev: SetScores = SetScores()
    test: SetScores
    selected_step: int = 0
    audit: str | None = None
