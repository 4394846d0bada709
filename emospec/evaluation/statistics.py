"""How sure a number is: 95% intervals of UA and WA by speaker, and paired comparisons.

Utterances of one speaker rise and fall together, so the speaker is what was sampled, and all of a
speaker's predictions, over folds and repeats, are deleted or exchanged together. This covers the
sampling of speakers, not retraining: the deviation over folds and seeds (`results`) stands beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from emospec.errors import RunError

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

Metric = Literal["UA", "WA"]
ACCURACIES: tuple[Metric, ...] = ("UA", "WA")

CONFIDENCE = 0.95
FEWEST_FOR_P = 6  # clusters: below, even the smallest two-sided p, 2 / 2^G, is above 0.05
EXACT_UP_TO = 14  # clusters
PERMUTATIONS = 2**EXACT_UP_TO  # drawn above that, the identity among them
AT_ONCE = 2**20  # exchanges x clusters held in memory: 8 MB
ROUNDING = 1e-12  # scores that differ by less are equal

UNITS = {(True, False): "speakers", (False, True): "utterances", (True, True): "speakers and utterances"}


@dataclass(frozen=True)
class SpeakerCounts:
    """Test predictions, counted by cluster.

    Attributes:
        clusters: what is deleted or exchanged as one: speakers, and utterances whose speaker is
            unknown. Sorted, so that the order of rows and runs does not matter.
        blocks: what the protocol scores as one test set before it takes the mean. Sorted.
        correct: (clusters, blocks, classes) correct predictions by true class.
        total: (clusters, blocks, classes) predictions by true class.
        unit: `speakers`, `utterances` (all speakers unknown) or `speakers and utterances`.
    """

    clusters: tuple[str, ...]
    blocks: tuple[str, ...]
    correct: _Integers
    total: _Integers
    unit: str = "speakers"


@dataclass(frozen=True)
class Interval:
    """A number and its 95% interval.

    Attributes:
        estimate: the number, as reported.
        low, high: the interval's ends; NaN where there is none.
        clusters: how many clusters it rests on.
        unit: what they are, see `SpeakerCounts`.
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
        p: two-sided, of the sign-flip permutation; None below six clusters.
        permutations: how many were tried, the identity among them; 0 without p.
        exact: whether these were all there are.
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
    blocks: ArrayLike,
    speakers: ArrayLike,
    utterances: ArrayLike,
    targets: ArrayLike,
    predicted: ArrayLike,
    classes: int,
) -> SpeakerCounts:
    """Count the test predictions of all runs of one setting; one row per prediction.

    Args:
        blocks: (rows,) what the row is scored with, the same words for every setting: its fold and
            repeat under dai2019 (the mean is over runs), its repeat under any other protocol (the
            folds are pooled).
        speakers: (rows,) unique over pooled corpora, such as `emodb/03`; empty where unknown.
        utterances: (rows,) the utterance's id, which stands in for an unknown speaker.
        targets: (rows,) true class indices in [0, classes).
        predicted: (rows,) predicted class indices in [0, classes).
        classes: how many classes.

    Raises:
        ValueError: vectors of different lengths, or a class index out of range.

    Example:
        >>> counts = count_by_speaker(["0"] * 3, ["a", "a", ""], ["x", "y", "z"], [0, 1, 1], [0, 0, 1], 2)
        >>> counts.clusters, counts.unit
        (('speaker a', 'utterance z'), 'speakers and utterances')
        >>> counts.correct[:, 0].tolist(), counts.total[:, 0].tolist()
        ([[1, 0], [0, 1]], [[1, 1], [0, 1]])
    """
    block, speaker, utterance = (np.asarray(words, np.str_) for words in (blocks, speakers, utterances))
    target, guess = np.asarray(targets, np.int64), np.asarray(predicted, np.int64)
    if len({column.shape for column in (block, speaker, utterance, target, guess)}) > 1 or target.ndim != 1:
        raise ValueError("blocks, speakers, utterances, targets and predicted must be equally long vectors")
    if target.size and not (min(target.min(), guess.min()) >= 0 and max(target.max(), guess.max()) < classes):
        raise ValueError(f"class indices must lie in [0, {classes})")
    known = speaker != ""
    voice = np.where(known, np.strings.add("speaker ", speaker), np.strings.add("utterance ", utterance))
    clusters, row = np.unique(voice, return_inverse=True)
    names, column = np.unique(block, return_inverse=True)
    place = (row * len(names) + column) * classes + target
    shape = (len(clusters), len(names), classes)
    return SpeakerCounts(
        clusters=tuple(clusters.tolist()),
        blocks=tuple(names.tolist()),
        correct=np.bincount(place[target == guess], minlength=int(np.prod(shape))).reshape(shape),
        total=np.bincount(place, minlength=int(np.prod(shape))).reshape(shape),
        unit=UNITS[bool(known.any()) or not known.size, not known.all()],
    )


