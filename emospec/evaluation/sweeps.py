"""Sweeps: settings that differ in the value of one key, the value that dev chooses, and paired tests against it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from emospec.errors import RunError
from emospec.evaluation.comparison import choose_by_dev, dev_ua_on, pair_up, shared_places
from emospec.evaluation.statistics import Comparison, holm
from emospec.evaluation.summary import Summary, grouped
from emospec.runs.record import RATE, WEIGHT

SYMBOLS = {WEIGHT: "λ", RATE: "α"}


@dataclass(frozen=True)
class SweepRow:
    """One value of a sweep.

    Attributes:
        value: as a word.
        summary: its test and dev scores.
        chosen: in how many folds its dev UA was the best.
        comparison: the setting that dev chose less this one, in UA; None for that one itself, or without pairs.
        p: of the comparison, Holm-corrected over the sweep; None where there is none.
    """

    value: str
    summary: Summary
    chosen: int
    comparison: Comparison | None
    p: float | None


@dataclass(frozen=True)
class Sweep:
    """Settings of one preset that differ in one key alone.

    Attributes:
        key: such as `loss.center_weight`.
        summaries: in the order of the values.
    """

    key: str
    summaries: tuple[Summary, ...]

    @property
    def symbol(self) -> str:
        """The name of the key in tables: λ, α, or the key itself."""
        return SYMBOLS.get(self.key, self.key)

    @property
    def variant(self) -> str:
        """The setting that was swept, see `RunRecord.variant`; the key's own value is of the first."""
        return self.summaries[0].runs[0].variant

    @property
    def values(self) -> list[str]:
        """The key's values, in order, as words."""
        values = (summary.runs[0].flat[self.key] for summary in self.summaries)
        return [f"{value:g}" if isinstance(value, float) else str(value) for value in values]

    @cached_property
    def shared(self) -> set[tuple[int, int]]:
        """Repeat and fold of the runs that all values have."""
        return shared_places(self.summaries)

    def dev_ua(self, summary: Summary) -> float:
        """Return the mean dev UA over the folds that all values have run; over its own where there are none."""
        return dev_ua_on(self.shared, summary)

    @cached_property
    def best(self) -> Summary:
        """The setting of the best mean dev UA."""
        return max(self.summaries, key=self.dev_ua)

    @property
    def best_value(self) -> str:
        """The value of `best`."""
        return self.values[self.summaries.index(self.best)]

    @cached_property
    def by_dev(self) -> Summary | None:
        """The result of choosing by dev in each fold (see `choose_by_dev`); None without a shared fold."""
        try:
            return choose_by_dev(self.summaries)
        except RunError:
            return None

    @cached_property
    def rows(self) -> list[SweepRow]:
        """One row per value; the differences are to the setting that dev chose, Holm-corrected."""
        comparisons = [self._to_best(summary) for summary in self.summaries]
        corrected = holm([comparison.p if comparison else None for comparison in comparisons])
        chosen = {run.folder for run in self.by_dev.runs} if self.by_dev else set()
        folds = [sum(run.folder in chosen for run in summary.runs) for summary in self.summaries]
        columns = self.values, self.summaries, folds, comparisons, corrected
        return [SweepRow(*row) for row in zip(*columns, strict=True)]

    def _to_best(self, summary: Summary) -> Comparison | None:
        try:
            return None if summary is self.best else pair_up(self.best, summary).comparisons["UA"]
        except RunError:
            return None


def find_sweeps(summaries: Sequence[Summary]) -> list[Sweep]:
    """Return the sweeps among settings: two or more values of a key, three or more of lambda or alpha."""
    # A sweep is of one protocol, on the same corpora and classes.
    sections = grouped(summaries, lambda summary: summary.runs[0].section)
    return [sweep for section in sections for sweep in _sweeps_of(section)]


def _sweeps_of(summaries: Sequence[Summary]) -> list[Sweep]:
    flats = [summary.runs[0].flat for summary in summaries]
    differing = {key for flat in flats for key, value in flat.items() if value != flats[0].get(key)}
    sweeps = []
    # Two seeds are two draws, and two presets differ in more than a value.
    for key in sorted(differing - {"preset", "seed"}):
        groups: dict[frozenset[tuple[str, str]], list[int]] = {}
        for i, flat in enumerate(flats):
            if key != RATE or flat[WEIGHT]:
                groups.setdefault(summaries[i].runs[0].but_for(key), []).append(i)
        if key == WEIGHT:
            # Without centre loss alpha means nothing: lambda 0 joins every group that equals it but for alpha.
            plain = {rest: group for rest, group in groups.items() if not flats[group[0]][WEIGHT]}
            groups = {rest: group for rest, group in groups.items() if rest not in plain}
            for rest, group in groups.items():
                group += plain.get(frozenset(item for item in rest if item[0] != RATE), [])
        for group in groups.values():
            if len(group) >= (3 if key in SYMBOLS else 2):
                values = {i: flats[i][key] for i in group}
                # Numbers by size, then words.
                sizes = {i: float(v) if isinstance(v, int | float) else math.inf for i, v in values.items()}
                ordered = sorted(group, key=lambda i: (sizes[i], str(values[i])))
                sweeps.append(Sweep(key, tuple(summaries[i] for i in ordered)))
    return sweeps
