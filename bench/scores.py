"""UA and WA of what was said of test utterances, with intervals by speaker."""

from collections.abc import Sequence

import numpy as np

from emospec.data.utterances import Utterance
from emospec.evaluation.statistics import Interval, Metric, count_by_speaker, interval


def pooled(utterances: Sequence[Utterance], said: Sequence[str], metric: Metric = "UA") -> Interval:
    """UA or WA of what was said of test utterances of all folds, with its interval by speaker."""
    names = sorted({u.emotion for u in utterances} | set(said))
    counts = count_by_speaker(
        np.zeros(len(said), np.int64),
        np.array([u.voice for u in utterances]),
        np.array([u.id for u in utterances]),
        np.array([names.index(u.emotion) for u in utterances]),
        np.array([names.index(word) for word in said]),
        len(names),
    )
    return interval(counts, metric)


def told(found: Interval) -> str:
    """In percent, for a table."""
    return f"{100 * found.estimate:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
