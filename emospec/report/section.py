"""Section of a report: the facts, figures and limits of all runs of one protocol, corpora and classes.

A new table takes its numbers from emospec.evaluation, as a property here, and its rows and caption in report.html.j2.
"""

import base64
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from emospec.data.splits import PARTS, any_overlap
from emospec.evaluation.calibration import Calibration, calibrate
from emospec.evaluation.comparison import Contrast, Pair, contrasts
from emospec.evaluation.metrics import GROUP_COLUMNS, Distances, Group, by_group
from emospec.evaluation.summary import Summary, rows_of_test, summarise_settings
from emospec.evaluation.sweeps import Sweep, find_sweeps
from emospec.report import figures
from emospec.report.published import Published, is_the_papers, published
from emospec.report.words import OVERLAP_LABELS, count, distinct, slug
from emospec.runs.record import RunRecord
from emospec.runs.stored import CorpusFacts, Protocol

# A recall from fewer test utterances than this moves by more than 3 points with a single one.
_FEW_UTTERANCES = 30
# A figure whose SVG is larger is put into the page as PNG.
_LARGEST_SVG_BYTES = 400_000


@dataclass(frozen=True)
class Section:
    """All runs of one protocol, on the same corpora and classes.

    Attributes:
        number: of the section in the report, from 1.
        runs: in any order.
        shared: overrides that all runs have, which their names leave out.
    """

    number: int
    runs: tuple[RunRecord, ...]
    shared: tuple[str, ...] = ()

    @cached_property
    def summaries(self) -> list[Summary]:
        """The settings: by preset, in order of appearance; then by lambda and alpha."""
        presets = distinct(run.meta.preset for run in self.runs)

        def order(summary: Summary) -> tuple[int, float, float]:
            run, loss = summary.runs[0], summary.runs[0].settings.loss
            return presets.index(run.meta.preset), loss.center_weight, loss.center_rate

        return sorted(summarise_settings(self.runs), key=order)

    @property
    def protocol(self) -> Protocol:
        """The protocol of the first run; `protocol_values` has the values of all."""
        return self.runs[0].meta.protocol

    def protocol_values(self, key: str) -> list[str]:
        """Return the different values of a key of the runs' protocols."""
        return distinct(str(getattr(run.meta.protocol, key)) for run in self.runs)

    @property
    def corpora(self) -> tuple[CorpusFacts, ...]:
        """The facts of each corpus."""
        return self.runs[0].meta.corpora

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the confusion matrix."""
        return self.runs[0].classes

    @property
    def speaker_overlap(self) -> bool | None:
        """Whether any run's test speakers are in its training or dev; None where that is unknown."""
        return any_overlap(summary.speaker_overlap for summary in self.summaries)

    @property
    def overlap_words(self) -> str:
        """The sentences on speaker overlap; of more than two, the first that agrees with the whole section's."""
        sentences = self.protocol_values("overlap_words")
        if len(sentences) <= 2:
            return "; ".join(sentences)
        protocols = [run.meta.protocol for run in self.runs]
        first = next(p.overlap_words for p in protocols if p.speaker_overlap is self.speaker_overlap)
        alike = len({p.speaker_overlap for p in protocols}) == 1
        return f"{first}; and so in {'the other' if alike else 'some of the other'} folds"

    @cached_property
    def calibrations(self) -> list[tuple[Summary, Calibration]]:
        """The calibration of each setting."""
        return [(summary, calibrate(summary.runs)) for summary in self.summaries]

    def groups(self, summary: Summary) -> list[tuple[str, list[Group]]]:
        """Return the columns that tell test utterances apart, each with the scores of its groups, worst first."""
        rows = rows_of_test(summary.runs)
        columns = ((column, by_group(rows, column, self.classes)) for column in GROUP_COLUMNS)
        return [(column, groups) for column, groups in columns if groups]

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """The contrasts: one for each group of settings that differ in centre loss alone."""
        return contrasts(self.summaries)

    @cached_property
    def sweeps(self) -> list[Sweep]:
        """Settings that differ in one key alone."""
        return find_sweeps(self.summaries)

    @property
    def source_of_numbers(self) -> str:
        """The source of this section's numbers, to stand beside numbers from elsewhere."""
        titles = " + ".join(corpus.title for corpus in self.corpora)
        protocol = f"{self.protocol.name} ({OVERLAP_LABELS[self.speaker_overlap]})"
        return f"{titles}, {len(self.classes)} classes, {protocol}"

    @cached_property
    def is_the_papers(self) -> bool:
        """Whether corpus, classes, protocol and settings are the paper's, so that its numbers compare."""
        return all(is_the_papers(run) for run in self.runs)

    @property
    def published(self) -> list[tuple[Summary, Published]]:
        """The settings that the paper has too, with its numbers."""
        return [(s, paper) for s in self.summaries if (paper := published(s))]

    @property
    def published_gains(self) -> list[tuple[Pair, float, float]]:
        """The gain of centre loss at the paper's lambda and alpha: ours in pairs, then its UA and WA."""
        gains = []
        losses = ((s, s.runs[0].settings.loss) for s, _ in self.published)
        # The paper's four settings have lambda 0, or lambda 0.3 and alpha 0.5.
        four = [s for s, k in losses if not k.center_weight or (k.center_weight, k.center_rate) == (0.3, 0.5)]
        for contrast in contrasts(four):
            before, after = (s and published(s) for s in (contrast.without, contrast.with_))
            if contrast.pair and before and after:
                gains.append((contrast.pair, after.ua - before.ua, after.wa - before.wa))
        return gains

    @property
    def audit(self) -> list[tuple[str, str, list[str]]]:
        """Check, verdict and words over the runs; a verdict that is not that of all runs is counted."""
        rows = []
        for check in distinct(finding.check for run in self.runs for finding in run.meta.audit.findings):
            findings = [f for run in self.runs for f in run.meta.audit.findings if f.check == check]
            verdicts = Counter(str(f.verdict) for f in findings)
            runs = count(len(self.runs), "run")
            verdict = ", ".join(f"{v} in {n} of {runs}" for v, n in verdicts.items())
            if len(verdicts) == 1 and len(findings) == len(self.runs):
                verdict = str(findings[0].verdict)
            # Without a fail the passes stand first, and the notes behind them.
            worst = "fail" if "fail" in verdicts else "pass"
            worst_first = sorted(findings, key=lambda f: f.verdict != worst)
            rows.append((check, verdict, distinct(f.words for f in worst_first)))
        return rows

    @property
    def leaks(self) -> list[str]:
        """The failed checks of all audits, each once; `overlap_words` says whether speakers are shared."""
        leaks = (leak for run in self.runs for leak in run.meta.audit.leaks if leak.check != "speakers")
        return distinct(f"{leak.check}: {leak.words}" for leak in leaks)

    @property
    def counts(self) -> list[tuple[str, list[str]]]:
        """Utterances by class and part, as "98" or, where runs differ, "98–103"; then all classes."""
        rows = []
        for name, chosen in (*((c, (c,)) for c in self.classes), ("all", self.classes)):
            cells = []
            for part in PARTS:
                sums = [sum(run.meta.counts[part].get(c, 0) for c in chosen) for run in self.runs]
                cells.append("–".join(map(str, sorted({min(sums), max(sums)}))))
            rows.append((name, cells))
        return rows

    def distances(self, summary: Summary, part: str) -> tuple[float, float, float]:
        """Return means over a setting's runs: distances of z within and between classes, and their ratio."""
        stored = [run.scores.distances[part] for run in summary.runs]
        # Null in JSON is NaN.
        numbers = np.array([(d.within, d.between) for d in stored], np.float64)
        of_runs = [Distances(*row) for row in numbers.tolist()]
        within, between, ratio = np.mean([(d.within, d.between, d.ratio) for d in of_runs], axis=0)
        return float(within), float(between), float(ratio)

    @property
    def limits(self) -> list[str]:
        """Sentences on what the numbers of this section do not cover, each from a fact of the runs."""
        return [*_limits_of_speech(self), *_limits_of_counts(self), *_limits_of_runs(self)]

    def pictures(self, folder: Path) -> dict[str, Any]:
        """Draw this section's figures into a folder; return data URIs, with the summaries or runs they show."""
        folder.mkdir(parents=True, exist_ok=True)

        def draw(name: str, figure: Figure) -> str:
            stem = folder / slug(f"{self.number}-{self.protocol.name}-{name}")
            png, svg = figures.save(figure, stem)
            # The figure itself as an address, so that the page needs no file beside it.
            path, kind = (svg, "svg+xml") if svg.stat().st_size <= _LARGEST_SVG_BYTES else (png, "png")
            return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"

        # The first fold that ran both with and without centre loss, or else the first at all.
        panels = [
            c.run_pairs[0] if c.run_pairs else (min(c.either.runs, key=lambda run: run.place),)
            for c in self.contrasts
        ]
        settings = [(s, c, s.setting) for s, c in self.calibrations]
        sweeps = enumerate(self.sweeps, start=1)
        return {
            "confusion": [
                (s, draw(f"confusion-{name}", figures.confusion_figure(s))) for s, _, name in settings
            ],
            "reliability": [
                draw(f"reliability-{name}", figures.reliability_figure(c, name)) for _, c, name in settings
            ],
            "recall": draw("recall", figures.recall_bars(self.summaries)),
            "curves": draw("curves", figures.learning_curves(self.summaries)),
            "sweeps": [
                (sweep, draw(f"sweep-{sweep.key}-{n}", figures.sweep_bars(sweep))) for n, sweep in sweeps
            ],
            "pca": [(runs, draw(f"pca-{runs[0].variant}", figures.pca_panels(*runs))) for runs in panels],
        }


