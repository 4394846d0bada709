"""Uncertainty of UA and WA: 95% intervals by speaker, and paired comparisons.

The utterances of one speaker are not independent, so all of a speaker's predictions, over folds and repeats, are
deleted or exchanged together. This covers the sampling of speakers; deviations over runs show that of retraining.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from emospec.errors import RunError
from emospec.evaluation.metrics import refuse_other_indices

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

Metric = Literal["UA", "WA"]
ACCURACIES: tuple[Metric, ...] = ("UA", "WA")

_CONFIDENCE = 0.95
# Below six clusters even the smallest two-sided p, 2 / 2^G, is above 0.05.
_FEWEST_FOR_P = 6
# All 2^G exchanges of up to so many clusters are tried; of more, as many are drawn, the identity among them.
_EXACT_UP_TO = 14
_PERMUTATIONS = 2**_EXACT_UP_TO
# Exchanges x clusters held in memory at once: 8 MB.
_CHUNK = 2**20
# Scores that differ by less are equal.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SpeakerCounts:
    """Correct and all test predictions of one setting by speaker, block and class.

    Attributes:
        clusters: speakers, and utterances whose speaker is unknown; sorted, whatever the order of the rows.
        blocks: the test sets that are scored alone before the mean over them is taken; sorted.
        correct, total: (clusters, blocks, classes) predictions by true class.
        unit: `speakers`, `utterances` (all speakers unknown) or `speakers and utterances`.
    """

    clusters: tuple[str, ...]
    blocks: tuple[str, ...]
    correct: _Integers
    total: _Integers
    unit: str = "speakers"


@dataclass(frozen=True)
class Interval:
    """A score or a difference of scores and its 95% interval.

    Attributes:
        estimate: the number, as reported.
        low, high: the interval's ends; NaN where there is none.
        clusters: how many clusters it rests on.
        unit: what the clusters are, see `SpeakerCounts`.
        reason: why there is no interval; empty where there is one.
    """

    estimate: float
    low: float
    high: float
    clusters: int
    unit: str
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """One system minus another, on the same test sets.

    Attributes:
        interval: the difference of the scores, in [-1, 1], and its jackknife interval.
        p: two-sided, of the sign-flip permutation test; None below six clusters.
        permutations: how many were tried, the identity among them; 0 without p.
        exact: whether all permutations were tried.
        reason: why there is no p; empty where there is one.
    """

    interval: Interval
    p: float | None
    permutations: int
    exact: bool
    reason: str = ""

    @property
    def difference(self) -> float:
        """Score of the first system minus that of the second."""
        return self.interval.estimate


def count_by_speaker(
    *, blocks: ArrayLike, speakers: ArrayLike, utterances: ArrayLike,
    targets: ArrayLike, predicted: ArrayLike, classes: int,
) -> SpeakerCounts:  # fmt: skip
    """Count the test predictions of all runs of one setting, from vectors with one entry per prediction.

    Args:
        blocks: name of the test set that the row is scored with, alike in every setting.
        speakers: unique over pooled corpora, such as `emodb/03`; empty where unknown.
        utterances: ids; the cluster of a row whose speaker is unknown.
        targets, predicted: class indices in [0, classes).
        classes: how many classes.
    """
    block, speaker, utterance = (np.asarray(names, np.str_) for names in (blocks, speakers, utterances))
    target, guess = np.asarray(targets, np.int64), np.asarray(predicted, np.int64)
    if len({column.shape for column in (block, speaker, utterance, target, guess)}) > 1 or target.ndim != 1:
        raise ValueError("blocks, speakers, utterances, targets and predicted must be equally long vectors")
    refuse_other_indices(target, guess, classes)
    known = speaker != ""
    # The prefixes keep a known speaker apart from an utterance of the same name.
    voice = np.where(known, np.strings.add("speaker ", speaker), np.strings.add("utterance ", utterance))
    clusters, row = np.unique(voice, return_inverse=True)
    names, column = np.unique(block, return_inverse=True)
    # A cell of (clusters, blocks, classes) as one number, so that `bincount` counts them all.
    place = (row * len(names) + column) * classes + target
    shape = (len(clusters), len(names), classes)
    size = int(np.prod(shape))
    units = [name for name, rows in (("speakers", known), ("utterances", ~known)) if rows.any()]
    return SpeakerCounts(
        clusters=tuple(clusters.tolist()),
        blocks=tuple(names.tolist()),
        correct=np.bincount(place[target == guess], minlength=size).reshape(shape),
        total=np.bincount(place, minlength=size).reshape(shape),
        unit=" and ".join(units) or "speakers",
    )


def interval(counts: SpeakerCounts, metric: Metric) -> Interval:
    """Return UA or WA, as the protocol reports it, with its delete-one-speaker jackknife interval.

    The ends are NaN, with the reason, below two speakers and where the score is the same without any of them.

    >>> counts = count_by_speaker(
    ...     blocks=["0"] * 6, speakers=[*"aabbcc"], utterances=[*"uvwxyz"],
    ...     targets=[0, 1] * 3, predicted=[0, 1, 0, 0, 0, 1], classes=2,
    ... )
    >>> s = interval(counts, "UA")
    >>> round(s.estimate, 3), round(s.low, 3), s.high, s.clusters, s.unit
    (0.833, 0.116, 1.0, 3, 'speakers')
    """
    return _jackknife(*_score_and_deleted(counts, metric), (0.0, 1.0), unit=counts.unit)


def paired(first: SpeakerCounts, second: SpeakerCounts, metric: Metric, seed: int = 0) -> Comparison:
    """Compare two systems on the same utterances, folds and repeats; RunError where these differ.

    The conclusion is about these trained models and new speakers.

    >>> rows = {"blocks": ["0"] * 12, "speakers": [*"aabbccddeeff"], "utterances": [*"mnopqrstuvwx"]}
    >>> rows |= {"targets": [0, 1] * 6, "classes": 2}
    >>> c = paired(*(count_by_speaker(**rows, predicted=[0, k] * 6) for k in (1, 0)), "UA")
    >>> c.difference, c.p, c.permutations, c.exact
    (0.5, 0.03125, 64, True)
    """
    for difference, a, b in (
        ("speakers or utterances", first.clusters, second.clusters),
        ("folds or repeats", first.blocks, second.blocks),
        ("utterances in some fold", first.total.tolist(), second.total.tolist()),
    ):
        if a != b:
            advice = "Train both on the same folds, repeats and seed"
            raise RunError(
                f"two settings tested on different {difference} cannot be compared in pairs. {advice}"
            )
    # The interval is the jackknife's, each speaker deleted from both.
    (score, deleted), (other_score, other_deleted) = (_score_and_deleted(c, metric) for c in (first, second))
    gain = _jackknife(score - other_score, deleted - other_deleted, (-1.0, 1.0), unit=first.unit)
    size = len(first.clusters)
    if size < _FEWEST_FOR_P:
        reason = f"below {_FEWEST_FOR_P} {first.unit} no p can reach 0.05"
        return Comparison(gain, p=None, permutations=0, exact=False, reason=reason)
    # The test is the sign-flip permutation by speaker: under the null hypothesis a speaker's predictions might
    # as well be the other system's, so p is the share of the 2^G ways to exchange them with |D'| >= |D|, where
    # D = score 1 - score 2. Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses, ch. 3; Dror
    # et al. 2018, ACL, section 3.2. Of random ways, p = (1 + k) / (1 + n): Phipson & Smyth 2010.
    # The exchange leaves the class totals alone and D is linear in the correct predictions, so D' = sum_g +-d_g
    # with d_g, the part of D from speaker g.
    parts = ((first.correct - second.correct) * _weights(first.total.sum(axis=0), metric)).sum(axis=(1, 2))
    bound, extreme, tried = abs(parts.sum()) - _ROUNDING, 0, 0
    for exchanged in _exchanges(size, seed):
        extreme += int((np.abs(parts.sum() - 2 * (exchanged @ parts)) >= bound).sum())
        tried += len(exchanged)
    return Comparison(gain, p=extreme / tried, permutations=tried, exact=size <= _EXACT_UP_TO)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's step-down correction of several p values in [0, 1]; a None, no test, does not count.

    >>> holm([0.03, None, 0.01, 0.04])
    [0.06, None, 0.03, 0.06]
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    if invalid := [p for p, _ in tested if not 0 <= p <= 1]:
        raise ValueError(f"p must lie in [0, 1], found {invalid[0]}")
    # With p_(1) <= ... <= p_(m): corrected p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).
    # Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6.
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[place] = largest
    return corrected


def _score_and_deleted(counts: SpeakerCounts, metric: Metric) -> tuple[float, _Floats]:
    """Return the score, and the scores without each cluster (clusters,)."""
    correct, total = counts.correct.sum(axis=0), counts.total.sum(axis=0)
    score = float(_score(correct, total, metric))
    return score, _score(correct - counts.correct, total - counts.total, metric)


def _score(correct: _Integers, total: _Integers, metric: Metric) -> _Floats:
    """Return the mean over blocks of each block's UA or WA: (..., blocks, classes) counts -> (...)."""
    # Deleting a speaker can empty a class or a block: it then does not count in the mean.
    tested = total.sum(axis=-1)
    if metric == "WA":
        scores = correct.sum(axis=-1) / np.maximum(tested, 1)
    else:
        scores = _mean(correct / np.maximum(total, 1), total > 0)
    return _mean(scores, tested > 0)


