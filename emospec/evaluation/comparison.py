"""Settings on the same folds: paired differences, the choice among several by dev, and the gain of centre loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from emospec.errors import RunError
from emospec.evaluation.statistics import ACCURACIES, Comparison, Metric, paired
from emospec.evaluation.summary import Summary, evaluate, grouped, speaker_counts, sum_up
from emospec.runs.record import RATE, WEIGHT, RunRecord


@dataclass(frozen=True)
class Pair:
    """Two settings on the same folds and repeats; differences are the first less the second."""

    first: Summary
    second: Summary

    @cached_property
    def comparisons(self) -> dict[Metric, Comparison]:
        """The difference in UA and in WA."""
        first, second = (speaker_counts(summary.runs) for summary in (self.first, self.second))
        return {metric: paired(first, second, metric) for metric in ACCURACIES}

    @cached_property
    def are_equal(self) -> bool:
        """Whether both settings predict the same throughout: copies of one run, or one setting trained twice."""
        pairs = zip(self.first.runs, self.second.runs, strict=True)
        return all(first.predictions().equals(second.predictions()) for first, second in pairs)

    @cached_property
    def by_corpus(self) -> dict[str, Comparison]:
        """The difference in UA on each corpus of a pool; empty for a single corpus."""
        first, second = self.first.runs, self.second.runs
        return {
            corpus: paired(speaker_counts(first, corpus), speaker_counts(second, corpus), "UA")
            for corpus in self.first.by_corpus
        }


def pair_up(first: Summary, second: Summary) -> Pair:
    """Sum up two settings over the runs that share repeat and fold; RunError for none, or other fold lists."""
    first_runs, second_runs = _on_shared_folds((first, second), "they cannot be compared in pairs")
    return Pair(sum_up(first_runs, first.setting), sum_up(second_runs, second.setting))


def compare(first: Path | str, second: Path | str) -> Pair:
    """Compare the one setting of a folder with that of another, on the folds and repeats that both ran.

    >>> emospec.compare("runs/center", "runs/plain").comparisons["UA"].difference  # doctest: +SKIP
    0.186
    """
    summaries = []
    for folder in (first, second):
        settings = evaluate(folder)
        if len(settings) > 1:
            runs = settings[0].runs
            example = runs[0].folder.parent if len(runs) > 1 else runs[0].folder
            many = f"{folder} holds {len(settings)} settings"
            raise RunError(f"{many}. Name the folder of one, such as {example}")
        summaries += settings
    folders = [{run.folder.resolve() for run in summary.runs} for summary in summaries]
    if twice := sorted(folders[0] & folders[1]):
        raise RunError(
            f"{first} and {second} both hold the run {twice[0]}: a run less itself is 0. Name the runs of two settings"
        )
    return pair_up(*summaries)


def shared_places(summaries: Sequence[Summary]) -> set[tuple[int, int]]:
    """Return repeat and fold of the runs that all settings have: a choice among them rests on these."""
    return set.intersection(*({run.place for run in summary.runs} for summary in summaries))


def dev_ua_on(places: set[tuple[int, int]], summary: Summary) -> float:
    """Return a setting's mean dev UA over some folds, or over all of its own where it has none of them."""
    runs = [run for run in summary.runs if run.place in places] or summary.runs
    return float(np.mean([run.scores.dev.ua for run in runs]))


def choose_by_dev(summaries: Sequence[Summary]) -> Summary:
    """Return the result of trying several settings and keeping in each fold the one of the best dev UA.

    Only folds that all of them have run are used; RunError where there are none, or the fold lists differ.
    """
    runs = _on_shared_folds(summaries, "dev cannot choose among them")
    # A choice by the test scores in a table is a look at the test set. Here each fold's own dev set chooses, so
    # its test set plays no part: the result is that of the whole procedure, choice included.
    chosen = [max(fold, key=lambda run: run.scores.dev.ua) for fold in zip(*runs, strict=True)]
    return sum_up(chosen, "chosen by dev in each fold")


def _on_shared_folds(summaries: Sequence[Summary], without_any: str) -> list[list[RunRecord]]:
    """Return the runs of each setting on the folds of repeats that all of them have run."""
    shared = sorted(shared_places(summaries)) if summaries else []
    if not shared:
        raise RunError(f"the settings share no fold of a repeat, so {without_any}")
    by_place = [{run.place: run for run in summary.runs} for summary in summaries]
    runs = [[mine[place] for place in shared] for mine in by_place]
    for others in runs[1:]:
        for run, other in zip(runs[0], others, strict=True):
            a, b = run.meta.protocol, other.meta.protocol
            if (a.name, a.hash) != (b.name, b.hash):
                raise RunError(
                    f"{run.folder} ({a.name}, fold lists {a.hash[:12]}) and {other.folder} ({b.name}, "
                    f"{b.hash[:12]}) have other fold lists. Train both on the same pack, split and seed"
                )
    return runs


@dataclass(frozen=True)
class Contrast:
    """Settings that differ in nothing but centre loss: without it, and with it.

    Attributes:
        variant: what they share, see `RunRecord.variant`.
        without: the setting of lambda 0, where there is one.
        with_: of several with centre loss the one of the best dev UA: test plays no part.
        candidates: how many settings with centre loss there are.
    """

    variant: str
    without: Summary | None
    with_: Summary | None
    candidates: int

    @property
    def either(self) -> Summary:
        """The one without, or where there is none the one with."""
        return next(summary for summary in (self.without, self.with_) if summary is not None)

    @cached_property
    def pair(self) -> Pair | None:
        """With less without, on the folds of the repeats that both have run; None where they share none."""
        if not self.without or not self.with_ or not shared_places((self.without, self.with_)):
            return None
        return pair_up(self.with_, self.without)

    @property
    def run_pairs(self) -> list[tuple[RunRecord, RunRecord]]:
        """Runs without and with centre loss, in that order, on the same fold of the same repeat."""
        return list(zip(self.pair.second.runs, self.pair.first.runs, strict=True)) if self.pair else []

    @property
    def left_out(self) -> int:
        """The number of runs without a partner on the same fold, and so without a part in `pair`."""
        settings = [summary for summary in (self.without, self.with_) if summary]
        return sum(len(summary.runs) for summary in settings) - 2 * len(self.run_pairs)

    @property
    def wins(self) -> int:
        """The number of pairs of runs in which centre loss has the higher test UA."""
        scores = [[run.scores.test.ua for run in pair] for pair in self.run_pairs]
        # Null in JSON is NaN.
        without, with_ = np.array(scores, np.float64).reshape(-1, 2).T
        return int((with_ > without).sum())


def contrasts(summaries: Sequence[Summary]) -> list[Contrast]:
    """Return one contrast per group of settings that differ in centre loss alone, in order of appearance."""
    results = []
    for group in grouped(summaries, lambda summary: summary.runs[0].but_for(WEIGHT, RATE)):
        without, with_ = (
            [s for s in group if bool(s.runs[0].settings.loss.center_weight) is weighted]
            for weighted in (False, True)
        )
        # Of several weights and rates dev chooses, on the folds that all of them have.
        best = max(with_, key=partial(dev_ua_on, shared_places(with_))) if with_ else None
        variant = group[0].runs[0].variant
        results.append(Contrast(variant, without[0] if without else None, best, candidates=len(with_)))
    return results
