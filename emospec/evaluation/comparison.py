"""Settings on the same folds: one less another in pairs, and what dev chooses among several."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from emospec.errors import RunError
from emospec.evaluation.statistics import Comparison, Metric, paired
from emospec.evaluation.summary import METRICS, Summary, evaluate, speaker_counts, sum_up
from emospec.runs.record import RunRecord


@dataclass(frozen=True)
class Pair:
    """Two settings on the same folds and repeats, and the first's score less the second's."""

    first: Summary
    second: Summary

    @cached_property
    def comparisons(self) -> dict[Metric, Comparison]:
        """The difference in UA and in WA."""
        one, other = (speaker_counts(summary.runs) for summary in (self.first, self.second))
        return {metric: paired(one, other, metric) for metric in METRICS}

    @cached_property
    def are_equal(self) -> bool:
        """Whether both settings predict the same throughout: copies of one run, or one setting trained twice."""
        pairs = zip(self.first.runs, self.second.runs, strict=True)
        return all(one.predictions().equals(other.predictions()) for one, other in pairs)

    @cached_property
    def by_corpus(self) -> dict[str, Comparison]:
        """The difference in UA on each corpus of a pool; empty for a single corpus."""
        found = {}
        for name in self.first.by_corpus:
            one, other = (speaker_counts(summary.runs, name) for summary in (self.first, self.second))
            found[name] = paired(one, other, "UA")
        return found


def pair_up(first: Summary, second: Summary) -> Pair:
    """Two settings, each summed up over the runs that share repeat and fold.

    Raises:
        RunError: they share none, or their fold lists differ.
    """
    places = [{run.place: run for run in summary.runs} for summary in (first, second)]
    shared = sorted(places[0].keys() & places[1].keys())
    if not shared:
        raise RunError("the settings share no fold of a repeat, so they cannot be compared in pairs")
    mine, theirs = ([runs[place] for place in shared] for runs in places)
    _refuse_other_folds(mine, theirs)
    return Pair(sum_up(mine, first.setting), sum_up(theirs, second.setting))


def compare(first: Path | str, second: Path | str) -> Pair:
    """Compare the one setting of a folder with that of another, on the folds and repeats that both ran.

    Raises:
        RunError: a folder holds more than one setting, both hold the same run, they share no fold, or their
            fold lists differ.

    Example:
        >>> emospec.compare("runs/center", "runs/plain").comparisons["UA"].difference  # doctest: +SKIP
        0.186
    """
    summaries = []
    for folder in (first, second):
        found = evaluate(folder)
        if len(found) > 1:
            one = found[0].runs[0].folder
            one = one.parent if len(found[0].runs) > 1 else one
            raise RunError(f"{folder} holds {len(found)} settings. Name the folder of one, such as {one}")
        summaries += found
    folders = [{run.folder.resolve() for run in summary.runs} for summary in summaries]
    if twice := sorted(folders[0] & folders[1]):
        raise RunError(
            f"{first} and {second} both hold the run {twice[0]}: a run less itself is 0. Name the runs of two settings"
        )
    return pair_up(*summaries)


def shared_places(summaries: Sequence[Summary]) -> set[tuple[int, int]]:
    """Repeat and fold of the runs that all settings have: what a choice among them rests on."""
    return set.intersection(*({run.place for run in summary.runs} for summary in summaries))


def dev_ua_on(places: set[tuple[int, int]], summary: Summary) -> float:
    """A setting's mean dev UA over some folds; over its own where it has none of them."""
    runs = [run for run in summary.runs if run.place in places] or summary.runs
    return float(np.mean([run.scores.dev.ua for run in runs]))


def choose_by_dev(summaries: Sequence[Summary]) -> Summary:
    """What it gives to try several settings and keep in each fold the one of the best dev UA.

    A choice among settings by the test scores in a table is a look at the test set. Here each fold's own dev
    set chooses, so its test set plays no part: the result is that of the whole procedure, choice included.

    Args:
        summaries: the settings, of one protocol; only folds that all of them have run are used.

    Raises:
        RunError: they share no fold of a repeat, or their test sets differ.
    """
    places = [{run.place: run for run in summary.runs} for summary in summaries]
    shared = sorted(set.intersection(*(set(runs) for runs in places))) if places else []
    if not shared:
        raise RunError("the settings share no fold of a repeat, so dev cannot choose among them")
    for runs in places[1:]:
        _refuse_other_folds([places[0][place] for place in shared], [runs[place] for place in shared])
    chosen = [max((runs[place] for runs in places), key=lambda run: run.scores.dev.ua) for place in shared]
    return sum_up(chosen, "chosen by dev in each fold")


def _refuse_other_folds(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> None:
    for one, other in zip(first, second, strict=True):
        a, b = one.meta.protocol, other.meta.protocol
        if (a.name, a.hash) != (b.name, b.hash):
            raise RunError(
                f"{one.folder} ({a.name}, fold lists {a.hash[:12]}) and {other.folder} ({b.name}, "
                f"{b.hash[:12]}) have other fold lists. Train both on the same pack, split and seed"
            )
