"""Calibration: the temperature of probabilities, their calibration error, and the accuracy gained by abstaining.

The temperature is fitted on dev and evaluated on test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emospec.evaluation.metrics import class_indices
from emospec.runs.record import RunRecord

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

_BINS = 10
_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.05, 20.0
# Probabilities are raised to this, so that none has an infinite logarithm.
_SMALLEST = 1e-30


def apply_temperature(probabilities: NDArray[np.floating], temperature: float) -> _Floats:
    """Return softmax(log p / T) of (utterances, classes): T > 1 softens, T < 1 sharpens, the prediction stays.

    >>> apply_temperature(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    # The logits divided by T would give the same: log softmax is the logits less a constant, which softmax
    # ignores. Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
    scaled = np.log(np.maximum(probabilities, _SMALLEST).astype(np.float64)) / temperature
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float64)


def negative_log_likelihood(probabilities: NDArray[np.floating], targets: _Integers) -> float:
    """Return the mean of -log p of the true class."""
    of_target = np.asarray(probabilities, np.float64)[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(of_target, _SMALLEST)).mean())


def fit_temperature(probabilities: NDArray[np.floating], targets: _Integers) -> float:
    """Return the temperature in [0.05, 20] of least negative log-likelihood on dev; ValueError without utterances.

    Args:
        probabilities: (utterances, classes).
        targets: (utterances,) true class indices.
    """
    if not len(targets):
        raise ValueError("a temperature needs utterances to fit it on")

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return negative_log_likelihood(scaled, targets)

    # Golden-section search over log T finds the least loss: it is convex in 1 / T, so it has one minimum.
    low, high = np.log(_LOWEST_TEMPERATURE), np.log(_HIGHEST_TEMPERATURE)
    golden = (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-5:
        if loss_left < loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - golden * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + golden * (high - low)
            loss_right = loss(right)
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram, by bin of confidence (k/10, (k+1)/10].

    Attributes:
        counts: (bins,) utterances.
        confidence: (bins,) mean confidence; NaN for an empty bin.
        accuracy: (bins,) share of correct predictions; NaN for an empty bin.
    """

    counts: _Integers
    confidence: _Floats
    accuracy: _Floats

    @property
    def error(self) -> float:
        """Expected calibration error, sum_b n_b / n |acc_b - conf_b| (Naeini et al. 2015; Guo et al. eq. 3)."""
        full = self.counts > 0
        gaps = np.abs(self.accuracy[full] - self.confidence[full])
        return float((gaps * self.counts[full]).sum() / self.counts.sum()) if full.any() else float("nan")


def reliability(probabilities: NDArray[np.floating], targets: _Integers) -> Reliability:
    """Return confidence (the largest probability) beside accuracy, in ten bins.

    >>> round(reliability(np.array([[0.95, 0.05], [0.95, 0.05]]), np.array([0, 1])).error, 3)
    0.45
    """
    probabilities = np.asarray(probabilities, np.float64)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    # Bins are open below: a confidence of k/10 belongs to the bin that ends there.
    place = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    counts = np.bincount(place, minlength=_BINS)
    divisor = np.where(counts > 0, counts, np.nan)
    sums = (np.bincount(place, x, minlength=_BINS) for x in (confidence, correct.astype(np.float64)))
    return Reliability(counts, *(total / divisor for total in sums))


def risk_coverage(probabilities: NDArray[np.floating], targets: _Integers) -> tuple[_Floats, _Floats]:
    """Return coverage (n,), 1/n to 1 of the most confident predictions, and risk (n,), their share of errors."""
    # El-Yaniv & Wiener 2010, On the Foundations of Noise-free Selective Classification. Equal confidences
    # keep the order of rows.
    probabilities = np.asarray(probabilities, np.float64)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != targets)[order]
    predicted = np.arange(1, len(targets) + 1)
    return predicted / len(targets), np.cumsum(wrong) / predicted


def abstention_table(
    probabilities: NDArray[np.floating], targets: _Integers, coverages: Sequence[float] = _COVERAGES
) -> list[tuple[float, float]]:
    """Return (coverage, accuracy) rows; each covers at least the share that is asked for."""
    coverage, risk = risk_coverage(probabilities, targets)
    # Shares are quotients, so one that is asked for may be there but for rounding.
    places = [int(np.searchsorted(coverage, share - 1e-12)) for share in coverages]
    return [(float(coverage[k]), float(1 - risk[k])) for k in places]


@dataclass(frozen=True)
class Calibration:
    """Calibration of one setting over the test sets of its runs.

    Attributes:
        temperatures: of each run, fitted on its dev set.
        before: confidence beside accuracy on test, with the network's own probabilities.
        after: the same after the run's temperature.
        abstention: (coverage, accuracy) on test, see `abstention_table`.
    """

    temperatures: tuple[float, ...]
    before: Reliability
    after: Reliability
    abstention: list[tuple[float, float]]


def calibrate(runs: Sequence[RunRecord]) -> Calibration:
    """Fit each run's temperature on its dev set and apply it to its test set; evaluate all test sets as one."""
    temperatures = tuple(fit_temperature(*_probabilities(run, "dev")) for run in runs)
    probabilities, true = zip(*(_probabilities(run, "test") for run in runs), strict=True)
    scaled = [apply_temperature(p, t) for p, t in zip(probabilities, temperatures, strict=True)]
    before, after, targets = map(np.concatenate, (probabilities, scaled, true))
    curves = reliability(before, targets), reliability(after, targets)
    return Calibration(temperatures, *curves, abstention_table(after, targets))


def _probabilities(run: RunRecord, part: str) -> tuple[_Floats, _Integers]:
    """Return (utterances, classes) probabilities and (utterances,) true class indices of a run's dev or test."""
    rows = run.predictions().query("part == @part")
    probabilities = rows[[f"p_{name}" for name in run.classes]].to_numpy(np.float64)
    return probabilities, class_indices(rows["target"], run.classes)