def _mean(values: _Floats, present: NDArray[np.bool_]) -> _Floats:
    """Return the mean over the present values of the last axis; NaN where none is present."""
    count = present.sum(axis=-1)
    means: _Floats = np.where(present, values, 0).sum(axis=-1) / np.maximum(count, 1)
    return np.where(count > 0, means, np.nan)


def _weights(total: _Integers, metric: Metric) -> _Floats:
    """Return what one correct prediction adds to the score: (blocks, classes), from the totals over clusters."""
    # UA: 1 / (blocks x classes present in the block x N of block and class); WA: 1 / (blocks x N of block).
    n = np.broadcast_to(total.sum(axis=-1, keepdims=True), total.shape)
    if metric == "UA":
        n = total * (total > 0).sum(axis=-1, keepdims=True)
    weights: _Floats = 1 / (len(total) * np.maximum(n, 1.0))
    return weights


def _jackknife(estimate: float, deleted: _Floats, limits: tuple[float, float], unit: str) -> Interval:
    """Return the interval of an estimate, from the estimates without each cluster (clusters,)."""
    size, reason = len(deleted), ""
    # A score that is the same without any speaker shows no spread, not certainty.
    if size < 2:
        reason = f"an interval needs at least two {unit}"
    elif np.ptp(deleted) < _ROUNDING:
        reason = f"the number is the same without any one of the {unit}: there is no spread to judge by"
    if reason:
        return Interval(estimate, np.nan, np.nan, clusters=size, unit=unit, reason=reason)
    # With G speakers and s_g the score s without any prediction of speaker g,
    # e^2 = (G - 1) / G sum_g (s_g - mean_h s_h)^2, and the interval is s -+ t(0.975; G - 1) e. Tukey 1958; Efron
    # & Tibshirani 1993, An Introduction to the Bootstrap, eq. 11.5. t has G - 1 degrees of freedom because G is
    # small: with 4 to 40 speakers a bootstrap over speakers covers less.
    error = np.sqrt((size - 1) / size * np.square(deleted - deleted.mean()).sum())
    reach = float(stdtrit(size - 1, (1 + _CONFIDENCE) / 2) * error)
    low, high = max(limits[0], estimate - reach), min(limits[1], estimate + reach)
    return Interval(estimate, low, high, clusters=size, unit=unit)


def _exchanges(size: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield chunks (exchanges, clusters) of 1 where a cluster is exchanged, else 0; the first is the identity."""
    if size <= _EXACT_UP_TO:
        yield (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(np.uint8)
        return
    yield np.zeros((1, size), np.uint8)
    rng = np.random.default_rng(seed)
    left, n_bytes = _PERMUTATIONS - 1, -(-size // 8)
    while left:
        rows = min(left, max(1, _CHUNK // size))
        drawn = np.frombuffer(rng.bytes(rows * n_bytes), np.uint8).reshape(rows, n_bytes)
        yield np.unpackbits(drawn, axis=1, count=size)
        left -= rows
