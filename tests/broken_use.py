"""A recogniser for `broken_audio.run` and `bench/broken.py`: its answers about broken recordings are finite."""

import os
from functools import cache

import numpy as np

from emospec.inference.prediction import Prediction
from emospec.inference.recognizer import Recognizer
from emospec.inference.timeline import Timeline

MODEL = "EMOSPEC_TEST_MODEL"


@cache
def _recognizer() -> Recognizer:
    return Recognizer(os.environ[MODEL], threads=1)


def predicted(path: str) -> Prediction:
    prediction = _recognizer().predict(path)
    assert np.isfinite(
        [prediction.confidence, *prediction.probabilities.values(), *prediction.z, *prediction.span]
    ).all(), prediction
    return prediction


def over_time(path: str) -> Timeline:
    timeline = _recognizer().timeline(path)
    assert np.isfinite([p for s in timeline.segments for p in s.probabilities]).all(), timeline
    return timeline
