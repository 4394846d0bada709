"""Summary: the test scores of several runs of one setting, summed up as their protocol asks."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emospec.data.splits import any_overlap
from emospec.errors import RunError
from emospec.evaluation.metrics import class_indices, recalls, unweighted_accuracy, weighted_accuracy
from emospec.evaluation.statistics import (
    ACCURACIES,
    Interval,
    Metric,
    SpeakerCounts,
    count_by_speaker,
    interval,
)
from emospec.runs.record import RunRecord, find_runs

_Item = TypeVar("_Item")


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
        """Whether any run's test speakers are in its training or dev; None where that is unknown."""
        return any_overlap(run.meta.protocol.speaker_overlap for run in self.runs)

    @cached_property
    def intervals(self) -> dict[Metric, Interval]:
        """The 95% intervals of UA and WA by speaker."""
        counts = speaker_counts(self.runs)
        return {metric: interval(counts, metric) for metric in ACCURACIES}

    @cached_property
    def by_corpus(self) -> dict[str, Interval]:
        """UA on each corpus of a pool by itself, summed up as the whole; empty for a single corpus."""
        # The UA of a pool is mostly that of its largest corpus, and corpora differ in difficulty.
        corpora = self.runs[0].corpora if len(self.runs[0].corpora) > 1 else ()
        return {name: interval(speaker_counts(self.runs, name), "UA") for name in corpora}

    @property
    def corpora_mean(self) -> float:
        """The plain mean of `by_corpus`; NaN for a single corpus."""
        scores = [score.estimate for score in self.by_corpus.values()]
        return float(np.mean(scores)) if scores else float("nan")


def summarise(runs: Sequence[RunRecord]) -> Summary:
    """Sum up runs; RunError for none, for different protocols, classes or settings, and for a fold twice."""
    if not runs:
        raise RunError("there are no runs to sum up")
    _refuse_mixture(runs)
    return sum_up(runs, runs[0].setting)


def sum_up(runs: Sequence[RunRecord], setting: str) -> Summary:
    """Sum up runs under a given name, without checking that they belong together."""
    confusions = [np.array(run.scores.test.confusion, np.int64) for run in runs]
    ua_of_runs = np.array([unweighted_accuracy(c) for c in confusions])
    wa_of_runs = np.array([weighted_accuracy(c) for c in confusions])
    total = np.sum(confusions, axis=0)
    number = f"{len(runs)} run" if len(runs) == 1 else f"{len(runs)} runs"
    # `dai2019` reports the mean over its runs, as the paper does. Every other protocol pools the test predictions
    # of a repeat's folds first, because a fold may lack a class, and reports the mean over repeats.
    if runs[0].meta.protocol.name == "dai2019":
        how = f"mean over {number}"
        ua, wa = float(ua_of_runs.mean()), float(wa_of_runs.mean())
    else:
        pooled: dict[int, NDArray[np.int64]] = {}
        for run, confusion in zip(runs, confusions, strict=True):
            repeat = run.place[0]
            pooled[repeat] = pooled.get(repeat, np.zeros_like(confusion)) + confusion
        ua = float(np.mean([unweighted_accuracy(c) for c in pooled.values()]))
        wa = float(np.mean([weighted_accuracy(c) for c in pooled.values()]))
        how = f"pooled test predictions of {number}"
        if len(pooled) > 1:
            how += f", mean over {len(pooled)} repeats"
    return Summary(
        setting=setting,
        runs=tuple(runs),
        how=how,
        ua=ua,
        wa=wa,
        ua_deviation=float(ua_of_runs.std(ddof=1)) if len(runs) > 1 else float("nan"),
        wa_deviation=float(wa_of_runs.std(ddof=1)) if len(runs) > 1 else float("nan"),
        recall=dict(zip(runs[0].classes, recalls(total).tolist(), strict=True)),
        confusion=total,
        dev_ua=float(np.mean([run.scores.dev.ua for run in runs])),
    )


def _refuse_mixture(runs: Sequence[RunRecord]) -> None:
    first = runs[0]
    repeats: dict[int, RunRecord] = {}
    folds: dict[tuple[int, int], RunRecord] = {}
    for run in runs:
        protocol, expected = run.meta.protocol, first.meta.protocol
        same_repeat = repeats.setdefault(protocol.repeat, run)
        mine, theirs = run.flat, first.flat
        keys = [key for key in mine | theirs if mine.get(key) != theirs.get(key)]
        differing, from_first = ({key: flat.get(key) for key in keys} for flat in (mine, theirs))
        for trait, other, a, b in (
            ("protocol", first, protocol.name, expected.name),
            ("classes", first, run.classes, first.classes),
            ("corpora", first, run.corpora, first.corpora),
            ("settings", first, differing, from_first),
            ("fold lists", same_repeat, protocol.hash, same_repeat.meta.protocol.hash),
        ):
            if a != b:
                raise RunError(
                    f"runs of different {trait} cannot be summed up: {other.folder} has {b}, {run.folder} has {a}"
                )
        twin = folds.setdefault(run.place, run)
        if twin is not run:
            raise RunError(
                f"{twin.folder} and {run.folder} are the same fold of the same repeat: leave one out, or it counts twice"
            )


def summarise_settings(runs: Sequence[RunRecord]) -> list[Summary]:
    """Sum up each setting, protocol, corpora and classes among the runs, in order of appearance."""
    return [summarise(group) for group in grouped(runs, lambda run: (run.but_for(), *run.section))]


def grouped(items: Iterable[_Item], key: Callable[[_Item], Hashable]) -> list[list[_Item]]:
    """Return the items in groups of equal keys, in order of appearance."""
    groups: dict[Hashable, list[_Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def rows_of_test(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the test rows of the runs' `predictions.csv`; `block` names the test set that a row is scored with."""
    # Under dai2019, which takes the mean over runs, that is its run; else its repeat, whose folds are pooled.
    tables = []
    for run in runs:
        protocol = run.meta.protocol
        fold = f".{protocol.fold}" if protocol.name == "dai2019" else ""
        rows = run.predictions()
        tables.append(rows[rows["part"] == "test"].assign(block=f"{protocol.repeat}{fold}"))
    return pd.concat(tables)


def speaker_counts(runs: Sequence[RunRecord], corpus: str = "") -> SpeakerCounts:
    """Count the test predictions of one setting's runs, of one corpus if named, by speaker and block."""
    rows = rows_of_test(runs)
    if corpus:
        rows = rows[rows["corpus"] == corpus]
    classes = runs[0].classes
    return count_by_speaker(
        blocks=rows["block"],
        # Unique over pooled corpora.
        speakers=(rows["corpus"] + "/" + rows["speaker"]).where(rows["speaker"] != "", ""),
        utterances=rows["utterance"],
        targets=class_indices(rows["target"], classes),
        predicted=class_indices(rows["predicted"], classes),
        classes=len(classes),
    )


def evaluate(*folders: Path | str) -> list[Summary]:
    """Return the test scores of all finished runs in some folders, one `Summary` per setting and protocol.

    >>> [(s.setting, s.ua) for s in emospec.evaluate("runs/emodb")]  # doctest: +SKIP
    [('dai2019-mel, λ 0.3, α 0.5', 0.78)]
    """
    return summarise_settings(find_runs(map(Path, folders)))