def interval(counts: SpeakerCounts, metric: Metric) -> Interval:
    """Delete-one-speaker jackknife interval of UA or WA, as the protocol reports them.

    With G speakers, score s, and s_g the same score without any prediction of speaker g:

        e^2 = (G - 1) / G  sum_g (s_g - mean_h s_h)^2,    interval = s -+ t(0.975; G - 1) e,

    cut to [0, 1]. Tukey 1958; Efron & Tibshirani 1993, An Introduction to the Bootstrap, eq. 11.5;
    the quantile of G - 1 degrees of freedom, because G is small: with 4 to 40 speakers a bootstrap
    over speakers covers less. Deleting a speaker can empty a class; UA is then, as always, over the
    classes that are there.

    Args:
        counts: of one setting, see `count_by_speaker`.
        metric: `UA` or `WA`.

    Returns:
        The score and its interval. The ends are NaN, with the reason, below two speakers and where
        the score is the same without any of them: that is no spread to judge by, not certainty.

    Example:
        >>> a = count_by_speaker(["0"] * 6, [*"aabbcc"], [*"uvwxyz"], [0, 1] * 3, [0, 1, 0, 0, 0, 1], 2)
        >>> s = interval(a, "UA")
        >>> round(s.estimate, 3), round(s.low, 3), s.high, s.clusters, s.unit
        (0.833, 0.116, 1.0, 3, 'speakers')
    """
    everything, deleted = _scores_and_deleted(counts, metric)
    return _jackknife(everything, deleted, (0.0, 1.0), counts.unit)


def paired(first: SpeakerCounts, second: SpeakerCounts, metric: Metric, seed: int = 0) -> Comparison:
    """Compare two systems that were tested on the same utterances in the same folds and repeats.

    The interval is the jackknife's (see `interval`) of the difference D = score 1 - score 2, each
    speaker deleted from both. The test is the sign-flip permutation by speaker: were there no
    difference, a speaker's predictions might as well be the other system's, so

        p = share of the 2^G ways to exchange them, speaker by speaker, with |D'| >= |D|,

    over all 2^G ways up to 14 speakers; above, over n = 2^14 - 1 random ways, p = (1 + k) / (1 + n).
    The exchange leaves the class totals N alone and D is linear in the correct predictions, so
    D' = sum_g +-d_g with d_g = the part of D that comes from speaker g. Good 2005, Permutation,
    Parametric and Bootstrap Tests of Hypotheses, ch. 3; Dror et al. 2018, ACL, section 3.2;
    (1 + k) / (1 + n): Phipson & Smyth 2010. It asks about these trained models and new speakers.

    Args:
        first: counts of one setting.
        second: counts of another, over the same runs.
        metric: `UA` or `WA`.
        seed: of the random exchanges.

    Raises:
        RunError: they were not tested on the same utterances, folds and repeats.

    Example:
        >>> rows = ["0"] * 12, [*"aabbccddeeff"], [*"mnopqrstuvwx"], [0, 1] * 6
        >>> good = count_by_speaker(*rows, [0, 1] * 6, 2)
        >>> poor = count_by_speaker(*rows, [0, 0] * 6, 2)
        >>> c = paired(good, poor, "UA")
        >>> c.difference, c.p, c.permutations, c.exact
        (0.5, 0.03125, 64, True)
    """
    _refuse_unpaired(first, second)
    (one, one_deleted), (two, two_deleted) = (_scores_and_deleted(c, metric) for c in (first, second))
    size = len(first.clusters)
    spread = _jackknife(one - two, one_deleted - two_deleted, (-1.0, 1.0), first.unit)
    if size < FEWEST_FOR_P:
        return Comparison(spread, None, 0, False, f"below {FEWEST_FOR_P} {first.unit} no p can reach 0.05")
    parts = ((first.correct - second.correct) * _weights(first.total.sum(axis=0), metric)).sum(axis=(1, 2))
    bound, extreme, tried = abs(parts.sum()) - ROUNDING, 0, 0
    for exchanged in _exchanges(size, seed):
        extreme += int((np.abs(parts.sum() - 2 * (exchanged @ parts)) >= bound).sum())
        tried += len(exchanged)
    return Comparison(spread, extreme / tried, tried, size <= EXACT_UP_TO)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of the p of a sweep, in the order given.

    With p_(1) <= ... <= p_(m): corrected p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).
    Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6.

    Args:
        p_values: each in [0, 1]; a None (no test was made) stays None and does not count in m.

    Raises:
        ValueError: a p outside [0, 1].

    Example:
        >>> holm([0.03, None, 0.01, 0.04])
        [0.06, None, 0.03, 0.06]
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    if strange := [p for p, _ in tested if not 0 <= p <= 1]:
        raise ValueError(f"p must lie in [0, 1], found {strange[0]}")
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[place] = largest
    return corrected


