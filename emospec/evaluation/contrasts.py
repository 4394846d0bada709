"""Contrasts: a preset without centre loss and with it, in pairs and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emospec.evaluation.results import Run, Summary, pair_up
from emospec.evaluation.words import count, p_words, percent, signed


@dataclass(frozen=True)
class Contrast:
    """One preset without centre loss and with it.

    Of several settings with centre loss, `with_` is the one of the best dev UA: test plays no part.
    """

    preset: str
    without: Summary | None
    with_: Summary | None
    candidates: int

    @property
    def either(self) -> Summary:
        """The one without, or where there is none the one with."""
        return next(summary for summary in (self.without, self.with_) if summary is not None)

    @property
    def pairs(self) -> list[tuple[Run, Run]]:
        """Runs without and with centre loss on the same fold of the same repeat, in that order."""
        if self.without is None or self.with_ is None:
            return []
        without, with_ = ({run.place: run for run in s.runs} for s in (self.without, self.with_))
        return [(without[where], with_[where]) for where in sorted(without.keys() & with_.keys())]

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.without is None or self.with_ is None:
            only, runs = self.either, count(len(self.either.runs), "run")
            name = center_words(only.runs[0]) if only is self.with_ else "Without centre loss"
            return f"{name} UA {percent(only.ua)}, WA {percent(only.wa)} ({runs}, none to compare with)."
        difference = signed(self.with_.ua - self.without.ua)
        n, m, paired = len(self.with_.runs), len(self.without.runs), len(self.pairs)
        if n == m == paired:
            over = f"over {n} runs" if n > 1 else "from a single run each"
        else:
            over = f"from {count(n, 'run')} with and {m} without, of which {paired} share their test set"
        comparison = pair_up(self.with_, self.without).comparisons["UA"] if paired else None
        if comparison is not None and not comparison.interval.reason:
            low, high = (signed(end) for end in (comparison.interval.low, comparison.interval.high))
            over += f", 95 % interval by {comparison.interval.unit[:-1]} {low} to {high}"
        if comparison is not None and comparison.p is not None:
            over += f", p {p_words(comparison.p)}"
        if paired > 1:
            own = np.array([[run.scores["test"]["UA"] for run in pair] for pair in self.pairs], np.float64)
            higher = (own[:, 1] > own[:, 0]).sum()
            over += f", higher in {higher} of {paired} pairs"
        best = f", the best of {self.candidates} on dev" if self.candidates > 1 else ""
        return (
            f"{center_words(self.with_.runs[0], best)} UA {percent(self.with_.ua)}, "
            f"without {percent(self.without.ua)}: {difference} points {over}. "
            f"WA {percent(self.with_.wa)} with, {percent(self.without.wa)} without."
        )


def contrasts(summaries: Sequence[Summary]) -> list[Contrast]:
    """One contrast per preset, in order of appearance."""
    presets: dict[str, list[Summary]] = {}
    for summary in summaries:
        presets.setdefault(summary.runs[0].meta["preset"], []).append(summary)
    found = []
    for preset, group in presets.items():
        without = [s for s in group if not s.runs[0].config["loss"]["center_weight"]]
        with_ = [s for s in group if s.runs[0].config["loss"]["center_weight"]]
        best = max(with_, key=lambda s: s.dev_ua) if with_ else None
        found.append(Contrast(preset, without[0] if without else None, best, len(with_)))
    return found


def center_words(run: Run, more: str = "") -> str:
    """The start of a sentence: "With centre loss (λ 0.3, α 0.5)"."""
    loss = run.config["loss"]
    return f"With centre loss (λ {loss['center_weight']:g}, α {loss['center_rate']:g}{more})"