def _limits_of_speech(section: Section) -> list[str]:
    rows = rows_of_test(section.runs)
    languages = sorted({str(value) for value in rows["language"].unique()} - {""})
    speakers = {pair for pair in zip(rows["corpus"], rows["speaker"], strict=True) if pair[1]}
    who = count(len(speakers), "speaker") if speakers else "unknown speakers"
    covered = f"Tested on {who} of {' and '.join(corpus.title for corpus in section.corpora)}"
    if languages:
        covered += f" (language: {', '.join(languages)})"
    if styles := distinct(corpus.speech for corpus in section.corpora if corpus.speech):
        covered += f", {' and '.join(styles)} speech"
    overlap = {
        True: "Test speakers are also in training or dev: the numbers do not cover unknown speakers.",
        False: "No test speaker is in training or dev.",
        None: "Not all speakers are known: test speakers may also be in training or dev.",
    }
    return [
        overlap[section.speaker_overlap],
        f"{covered}; other speakers, languages, rooms and microphones were not tested.",
        f"Every utterance had to be one of {len(section.classes)} classes: {', '.join(section.classes)}.",
    ]


def _limits_of_counts(section: Section) -> list[str]:
    # An utterance that several repeats test counts once.
    tested = rows_of_test(section.summaries[0].runs).drop_duplicates("utterance")["target"].value_counts()
    totals = {name: int(tested.get(name, 0)) for name in section.classes}
    few = [f"{name} ({n})" for name, n in totals.items() if 0 < n < _FEW_UTTERANCES]
    none = ", ".join(name for name, n in totals.items() if n == 0)
    limits = [f"Recall rests on few test utterances for {', '.join(few)}."] if few else []
    if none:
        limits.append(f"No test utterance of {none}: no recall there, and UA is the mean of the others.")
    return limits


def _limits_of_runs(section: Section) -> list[str]:
    limits = []
    single = [s.setting for s in section.summaries if len(s.runs) == 1]
    if single:
        limits.append(f"A single run each of {'; '.join(single)}: how far the numbers vary is not known.")
    if len(single) < len(section.summaries):
        limits.append(
            "Deviations are over runs whose training sets overlap: they are no confidence intervals."
        )
    # Settings of which the same number of folds were run share a sentence.
    partial: dict[str, list[str]] = {}
    for summary in section.summaries:
        done = {run.place for run in summary.runs}
        asked = section.protocol.folds * len({repeat for repeat, _ in done})
        if len(done) < asked:
            partial.setdefault(f"{len(done)} of {asked} folds were run of", []).append(summary.setting)
    limits += [f"{words} {'; '.join(settings)}." for words, settings in partial.items()]
    seeds = distinct(str(run.meta.seed) for run in section.runs)
    starts = [(run.setting, run.meta.protocol.hash, run.place[1]) for run in section.runs]
    if len(seeds) == 1 and len(set(starts)) == len(starts):
        limits.append(f"One seed ({seeds[0]}): no fold was trained from a second random start.")
    return limits
