"""Contrasts: a setting without centre loss and with it, in pairs and in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from emospec.evaluation.comparison import Pair, dev_ua_on, pair_up, shared_places
from emospec.evaluation.summary import Summary
from emospec.report.words import count, p_words, percent, signed
from emospec.runs.record import RATE, WEIGHT, RunRecord


@dataclass(frozen=True)
class Contrast:
    """Settings that differ in nothing but centre loss: without it, and with it.

    Of several with centre loss, `with_` is the one of the best dev UA: test plays no part.
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
        if self.without is None or self.with_ is None:
            return None
        if not {run.place for run in self.without.runs} & {run.place for run in self.with_.runs}:
            return None
        return pair_up(self.with_, self.without)

    @property
    def pairs(self) -> list[tuple[RunRecord, RunRecord]]:
        """Runs without and with centre loss on the same fold of the same repeat, in that order."""
        return list(zip(self.pair.second.runs, self.pair.first.runs, strict=True)) if self.pair else []

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.pair is None:
            own = (
                f"{center_words(s.runs[0])} UA {percent(s.ua)}, WA {percent(s.wa)} ({count(len(s.runs), 'run')})"
                for s in (self.with_, self.without)
                if s is not None
            )
            both = self.without is not None and self.with_ is not None
            why = "no fold was run both with and without centre loss" if both else "none to compare with"
            return f"{'; '.join(own)}: {why}."
        with_, without = self.pair.first, self.pair.second
        ua, runs = self.pair.comparisons["UA"], len(with_.runs)
        over = f"over {runs} runs" if runs > 1 else "from a single run each"
        left_out = (
            len(self.with_.runs) + len(self.without.runs) - 2 * runs if self.with_ and self.without else 0
        )
        if left_out:
            over += f" on the same folds ({count(left_out, 'run')} without a partner left out)"
        if not ua.interval.reason:
            ends = f"{signed(ua.interval.low)} to {signed(ua.interval.high)}"
            over += f", 95 % interval by {ua.interval.unit[:-1]} {ends}"
        if ua.p is not None:
            over += f", p {p_words(ua.p)}"
        if runs > 1:
            scores = np.array([[run.scores.test.ua for run in pair] for pair in self.pairs], np.float64)
            over += f", higher in {(scores[:, 1] > scores[:, 0]).sum()} of {runs} pairs"
        best = f", the best of {self.candidates} on dev" if self.candidates > 1 else ""
        return (
            f"{center_words(with_.runs[0], best)} UA {percent(with_.ua)}, "
            f"without {percent(without.ua)}: {signed(ua.difference)} points {over}. "
            f"WA {percent(with_.wa)} with, {percent(without.wa)} without."
        )


def contrasts(summaries: Sequence[Summary]) -> list[Contrast]:
    """One contrast per group of settings that differ in centre loss alone, in order of appearance."""
    groups: dict[frozenset[tuple[str, str]], list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(summary.runs[0].but_for(WEIGHT, RATE), []).append(summary)
    found = []
    for group in groups.values():
        without = [s for s in group if not s.runs[0].settings.loss.center_weight]
        with_ = [s for s in group if s.runs[0].settings.loss.center_weight]
        best = max(with_, key=partial(dev_ua_on, shared_places(with_))) if with_ else None
        found.append(Contrast(group[0].runs[0].variant, without[0] if without else None, best, len(with_)))
    return found


def center_words(run: RunRecord, more: str = "") -> str:
    """The start of a sentence: "With centre loss (λ 0.3, α 0.5)", or "Without centre loss"."""
    loss = run.settings.loss
    if not loss.center_weight:
        return "Without centre loss"
    return f"With centre loss (λ {loss.center_weight:g}, α {loss.center_rate:g}{more})"
