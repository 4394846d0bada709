"""Several runs of one setting summed up as their protocol asks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emospec.data.splits import any_overlap
from emospec.errors import RunError
from emospec.evaluation.metrics import recalls, unweighted_accuracy, weighted_accuracy
from emospec.evaluation.statistics import (
    ACCURACIES,
    Interval,
    Metric,
    SpeakerCounts,
    count_by_speaker,
    interval,
)
from emospec.runs.record import RunRecord, find_runs


@dataclass(frozen=True)
class Summary:
    """Test scores of one setting.

    Attributes:
        setting: see `RunRecord.setting`.
        runs: the runs summed up.
        how: how they were summed up, in words.
        ua, wa: in [0, 1].
        ua_deviation, wa_deviation: sample deviation over the runs' own UA and WA; NaN for one run.
        recall: by class, in [0, 1]; NaN for a class without test samples.
        confusion: (classes, classes) counts over all runs; row = true class.
        dev_ua: mean over the runs of the chosen models' UA on dev, in float32.
    """

    setting: str
    runs: tuple[RunRecord, ...]
    how: str
    ua: float
    wa: float
    ua_deviation: float
    wa_deviation: float
    recall: dict[str, float]
    confusion: NDArray[np.int64]
    dev_ua: float

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the confusion matrix."""
        return self.runs[0].classes

    @property
    def speaker_overlap(self) -> bool | None:
        """Whether any run's test speakers were trained or selected on; None where that is unknown."""
        return any_overlap(run.meta.protocol.speaker_overlap for run in self.runs)

    @cached_property
    def intervals(self) -> dict[Metric, Interval]:
        """The 95% intervals of UA and WA by speaker."""
        counts = speaker_counts(self.runs)
        return {metric: interval(counts, metric) for metric in ACCURACIES}

    @cached_property
    def by_corpus(self) -> dict[str, Interval]:
        """UA on each corpus of a pool by itself, summed up as the whole; empty for a single corpus.

        A pool's UA is most of all that of its largest corpus, and corpora differ in difficulty.
        """
        corpora = self.runs[0].corpora
        if len(corpora) < 2:
            return {}
        return {name: interval(speaker_counts(self.runs, name), "UA") for name in corpora}

    @property
    def corpora_mean(self) -> float:
        """The plain mean of `by_corpus`; NaN for a single corpus."""
        each = [found.estimate for found in self.by_corpus.values()]
        return float(np.mean(each)) if each else float("nan")


def summarise(runs: Sequence[RunRecord]) -> Summary:
    """Sum up runs of one setting and protocol.

    `dai2019` reports the mean of UA and WA over its runs, as the paper does. Every other protocol
    pools the test predictions of a repeat's folds first, because a fold may lack a class, and
    reports the mean over repeats.

    Raises:
        RunError: no runs, runs of different protocols, classes or settings, or a fold twice.
    """
    if not runs:
        raise RunError("there are no runs to sum up")
    _refuse_mixture(runs)
    return sum_up(runs, runs[0].setting)


def sum_up(runs: Sequence[RunRecord], setting: str) -> Summary:
    """Runs of one protocol that are known to belong together, under a name; `summarise` knows by itself."""
    first = runs[0]
    confusions = [np.array(run.scores.test.confusion, np.int64) for run in runs]
    own_ua = np.array([unweighted_accuracy(c) for c in confusions])
    own_wa = np.array([weighted_accuracy(c) for c in confusions])
    total = np.sum(confusions, axis=0)
    if first.meta.protocol.name == "dai2019":
        how = f"mean over {len(runs)} run{'s' * (len(runs) != 1)}"
        ua, wa = float(own_ua.mean()), float(own_wa.mean())
    else:
        pooled: dict[int, NDArray[np.int64]] = {}
        for run, confusion in zip(runs, confusions, strict=True):
            repeat = run.place[0]
            pooled[repeat] = pooled.get(repeat, np.zeros_like(confusion)) + confusion
        ua = float(np.mean([unweighted_accuracy(c) for c in pooled.values()]))
        wa = float(np.mean([weighted_accuracy(c) for c in pooled.values()]))
        how = f"pooled test predictions of {len(runs)} run{'s' * (len(runs) != 1)}"
        if len(pooled) > 1:
            how += f", mean over {len(pooled)} repeats"
    many = len(runs) > 1
    return Summary(
        setting=setting,
        runs=tuple(runs),
        how=how,
        ua=ua,
        wa=wa,
        ua_deviation=float(own_ua.std(ddof=1)) if many else float("nan"),
        wa_deviation=float(own_wa.std(ddof=1)) if many else float("nan"),
        recall=dict(zip(first.classes, recalls(total).tolist(), strict=True)),
        confusion=total,
        dev_ua=float(np.mean([run.scores.dev.ua for run in runs])),
    )


