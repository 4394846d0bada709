"""A recogniser for `broken_audio.run`: whatever it says of a broken recording is finite.

python tests/broken_use.py MODEL [COUNT] [SEED] puts so many through `predict` and `timeline`, and counts the ends.
"""

import os
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

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


if __name__ == "__main__":
    from broken_audio import broken, run

    os.environ[MODEL] = sys.argv[1]
    count, seed = (int(text) for text in (*sys.argv[2:], *("2000", "0")[len(sys.argv) - 2 :]))
    for target in ("broken_use:predicted", "broken_use:over_time"):
        with tempfile.TemporaryDirectory() as folder:
            outcomes = list(run((broken(Path(folder), k, seed) for k in range(count)), target))
        slowest = max(outcomes, key=lambda o: o.seconds)
        longest = f"longest {slowest.seconds:.1f} s, {slowest.recording}"
        print(target, dict(Counter(o.end for o in outcomes)), longest)
        print(*[o for o in outcomes if not (o.sound or o.end == "result")], sep="\n")
