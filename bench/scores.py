"""UA and WA of predicted emotions of test utterances, with intervals by speaker."""

from collections.abc import Sequence

from emospec.data.utterances import Utterance
from emospec.evaluation.statistics import Interval, Metric, count_by_speaker, interval


def pooled_score(
    utterances: Sequence[Utterance], predicted: Sequence[str], metric: Metric = "UA"
) -> Interval:
    """Return UA or WA of the predictions of all folds' test utterances, with its interval by speaker."""
    names = sorted({u.emotion for u in utterances} | set(predicted))
    counts = count_by_speaker(
        blocks=["0"] * len(predicted),
        speakers=[u.voice for u in utterances],
        utterances=[u.id for u in utterances],
        targets=[names.index(u.emotion) for u in utterances],
        predicted=[names.index(word) for word in predicted],
        classes=len(names),
    )
    return interval(counts, metric)


def score_cell(score: Interval) -> str:
    """Return a score and its interval in percent, for a table."""
    return f"{100 * score.estimate:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
