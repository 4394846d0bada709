"""How far a probability can be believed: temperature, calibration error, and what abstaining buys.

The temperature is fitted on dev, and judged on test.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emospec.runs.record import RunRecord

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS = 10  # equal widths of confidence in (0, 1]
LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are looked at


def apply_temperature(probabilities: NDArray[np.floating], temperature: float) -> Floats:
    """softmax(log p / T): the probabilities that logits divided by T would give.

    A softmax's logarithm is its logits less a constant, which softmax ignores. Guo et al. 2017, On
    Calibration of Modern Neural Networks, section 4.2.

    Args:
        probabilities: (utterances, classes).
        temperature: T > 0; above 1 softens, below 1 sharpens.

    Returns:
        (utterances, classes). The predicted class stays.

    Example:
        >>> apply_temperature(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
        [[0.667, 0.333]]
    """
    scaled = np.log(np.maximum(probabilities, 1e-30).astype(np.float64)) / temperature
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float64)


def negative_log_likelihood(probabilities: NDArray[np.floating], targets: Integers) -> float:
    """Mean of -log p of the true class."""
    own = np.asarray(probabilities, np.float64)[np.arange(len(targets)), targets]
    return float(-np.log(np.maximum(own, 1e-30)).mean())


def fit_temperature(probabilities: NDArray[np.floating], targets: Integers) -> float:
    """The temperature of least negative log-likelihood, by golden-section search over log T.

    The likelihood is unimodal in T (it is convex in 1 / T).

    Args:
        probabilities: (utterances, classes) of dev.
        targets: (utterances,) true class indices.

    Returns:
        T in [0.05, 20].

    Raises:
        ValueError: there are no utterances.
    """
    if not len(targets):
        raise ValueError("a temperature needs utterances to fit it on")
    low, high = np.log(LOWEST), np.log(HIGHEST)
    golden = (np.sqrt(5) - 1) / 2

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(
            apply_temperature(probabilities, float(np.exp(log_temperature))), targets
        )

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
    """The reliability diagram: per bin of confidence (k/10, (k+1)/10].

    Attributes:
        counts: (bins,) utterances.
        confidence: (bins,) mean confidence; NaN for an empty bin.
        accuracy: (bins,) share that was right; NaN for an empty bin.
    """

    counts: Integers
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """Expected calibration error, sum_b n_b / n |acc_b - conf_b| (Naeini et al. 2015; Guo et al. eq. 3)."""
        full = self.counts > 0
        gaps = np.abs(self.accuracy[full] - self.confidence[full])
        return float((gaps * self.counts[full]).sum() / self.counts.sum()) if full.any() else float("nan")


def reliability(probabilities: NDArray[np.floating], targets: Integers) -> Reliability:
    """Confidence (the largest probability) beside accuracy, in ten bins.

    Example:
        >>> r = reliability(np.array([[0.95, 0.05], [0.95, 0.05]]), np.array([0, 1]))
        >>> round(r.error, 3)
        0.45
    """
    probabilities = np.asarray(probabilities, np.float64)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    divisor = np.where(counts > 0, counts, np.nan)
    return Reliability(
        counts,
        np.bincount(place, confidence, minlength=BINS) / divisor,
        np.bincount(place, right.astype(np.float64), minlength=BINS) / divisor,
    )


def risk_coverage(probabilities: NDArray[np.floating], targets: Integers) -> tuple[Floats, Floats]:
    """What abstaining on the least confident buys.

    Returns:
        coverage (n,): the share judged, 1/n to 1; risk (n,): the share of errors among them, the
        most confident first (El-Yaniv & Wiener 2010). Equal confidences keep the order of rows.
    """
    probabilities = np.asarray(probabilities, np.float64)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != targets)[order]
    judged = np.arange(1, len(targets) + 1)
    return judged / len(targets), np.cumsum(wrong) / judged


def abstention_table(
    probabilities: NDArray[np.floating],
    targets: Integers,
    coverages: Sequence[float] = (1.0, 0.9, 0.8, 0.7, 0.5),
) -> list[tuple[float, float]]:
    """(coverage, accuracy) rows at some coverages: each judges at least that share."""
    coverage, risk = risk_coverage(probabilities, targets)
    places = [int(np.searchsorted(coverage, share - 1e-12)) for share in coverages]
    return [(float(coverage[k]), float(1 - risk[k])) for k in places]


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of one setting can be believed, over the test sets of its runs.

    Attributes:
        temperatures: of each run, fitted on its dev set.
        before: confidence beside accuracy on test, as the network gave it.
        after: the same after the run's temperature.
        abstention: (coverage, accuracy) on test, see `abstention_table`.
    """

    temperatures: tuple[float, ...]
    before: Reliability
    after: Reliability
    abstention: list[tuple[float, float]]


def calibrate(runs: Sequence[RunRecord]) -> Calibration:
    """Fit each run's temperature on dev, and judge all runs' test predictions with it."""
    temperatures, plain, scaled, truth = [], [], [], []
    for run in runs:
        table = run.predictions()
        columns = [f"p_{name}" for name in run.classes]
        index = {name: i for i, name in enumerate(run.classes)}
        parts = {}
        for part in ("dev", "test"):
            rows = table[table["part"] == part]
            targets = rows["target"].map(index).to_numpy().astype(np.int64)
            parts[part] = rows[columns].to_numpy(np.float64), targets
        temperatures.append(fit_temperature(*parts["dev"]))
        plain.append(parts["test"][0])
        scaled.append(apply_temperature(parts["test"][0], temperatures[-1]))
        truth.append(parts["test"][1])
    before, after, targets = np.concatenate(plain), np.concatenate(scaled), np.concatenate(truth)
    return Calibration(
        tuple(temperatures),
        reliability(before, targets),
        reliability(after, targets),
        abstention_table(after, targets),
    )
