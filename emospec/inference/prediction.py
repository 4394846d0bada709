"""The answer for one recording: a prediction or a failure."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """The prediction of a model for one recording.

    Attributes:
        recording: its name; `recording` where it has none.
        emotion: the most probable class; None where the model abstained.
        confidence: calibrated probability of the most probable class, 0 to 1.
        probabilities: calibrated, by class; they sum to 1.
        typicality: share of the class's dev utterances at least as far from its centre, 0 to 1; None without any.
        z: (64,) float32.
        span: start and end of the part that was used, in seconds.
        warnings: quality warnings about the span, in words.
        speech_seconds: of speech in the span; None without `check_speech`.
    """

    recording: str
    emotion: str | None
    confidence: float
    probabilities: dict[str, float]
    typicality: float | None
    z: NDArray[np.float32] = field(repr=False)
    seconds: float
    span: tuple[float, float]
    warnings: tuple[str, ...]
    speech_seconds: float | None = None

    def __str__(self) -> str:
        """Return the answer in one line."""
        answer = f"{self.recording}: {self.emotion or 'no emotion'}, confidence {100 * self.confidence:.1f} %"
        return "; ".join([answer, *self.warnings])

    def facts(self) -> dict[str, Any]:
        """Return all but z, ready for JSON."""
        return {name: value for name, value in vars(self).items() if name != "z"}


@dataclass(frozen=True)
class Failure:
    """A recording that cannot be used, and why, in one line."""

    recording: str
    error: str

    def __str__(self) -> str:
        """Return the error, which names the recording."""
        return self.error

    def facts(self) -> dict[str, Any]:
        """Return both, ready for JSON."""
        return dict(vars(self))