def _refuse_mixture(runs: Sequence[RunRecord]) -> None:
    """The runs must share protocol, classes and setting; those of a repeat its fold lists, each once."""
    first = runs[0]
    repeats: dict[int, RunRecord] = {}
    folds: dict[tuple[int, int], RunRecord] = {}
    for run in runs:
        protocol = run.meta.protocol
        mate = repeats.setdefault(protocol.repeat, run)
        own, firsts = _differing(run, first)
        for what, other, a, b in (
            ("protocol", first, protocol.name, first.meta.protocol.name),
            ("classes", first, run.classes, first.classes),
            ("corpora", first, run.corpora, first.corpora),
            ("settings", first, own, firsts),
            ("fold lists", mate, protocol.hash, mate.meta.protocol.hash),
        ):
            if a != b:
                raise RunError(
                    f"runs of different {what} cannot be summed up: {other.folder} has {b}, {run.folder} has {a}"
                )
        twin = folds.setdefault(run.place, run)
        if twin is not run:
            raise RunError(
                f"{twin.folder} and {run.folder} are the same fold of the same repeat: leave one out, or it counts twice"
            )


def _differing(one: RunRecord, other: RunRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of each run's settings the other has otherwise."""
    mine, theirs = one.flat, other.flat
    keys = [key for key in mine | theirs if mine.get(key) != theirs.get(key)]
    return {key: mine.get(key) for key in keys}, {key: theirs.get(key) for key in keys}


def summarise_settings(runs: Sequence[RunRecord]) -> list[Summary]:
    """`summarise` for each setting, protocol, corpora and classes among the runs, in order of appearance."""
    groups: dict[tuple[object, ...], list[RunRecord]] = {}
    for run in runs:
        groups.setdefault((run.but_for(), *run.section), []).append(run)
    return [summarise(group) for group in groups.values()]


def speaker_counts(runs: Sequence[RunRecord], corpus: str = "") -> SpeakerCounts:
    """The test predictions of one setting's runs, of one corpus if named, counted as its protocol sums them up."""
    tables = []
    for run in runs:
        protocol = run.meta.protocol
        # dai2019 takes the mean over runs, every other protocol over repeats of pooled folds.
        fold = f".{protocol.fold}" if protocol.name == "dai2019" else ""
        rows = run.predictions()
        tables.append(rows[rows["part"] == "test"].assign(block=f"{protocol.repeat}{fold}"))
    rows = pd.concat(tables)
    if corpus:
        rows = rows[rows["corpus"] == corpus]
    index = {name: i for i, name in enumerate(runs[0].classes)}
    return count_by_speaker(
        rows["block"],
        voices(rows),
        rows["utterance"],
        rows["target"].map(index),
        rows["predicted"].map(index),
        len(index),
    )


def voices(predictions: pd.DataFrame) -> "pd.Series[str]":
    """The speaker of each row as `CORPUS/SPEAKER`, unique over pooled corpora; empty where unknown."""
    return (predictions["corpus"] + "/" + predictions["speaker"]).where(predictions["speaker"] != "", "")


def evaluate(*folders: Path | str) -> list[Summary]:
    """Test scores of all finished runs in some folders, one `Summary` per setting and protocol.

    Example:
        >>> [(s.setting, s.ua) for s in emospec.evaluate("runs/emodb")]  # doctest: +SKIP
        [('dai2019-mel, λ 0.3, α 0.5', 0.78)]
    """
    return summarise_settings(find_runs(map(Path, folders)))
