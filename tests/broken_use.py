"""A recogniser for `broken_audio.run`: whatever it says of a broken recording is finite. `bench/broken.py` asks it too."""

import os
from functools import cache

import numpy as np

from emospec.inference.recognizer import Prediction, Recognizer
from emospec.inference.timeline import Timeline

MODEL = "EMOSPEC_TEST_MODEL"


@cache
def _recognizer() -> Recognizer:
    return Recognizer(os.environ[MODEL], threads=1)


def predicted(path: str) -> Prediction:
    one = _recognizer().predict(path)
    assert np.isfinite([one.confidence, *one.probabilities.values(), *one.z, *one.span]).all(), one
    return one


def over_time(path: str) -> Timeline:
    timeline = _recognizer().timeline(path)
    assert np.isfinite([p for s in timeline.segments for p in s.probabilities]).all(), timeline
    return timeline
