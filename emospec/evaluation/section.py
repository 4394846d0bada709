"""One section of a report: all runs of one protocol, and what can be said of them.

Facts and figures only, from what the run folders hold; report.html.j2 lays them out.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from emospec.evaluation import figures
from emospec.evaluation.calibration import Calibration, calibrate
from emospec.evaluation.groups import COLUMNS, Group, by_group
from emospec.evaluation.metrics import Distances
from emospec.evaluation.results import Run, Summary, compare, summarise_settings
from emospec.evaluation.words import count, distinct, p_words, percent, signed, slug

PARTS = ("train", "dev", "test")
FEW_UTTERANCES = 30
"""A recall from fewer test utterances than this moves by more than 3 points with a single one."""
HEAVY_SVG_BYTES = 400_000


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
        without, with_ = ({place(run): run for run in s.runs} for s in (self.without, self.with_))
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
        comparison = compare([b for _, b in self.pairs], [a for a, _ in self.pairs], "UA") if paired else None
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


@dataclass(frozen=True)
class Section:
    """All runs of one protocol, on the same corpora and classes."""

    number: int
    runs: tuple[Run, ...]

    @cached_property
    def summaries(self) -> list[Summary]:
        """By preset, in order of appearance; then by lambda and alpha."""
        presets = distinct(run.meta["preset"] for run in self.runs)

        def order(summary: Summary) -> tuple[int, float, float]:
            loss = summary.runs[0].config["loss"]
            return presets.index(summary.runs[0].meta["preset"]), loss["center_weight"], loss["center_rate"]

        return sorted(summarise_settings(self.runs), key=order)

    @property
    def protocol(self) -> dict[str, Any]:
        """As the first run tells it; `told` knows where others differ."""
        protocol: dict[str, Any] = self.runs[0].meta["protocol"]
        return protocol

    @property
    def corpora(self) -> list[dict[str, Any]]:
        """Name, title, licence, citation, utterances and speakers of each."""
        corpora: list[dict[str, Any]] = self.runs[0].meta["corpora"]
        return corpora

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the confusion matrix."""
        return self.runs[0].classes

    @property
    def speaker_overlap(self) -> bool | None:
        """Whether any run's test speakers were trained on; None where that is unknown."""
        overlaps = {run.meta["protocol"]["speaker_overlap"] for run in self.runs}
        return True if True in overlaps else None if None in overlaps else False

    @cached_property
    def calibrations(self) -> list[tuple[Summary, Calibration]]:
        """Of each setting."""
        return [(summary, calibrate(summary.runs)) for summary in self.summaries]

    def groups(self, summary: Summary) -> list[tuple[str, list[Group]]]:
        """Scores by what is known of the utterances: the column, and its groups, worst first."""
        tables = [run.predictions() for run in summary.runs]
        test = pd.concat([table[table["part"] == "test"] for table in tables])
        found = ((column, by_group(test, column, self.classes)) for column in COLUMNS)
        return [(column, groups) for column, groups in found if groups]

    def told(self, key: str) -> list[str]:
        """The different values of a key of the runs' protocols."""
        return distinct(str(run.meta["protocol"][key]) for run in self.runs)

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """One per preset."""
        return contrasts(self.summaries)

    @property
    def counts(self) -> list[tuple[str, list[str]]]:
        """Utterances by class and part, as "98" or, where runs differ, "98-103"; then all classes."""
        rows = []
        for name, chosen in (*((c, (c,)) for c in self.classes), ("all", self.classes)):
            sums = [
                [sum(r.meta["counts"][part].get(c, 0) for c in chosen) for r in self.runs] for part in PARTS
            ]
            rows.append((name, [str(min(s)) if min(s) == max(s) else f"{min(s)}–{max(s)}" for s in sums]))
        return rows

    def distances(self, summary: Summary, part: str) -> tuple[float, float, float]:
        """Means over a setting's runs: distances of z within and between classes, and their ratio."""
        stored = [run.scores["distances"][part] for run in summary.runs]
        numbers = np.array([(d["within"], d["between"]) for d in stored], np.float64)  # null is NaN
        each = [Distances(*row) for row in numbers.tolist()]
        within, between, ratio = np.mean([(d.within, d.between, d.ratio) for d in each], axis=0)
        return float(within), float(between), float(ratio)

    @property
    def limits(self) -> list[str]:
        """What the numbers of this section do not cover, each sentence from a fact of the runs."""
        return [*_limits_of_speech(self), *_limits_of_counts(self), *_limits_of_runs(self)]

    def pictures(self, folder: Path) -> dict[str, Any]:
        """Draw this section's figures into a folder: data URIs, with the summaries or runs they show."""
        folder.mkdir(parents=True, exist_ok=True)

        def draw(figure: Figure, name: str) -> str:
            return _data_uri(
                *figures.save(figure, folder / slug(f"{self.number}-{self.protocol['name']}-{name}"))
            )

        panels = [c.pairs[0] if c.pairs else (min(c.either.runs, key=place),) for c in self.contrasts]
        return {
            "confusion": [
                (s, draw(figures.confusion_figure(s), f"confusion-{s.setting}")) for s in self.summaries
            ],
            "reliability": [
                draw(figures.reliability_figure(found, s.setting), f"reliability-{s.setting}")
                for s, found in self.calibrations
            ],
            "recall": draw(figures.recall_bars(self.summaries), "recall"),
            "curves": draw(figures.learning_curves(self.summaries), "curves"),
            "sweeps": [
                (key, group, draw(figures.sweep_bars(group, key), f"sweep-{key}-{number}"))
                for number, (key, group) in enumerate(sweeps(self.summaries), start=1)
            ],
            "pca": [
                (runs, draw(figures.pca_panels(*runs), f"pca-{runs[0].meta['preset']}")) for runs in panels
            ],
        }


