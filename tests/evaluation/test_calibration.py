"""Calibration against naive loops, and a temperature that is known."""

import numpy as np
import pytest

from emospec.evaluation.calibration import (
    abstention_table,
    apply_temperature,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    risk_coverage,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def draw(count: int = 400, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (count, classes))
    targets = np.array([rng.choice(classes, p=row) for row in softmax(logits)])
    return logits, targets


def test_the_fit_recovers_the_temperature_of_scaled_logits() -> None:
    logits, targets = draw(20_000)
    assert fit_temperature(softmax(3.0 * logits), targets) == pytest.approx(3.0, rel=0.05)
    assert fit_temperature(softmax(0.5 * logits), targets) == pytest.approx(0.5, rel=0.05)


def test_no_other_temperature_fits_better() -> None:
    logits, targets = draw(300, seed=3)
    probabilities = softmax(2.0 * logits)
    best = fit_temperature(probabilities, targets)
    least = negative_log_likelihood(apply_temperature(probabilities, best), targets)
    for other in np.geomspace(0.05, 20, 60):
        assert (
            negative_log_likelihood(apply_temperature(probabilities, float(other)), targets) >= least - 1e-9
        )


def test_temperature_is_division_of_logits_and_keeps_the_decision() -> None:
    logits, _ = draw()
    softened = apply_temperature(softmax(logits), 2.5)
    np.testing.assert_allclose(softened, softmax(logits / 2.5), atol=1e-12)
    assert (softened.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_reliability_equals_the_naive_loop() -> None:
    logits, targets = draw(seed=5)
    probabilities = softmax(2 * logits)
    result = reliability(probabilities, targets)
    error = 0.0
    for k in range(10):
        rows = [
            (row.max(), row.argmax() == target)
            for row, target in zip(probabilities, targets, strict=True)
            if k / 10 < row.max() <= (k + 1) / 10
        ]
        assert result.counts[k] == len(rows)
        if rows:
            confidence = sum(c for c, _ in rows) / len(rows)
            accuracy = sum(a for _, a in rows) / len(rows)
            assert result.confidence[k] == pytest.approx(confidence)
            assert result.accuracy[k] == pytest.approx(accuracy)
            error += len(rows) / len(targets) * abs(accuracy - confidence)
        else:
            assert np.isnan(result.accuracy[k])
    assert result.error == pytest.approx(error)


def test_risk_coverage_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]])
    coverage, risk = risk_coverage(probabilities, np.array([0, 1, 1, 1]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 1 / 4])
    assert abstention_table(probabilities, np.array([0, 1, 1, 1]), (1.0, 0.5)) == [(1.0, 0.75), (0.5, 1.0)]


def test_a_fit_without_utterances_is_refused() -> None:
    with pytest.raises(ValueError, match="needs utterances"):
        fit_temperature(np.empty((0, 3)), np.empty(0, np.int64))