def _scores_and_deleted(counts: SpeakerCounts, metric: Metric) -> tuple[float, _Floats]:
    """The score, and (clusters,) the score without each cluster."""
    correct, total = counts.correct.sum(axis=0), counts.total.sum(axis=0)
    everything = float(_score(correct, total, metric))
    return everything, _score(correct - counts.correct, total - counts.total, metric)


def _score(correct: _Integers, total: _Integers, metric: Metric) -> _Floats:
    """(..., blocks, classes) counts -> (...): the mean over blocks of each block's UA or WA.

    A class, or a block, of which nothing is left does not count in the mean.
    """
    tested = total.sum(axis=-1)
    if metric == "WA":
        scores = correct.sum(axis=-1) / np.maximum(tested, 1)
    else:
        scores = _mean(correct / np.maximum(total, 1), total > 0)
    return _mean(scores, tested > 0)


def _mean(values: _Floats, present: NDArray[np.bool_]) -> _Floats:
    """Mean over the last axis of what is present; NaN where nothing is."""
    count = present.sum(axis=-1)
    means: _Floats = np.where(present, values, 0).sum(axis=-1) / np.maximum(count, 1)
    return np.where(count > 0, means, np.nan)


def _weights(total: _Integers, metric: Metric) -> _Floats:
    """What one correct prediction adds to the score: (blocks, classes), from the totals over clusters.

    UA: 1 / (blocks x classes present in the block x N of block and class); WA: 1 / (blocks x N of block).
    """
    n = np.broadcast_to(total.sum(axis=-1, keepdims=True), total.shape)
    if metric == "UA":
        n = total * (total > 0).sum(axis=-1, keepdims=True)
    weights: _Floats = 1 / (len(total) * np.maximum(n, 1.0))
    return weights


def _jackknife(estimate: float, deleted: _Floats, limits: tuple[float, float], unit: str) -> Interval:
    """The interval of an estimate, from the (clusters,) estimates without each cluster."""
    size = len(deleted)
    if size < 2:
        return Interval(estimate, np.nan, np.nan, size, unit, f"an interval needs at least two {unit}")
    if np.ptp(deleted) < ROUNDING:
        why = f"the number is the same without any one of the {unit}: there is no spread to judge by"
        return Interval(estimate, np.nan, np.nan, size, unit, why)
    error = np.sqrt((size - 1) / size * np.square(deleted - deleted.mean()).sum())
    reach = float(stdtrit(size - 1, (1 + CONFIDENCE) / 2) * error)
    low, high = max(limits[0], estimate - reach), min(limits[1], estimate + reach)
    return Interval(estimate, low, high, size, unit)


def _exchanges(size: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Which clusters are exchanged, (some ways, clusters) of 0 and 1 at a time; the first is the identity."""
    if size <= EXACT_UP_TO:
        yield (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(np.uint8)
        return
    yield np.zeros((1, size), np.uint8)
    rng = np.random.default_rng(seed)
    left, octets = PERMUTATIONS - 1, -(-size // 8)
    while left:
        rows = min(left, max(1, AT_ONCE // size))
        drawn = np.frombuffer(rng.bytes(rows * octets), np.uint8).reshape(rows, octets)
        yield np.unpackbits(drawn, axis=1, count=size)
        left -= rows


def _refuse_unpaired(first: SpeakerCounts, second: SpeakerCounts) -> None:
    for what, equal in (
        ("speakers or utterances", first.clusters == second.clusters),
        ("folds or repeats", first.blocks == second.blocks),
        ("utterances in some fold", np.array_equal(first.total, second.total)),
    ):
        if not equal:
            raise RunError(
                f"two settings tested on different {what} cannot be compared in pairs. "
                "Train both on the same folds, repeats and seed"
            )