def _data_uri(png: Path, svg: Path) -> str:
    """The figure itself as an address, so that the page needs no file beside it."""
    path, kind = (svg, "svg+xml") if svg.stat().st_size <= HEAVY_SVG_BYTES else (png, "png")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def sweeps(summaries: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """Three or more settings of a preset that differ in lambda alone, or in alpha alone, with the key."""
    found = []
    for key, fixed in (("center_weight", "center_rate"), ("center_rate", "center_weight")):
        groups: dict[tuple[str, float], list[Summary]] = {}
        for summary in summaries:
            loss = summary.runs[0].config["loss"]
            if loss["center_weight"]:
                groups.setdefault((summary.runs[0].meta["preset"], loss[fixed]), []).append(summary)
        for (preset, _), group in groups.items():
            if key == "center_weight":  # lambda 0 has no alpha: it belongs to every row of lambdas
                group += [c.without for c in contrasts(summaries) if c.preset == preset and c.without]
            if len(group) >= 3:
                found.append((key, group))
    return found


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


def _limits_of_speech(section: Section) -> list[str]:
    test = [rows[rows["part"] == "test"] for rows in (run.predictions() for run in section.runs)]
    languages = sorted({str(value) for rows in test for value in rows["language"].unique()} - {""})
    speakers = {
        pair for rows in test for pair in zip(rows["corpus"], rows["speaker"], strict=True) if pair[1]
    }
    who = count(len(speakers), "speaker") if speakers else "unknown speakers"
    covered = f"Tested on {who} of {' and '.join(corpus['title'] for corpus in section.corpora)}"
    covered += f" (language: {', '.join(languages)})" if languages else ""
    styles = distinct(str(corpus["speech"]) for corpus in section.corpora if corpus.get("speech"))
    covered += f", {' and '.join(styles)} speech" if styles else ""
    overlap = {
        True: "Test speakers were also heard in training: the numbers say nothing about unknown speakers.",
        False: "No test speaker was heard in training.",
        None: "Not all speakers are known: the test may hold speakers that were heard in training.",
    }
    return [
        overlap[section.speaker_overlap],
        f"{covered}; other speakers, languages, rooms and microphones were not tested.",
        f"Every utterance had to be one of {len(section.classes)} classes: {', '.join(section.classes)}.",
    ]


def _limits_of_counts(section: Section) -> list[str]:
    totals = dict(zip(section.classes, section.summaries[0].confusion.sum(axis=1).tolist(), strict=True))
    few = [f"{name} ({n})" for name, n in totals.items() if 0 < n < FEW_UTTERANCES]
    none = [name for name, n in totals.items() if n == 0]
    found = []
    if few:
        found.append(f"Recall rests on few test utterances for {', '.join(few)}.")
    if none:
        found.append(
            f"No test utterance of {', '.join(none)}: no recall there, and UA is the mean of the others."
        )
    return found


def _limits_of_runs(section: Section) -> list[str]:
    found = []
    single = [s.setting for s in section.summaries if len(s.runs) == 1]
    if single:
        found.append(f"A single run each of {'; '.join(single)}: how far the numbers vary is not known.")
    if len(single) < len(section.summaries):
        found.append(
            "Deviations are over runs whose training sets overlap: they are no confidence intervals."
        )
    partial: dict[str, list[str]] = {}
    for summary in section.summaries:
        done = {place(run) for run in summary.runs}
        asked = int(section.protocol["folds"]) * len({repeat for repeat, _ in done})
        if len(done) < asked:
            partial.setdefault(f"{len(done)} of {asked} folds were run of", []).append(summary.setting)
    found += [f"{words} {'; '.join(settings)}." for words, settings in partial.items()]
    seeds = distinct(str(run.meta["seed"]) for run in section.runs)
    if len(seeds) == 1:
        found.append(f"One seed ({seeds[0]}): no fold was trained from a second random start.")
    return found


def place(run: Run) -> tuple[int, int]:
    """Repeat and fold."""
    return int(run.meta["protocol"]["repeat"]), int(run.meta["protocol"]["fold"])


def center_words(run: Run, more: str = "") -> str:
    """The start of a sentence: "With centre loss (λ 0.3, α 0.5)"."""
    loss = run.config["loss"]
    return f"With centre loss (λ {loss['center_weight']:g}, α {loss['center_rate']:g}{more})"
