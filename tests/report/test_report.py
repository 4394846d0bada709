"""The report shows what the run folders hold: no more, no less, and nothing from elsewhere."""

import base64
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emospec.cli.tables import OVERLAP_TITLES, print_summaries
from emospec.config import Settings, load_settings
from emospec.data.audit import Audit, Finding
from emospec.errors import RunError
from emospec.evaluation.calibration import calibrate
from emospec.evaluation.metrics import (
    by_group,
    class_distances,
    confusion_matrix,
    recalls,
    unweighted_accuracy,
    weighted_accuracy,
)
from emospec.evaluation.statistics import interval
from emospec.evaluation.summary import speaker_counts, summarise, summarise_settings
from emospec.files import write_json
from emospec.report import figures
from emospec.report.page import write_report
from emospec.report.published import is_the_papers
from emospec.report.section import Section
from emospec.report.words import verdict
from emospec.runs.record import RunRecord, read_run
from fake_runs import changed

CLASSES = ("neutral", "angry", "sad")
DEPENDENT = {
    "name": "dai2019",
    "words": "Stratified by session, sex and emotion; fold k tests on part 2k + 1, selects on part 2k.",
    "speaker_overlap": True,
    "overlap_words": "10 of 10 test speakers are also in training (speaker-dependent)",
}
INDEPENDENT = {
    "name": "leave-one-speaker-out",
    "words": "Each fold tests on one speaker.",
    "speaker_overlap": False,
    "overlap_words": "0 of 1 test speakers are also in training (speaker-independent)",
}


def scored(targets: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """One part of scores.json from class indices (utterances,)."""
    confusion = confusion_matrix(targets, predicted, len(classes))
    return {
        "UA": unweighted_accuracy(confusion),
        "WA": weighted_accuracy(confusion),
        "recall": dict(zip(classes, recalls(confusion).tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "utterances": int(confusion.sum()),
    }


def report_run(
    folder: Path,
    *,
    weight: float = 0.0,
    rate: float = 0.5,
    fold: int = 1,
    folds: int = 5,
    repeat: int = 0,
    seed: int = 0,
    preset: str = "dai2019-mel",
    classes: tuple[str, ...] = CLASSES,
    protocol: dict[str, Any] = DEPENDENT,
    confusion: list[list[int]] | None = None,
    sizes: tuple[int, int, int] = (60, 12, 12),
    spread: float = 1.0,
    steps: int = 110,
    audit: tuple[Finding, ...] = (),
) -> RunRecord:
    """A finished run folder after the contract; `confusion` fixes the test predictions."""
    rng = np.random.default_rng([fold, repeat, int(weight * 1000), seed])
    centers = rng.normal(0, 2, (len(classes), 64))
    draw = np.random.default_rng([fold, repeat, seed])  # the same test set with and without centre loss
    z, labels, guesses, parts, scores = [], [], [], [], {}
    for part, size in zip(("train", "dev", "test"), sizes, strict=True):
        targets = draw.permutation(np.arange(size) % len(classes))
        predicted = np.where(
            rng.random(size) < 0.7 + 0.05 * (weight > 0), targets, rng.integers(0, len(classes), size)
        )
        if part == "test" and confusion is not None:
            cells = np.array(confusion)
            targets, predicted = (
                np.repeat(index, cells.ravel()) for index in np.indices(cells.shape).reshape(2, -1)
            )
        loose = spread * (1.0 if part == "train" else 1.5)
        z.append(centers[targets] + rng.normal(0, loose, (len(targets), 64)))
        labels.append(np.array(classes)[targets])
        guesses.append(np.array(classes)[predicted])
        parts.append(np.full(len(targets), part))
        if part != "train":
            scores[part] = scored(targets, predicted, classes)
    folder.mkdir(parents=True)
    features = {
        "z": np.concatenate(z).astype(np.float32),
        "label": np.concatenate(labels),
        "part": np.concatenate(parts),
    }
    features["utterance"] = np.array([f"u{i:05d}" for i in range(len(features["z"]))])
    np.savez(folder / "features.npz", **features)
    distances = {}
    for part in ("train", "test"):
        inside = features["part"] == part
        means = class_distances(features["z"][inside], features["label"][inside])
        distances[part] = {"within": means.within, "between": means.between}
    counts = {
        part: dict(Counter(features["label"][features["part"] == part].tolist()))
        for part in ("train", "dev", "test")
    }
    meta = {
        "emospec": "1.0.0",
        "preset": preset,
        "commit": "abc1234",
        "created": "2025-01-02T03:04:05+00:00",
        "command": f"emospec train {preset} --fold {fold}",
        "versions": {"python": "3.11.9", "torch": "2.6.0", "numpy": "2.1.0"},
        "hardware": {"processor": "Fake CPU", "cores": 2, "threads": 1, "device": "cpu"},
        "seed": seed,
        "steps": steps,
        "seconds": 312.4,
        "classes": list(classes),
        "protocol": {**protocol, "fold": fold, "folds": folds, "repeat": repeat, "hash": f"{repeat:064x}"},
        "corpora": [
            {
                "name": "emodb",
                "title": "Berlin Database of Emotional Speech",
                "licence": "CC0 1.0",
                "citation": "F. Burkhardt et al., A Database of German Emotional Speech, Interspeech 2005.",
                "utterances": sum(sizes),
                "speakers": 10,
            }
        ],
        "counts": counts,
        "parameters": 630000,
        "pack": {"folder": "packs/emodb", "digest": "d", "skipped": 0},
        "audit": asdict(Audit(audit)),
    }
    logged = np.arange(11, steps + 1, 11)
    softmax = 1.4 * np.exp(-logged / (0.4 * steps)) + 0.2 + rng.normal(0, 0.03, len(logged))
    center = 1 + 3 * np.exp(-logged / (0.3 * steps))
    dev_ua = scores["dev"]["UA"] - 0.4 * (1 - logged / steps) ** 2
    dev_ua[logged < 0.06 * steps] = np.nan
    pd.DataFrame(
        {
            "step": logged,
            "epoch": logged / 10,
            "loss": softmax + weight * center,
            "softmax_loss": softmax,
            "center_loss": center,
            "seconds": logged * 0.3,
            "dev_ua": dev_ua,
            "dev_wa": dev_ua,
        }
    ).to_csv(folder / "history.csv", index=False)
    names = features["label"][features["part"] != "train"]
    pd.DataFrame(
        {
            "utterance": features["utterance"][features["part"] != "train"],
            "part": features["part"][features["part"] != "train"],
            "corpus": "emodb",
            "speaker": [f"{i % 10 + 3:02d}" for i in range(len(names))],
            "sex": "m",
            "language": "de",
            "text": "",
            "target": names,
            "predicted": np.concatenate(guesses[1:]),
        }
        | {
            f"p_{name}": np.where(np.concatenate(guesses[1:]) == name, 0.7, 0.3 / (len(classes) - 1))
            for name in classes
        }
    ).to_csv(folder / "predictions.csv", index=False)
    whole = {"classes": list(classes), "selected_step": int(logged[-1]), **scores, "distances": distances}
    write_json(folder / "scores.json", whole)
    write_json(folder / "meta.json", meta)
    (folder / "config.toml").write_text(
        f"name = {json.dumps(preset)}\n\n[data]\nclasses = {json.dumps(list(classes))}\n\n"
        '[frontend]\nkind = "log-mel"\n\n[loss]\n'
        f"center_weight = {float(weight)}\ncenter_rate = {rate}\nwarmup_steps = 20\n\n"
        f"[training]\nsteps = {steps}\n"
    )
    return read_run(folder)


class Page(HTMLParser):
    """A page as a reader's browser sees it: text, tables as rows of cells, and what it would load."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self._cell = self._style = False
        self.feed(self.html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._style = False
        if tag in ("td", "th"):
            self._cell = False
            self.tables[-1][-1][-1] = " ".join(self.tables[-1][-1][-1].split())

    def handle_data(self, data: str) -> None:
        if self._style:
            return
        self.words.append(data)
        if self._cell:
            self.tables[-1][-1][-1] += data

    def table(self, *heads: str) -> list[list[str]]:
        """The rows below the first table head that starts with these cells."""
        return next(table[1:] for table in self.tables if table[0][: len(heads)] == list(heads))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> list[RunRecord]:
    """Two folds without and with centre loss, their test confusions given; with comes first."""
    root = tmp_path_factory.mktemp("runs")
    confusions = {
        (0.3, 1): [[6, 0, 0], [0, 4, 0], [0, 0, 2]],  # UA (1 + 1 + 1) / 3, WA 12/12
        (0.3, 2): [[5, 1, 0], [0, 4, 0], [0, 1, 1]],  # UA (5/6 + 1 + 1/2) / 3, WA 10/12
        (0.0, 1): [[6, 0, 0], [2, 2, 0], [0, 1, 1]],  # UA (1 + 1/2 + 1/2) / 3, WA 9/12
        (0.0, 2): [[6, 0, 0], [0, 4, 0], [0, 1, 1]],  # UA (1 + 1 + 1/2) / 3, WA 11/12
    }
    return [
        report_run(root / f"{weight}-{fold}", weight=weight, fold=fold, confusion=cells)
        for (weight, fold), cells in confusions.items()
    ]


@pytest.fixture(scope="module")
def written(four: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(four, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written)


def test_results_are_those_computed_by_hand(page: Page) -> None:
    without, with_ = page.table("setting", "UA %", "95 % interval", "±", "WA %", "95 % interval", "±")
    assert (*without[:2], *without[3:5], without[6]) == ("dai2019-mel, λ 0", "75.0", "11.8", "83.3", "11.8")
    assert (*with_[:2], *with_[3:5], with_[6]) == (
        "dai2019-mel, λ 0.3, α 0.5",
        "88.9",
        "15.7",
        "91.7",
        "11.8",
    )
    assert without[-1] == with_[-1] == "mean over 2 runs"
    assert "UA 88.9 %, without 75.0 %: +13.9 points over 2 runs, 95 % interval by speaker " in page.text
    assert "higher in 1 of 2 pairs" in page.text
    assert page.table("setting", *CLASSES) == [
        ["dai2019-mel, λ 0", "100.0", "75.0", "50.0"],
        ["dai2019-mel, λ 0.3, α 0.5", "91.7", "100.0", "75.0"],
    ]


def test_intervals_are_those_of_the_statistics(four: list[RunRecord], page: Page) -> None:
    for row, runs in zip(page.table("setting", "UA %"), (four[2:], four[:2]), strict=True):
        for cell, metric in ((row[2], "UA"), (row[5], "WA")):
            expected = interval(speaker_counts(runs), metric)
            assert cell == f"{100 * expected.low:.1f}–{100 * expected.high:.1f}"
    assert "they cover the sampling of speakers, not retraining" in page.text


def test_calibration_and_groups_are_those_of_the_evaluation(four: list[RunRecord], page: Page) -> None:
    row = page.table("setting", "temperature")[1]
    expected = calibrate(four[:2])
    assert row[2:4] == [f"{100 * expected.before.error:.1f}", f"{100 * expected.after.error:.1f}"]
    assert row[4] == "91.7"  # WA: at full coverage nothing is abstained on
    groups = [row for row in page.table("setting", "by") if row[1] == "speaker"]
    test = pd.concat([table[table["part"] == "test"] for table in (run.predictions() for run in four[:2])])
    worst = by_group(test, "speaker", CLASSES)[0]
    assert groups[1][3] == f"{worst.name}: {100 * worst.ua:.1f} % ({worst.utterances})"


def test_the_protocol_and_its_speaker_overlap_are_shown(page: Page) -> None:
    badges = [
        attributes for tag, attributes in page.tags if (attributes.get("class") or "").startswith("badge")
    ]
    assert badges
    assert page.text.count("10 of 10 test speakers are also in training (speaker-dependent)") == 2
    assert DEPENDENT["words"] in page.text
    assert "speaker-independent" not in page.text


@pytest.mark.parametrize(
    ("overlaps", "badge"),
    [([False, False], False), ([False, True], True), ([False, None], None), ([None, True], True)],
)
def test_one_speaker_dependent_fold_makes_a_section_so(
    tmp_path: Path,
    overlaps: list[bool | None],
    badge: bool | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = [
        report_run(tmp_path / str(i), fold=i, protocol={**INDEPENDENT, "speaker_overlap": overlap})
        for i, overlap in enumerate(overlaps, start=1)
    ]
    assert Section(1, tuple(runs)).speaker_overlap is badge
    assert summarise(runs).speaker_overlap is badge
    print_summaries([summarise(runs)], False, {})
    assert OVERLAP_TITLES[badge][:20] in capsys.readouterr().out


def test_of_many_folds_one_sentence_on_speaker_overlap_is_shown(tmp_path: Path) -> None:
    runs = [
        report_run(
            tmp_path / str(fold),
            fold=fold,
            protocol=INDEPENDENT | {"speaker_overlap": fold == 2, "overlap_words": f"words of {fold}"},
        )
        for fold in (1, 2, 3)
    ]
    assert Section(1, tuple(runs)).overlap_words == "words of 2; and so in some of the other folds"
    assert Section(1, (runs[0], runs[2])).overlap_words == "words of 1; words of 3"


@pytest.mark.full
def test_protocols_never_share_a_table_and_are_summed_up_each_in_its_way(tmp_path: Path) -> None:
    cells = {1: [[4, 0, 0], [0, 0, 0], [0, 0, 0]], 2: [[0, 0, 0], [1, 1, 0], [0, 0, 2]]}
    runs = [
        report_run(
            tmp_path / f"{protocol['name']}-{fold}", preset=preset, fold=fold, protocol=protocol, confusion=c
        )
        for fold, c in cells.items()
        for preset, protocol in (("known", DEPENDENT), ("unknown", INDEPENDENT))
    ]
    page = Page(write_report(runs, tmp_path / "out"))
    for table in page.tables:
        assert not {"known, λ 0", "unknown, λ 0"} <= {row[0] for row in table}
    known, unknown = (table[1] for table in page.tables if table[0][:2] == ["setting", "UA %"])
    assert (known[1], known[-1]) == ("87.5", "mean over 2 runs")  # (1 + (1/2 + 1) / 2) / 2
    assert (unknown[1], unknown[-1]) == ("83.3", "pooled test predictions of 2 runs")  # (1 + 1/2 + 1) / 3
    assert "do not compare with one another, least of all speaker-dependent" in page.text


def test_page_loads_nothing_from_elsewhere(page: Page) -> None:
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert (attributes.get("src") or "data:").startswith("data:")
        if "href" in attributes:
            assert (tag, attributes["href"]) == ("a", "https://arxiv.org/abs/2501.01103")
    assert not re.search(r"url\(|@import", page.html)
    pictures = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 7  # two confusions, two reliabilities, recall, curves, PCA
    for picture in pictures:
        drawing = base64.b64decode(picture.partition("base64,")[2])
        assert not re.search(rb"href=\"(?!#|data:)|<script", drawing)


def test_every_image_has_words_and_files(page: Page, written: Path) -> None:
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    names = {path.name for path in (written.parent / "figures").iterdir()}
    stems = {name[:-4] for name in names}
    assert names == {stem + ending for stem in stems for ending in (".png", ".svg")}
    assert "1-dai2019-confusion-dai2019-mel-lambda-0.3-alpha-0.5" in stems
    assert sorted(path.name for path in written.parent.iterdir()) == ["figures", "report.html"]


def test_each_pca_panel_is_a_pca_of_its_own(four: list[RunRecord]) -> None:
    figure = figures.pca_panels(four[2], four[0])
    panels = [(run, part) for run in (four[2], four[0]) for part in ("train", "test")]
    assert len(figure.axes) == 4
    for axes, (run, part) in zip(figure.axes, panels, strict=True):
        features = run.features()
        z = features["z"][features["part"] == part].astype(np.float64)
        labels = features["label"][features["part"] == part]
        left, singular, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
        expected = left[:, :2] * singular[:2]
        share = 100 * singular**2 / (singular**2).sum()
        drawn = {c.get_label(): np.asarray(c.get_offsets()) for c in axes.collections}
        assert set(drawn) == set(CLASSES)
        for axis in (0, 1):
            got = np.concatenate([drawn[name][:, axis] for name in CLASSES])
            wanted = np.concatenate([expected[labels == name, axis] for name in CLASSES])
            assert np.allclose(got, wanted, atol=1e-6) or np.allclose(got, -wanted, atol=1e-6)
        assert axes.get_xlabel() == f"PC 1 ({share[0]:.1f} %)"
        assert axes.get_ylabel() == f"PC 2 ({share[1]:.1f} %)"
        assert axes.get_aspect() == 1.0
    assert len(figure.legends) == 1


def test_a_pca_of_too_few_utterances_is_not_drawn(tmp_path: Path) -> None:
    figure = figures.pca_panels(report_run(tmp_path / "run", sizes=(60, 12, 2)))
    assert [text.get_text() for text in figure.axes[1].texts] == ["n/a: fewer than 3 utterances"]
    assert not figure.axes[1].collections


def test_confusion_shows_counts_and_shares_of_each_true_class(four: list[RunRecord]) -> None:
    summary = summarise(four[2:])
    texts = [text.get_text() for text in figures.confusion_figure(summary).axes[0].texts]
    assert [int(text) for text in texts if not text.endswith("%")] == [12, 0, 0, 2, 6, 0, 0, 2, 2]
    shares = [text for text in texts if text.endswith("%")]
    assert shares == ["100 %", "0 %", "0 %", "25 %", "75 %", "0 %", "0 %", "50 %", "50 %"]


def test_curves_are_the_runs_and_their_mean(four: list[RunRecord]) -> None:
    loss, dev = figures.learning_curves(summarise_settings(four[2:])).axes
    histories = [run.history() for run in four[2:]]
    assert len(loss.lines) == 3
    assert np.allclose(loss.lines[2].get_ydata(), (histories[0]["loss"] + histories[1]["loss"]) / 2)
    chosen = [(run.scores.selected_step, run.scores.dev.ua) for run in four[2:]]
    assert np.asarray(dev.lines[-1].get_xydata()).tolist() == [list(dot) for dot in chosen]


@pytest.mark.full
def test_a_sweep_shows_the_choice_of_dev_and_the_papers_numbers(tmp_path: Path) -> None:
    wrong = {0.3: 1, 0.03: 0, 0: 4}  # of 6 neutral test utterances
    runs = [
        report_run(
            tmp_path / f"{weight}-{fold}",
            weight=weight,
            fold=fold,
            confusion=[[6 - n, n, 0], [0, 4, 0], [0, 0, 2]],
            sizes=(60, 300, 12),
        )
        for weight, n in wrong.items()
        for fold in (1, 2)
    ]
    runs = [
        replace(run, scores=changed(run.scores, dev={"UA": dev}))
        for run, dev in zip(runs, (0.9, 0.7, 0.6, 0.8, 0.5, 0.5), strict=True)
    ]
    page = Page(write_report(runs, tmp_path / "report"))
    rows = page.table("λ", "dev UA %", "folds", "UA %")
    assert [row[0] for row in rows] == ["0", "0.03", "0.3", "chosen by dev in each fold"]
    assert [row[1] for row in rows] == ["50.0", "70.0", "80.0", "85.0"]
    assert [row[2] for row in rows] == ["0", "1", "1", "2"]
    # Per fold 0.3 (neutral 5/6), then 0.03 (6/6): dai2019 takes the mean of 17/18 and 1.
    assert [row[3] for row in rows] == ["77.8", "100.0", "94.4", "97.2"]
    assert rows[2][5] == "chosen by dev"
    assert [row[5] for row in rows[:2]] == ["+16.7", "−5.6"]
    assert "dev chooses λ 0.3" in page.text
    beside = page.table("setting", "our UA %", "published UA %", "our WA %", "published WA %")
    assert [row[2] for row in beside] == ["63.80", "65.71", "66.86", "+3.06"]
    assert [row[4] for row in beside] == ["61.83", "63.98", "65.40", "+3.57"]
    assert beside[3][1].startswith("+16.7")
    assert "IEMOCAP, 4 classes, dai2019 (speaker-dependent)" in page.text
    assert "Other recordings, classes, settings or protocol: the columns do not compare" in page.text
    axes = figures.sweep_bars(Section(1, tuple(runs)).sweeps[0]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.03", "0.3"]
    diamonds = axes.collections[-1].get_offsets()[:, 1].tolist()
    assert diamonds == pytest.approx([0.6183, 0.6398, 0.6540])


def test_only_the_papers_own_runs_compare_with_its_numbers(tmp_path: Path) -> None:
    run = report_run(tmp_path / "run", weight=0.3)
    four = ["neutral", "happy", "angry", "sad"]
    settings = Settings.model_validate(load_settings("dai2019-mel").model_dump())
    meta = changed(run.meta, corpora=[{"name": "iemocap"}], classes=four)
    assert is_the_papers(replace(run, settings=settings, meta=meta))
    shorter = changed(settings, training=changed(settings.training, steps=12))
    assert not is_the_papers(replace(run, settings=shorter, meta=meta))
    for change in ({"classes": ["neutral", "happy", "angry", "fearful"]}, {"corpora": [{"name": "emodb"}]},
                   {"preset": "dai2019-mine"}, {"protocol": changed(run.meta.protocol, name="sessions")}):  # fmt: skip
        assert not is_the_papers(replace(run, settings=settings, meta=changed(meta, **change)))


def test_each_corpus_of_a_pool_has_its_own_ua_and_the_same_weight_in_their_mean(tmp_path: Path) -> None:
    run = report_run(tmp_path / "run", confusion=[[4, 2, 0], [0, 4, 0], [0, 0, 2]])
    table = run.predictions()
    wrong = table["target"] != table["predicted"]
    test = table["part"] == "test"
    # nemo: both mistakes, one neutral and all sad; emodb: the rest.
    neutral_right = table.index[test & ~wrong & (table["target"] == "neutral")]
    nemo = (test & wrong) | table.index.isin(neutral_right[:1]) | (test & (table["target"] == "sad"))
    table.assign(corpus=np.where(nemo, "nemo", "emodb")).to_csv(
        tmp_path / "run" / "predictions.csv", index=False
    )
    corpora = run.meta.corpora
    changed(run.meta, corpora=[*corpora, changed(corpora[0], name="nemo")]).write(run.files.meta)
    page = Page(write_report([read_run(tmp_path / "run")], tmp_path / "report"))
    [row] = page.table("setting", "emodb", "nemo", "plain mean")
    # emodb: neutral 3/3, angry 4/4; nemo: neutral 1/3, sad 2/2.
    assert [cell.split()[0] for cell in row[1:]] == ["100.0", "66.7", "83.3"]


def test_the_audit_is_shown_and_a_leak_stands_beside_the_number(tmp_path: Path) -> None:
    clean = Finding("duplicates", "pass", "no recording is in two sets with the same samples")
    leak = Finding("duplicates", "fail", "the same samples in two sets: 1 pair in test and training: a and b")
    note = Finding("duplicates inside a set", "note", "none")
    runs = [
        report_run(tmp_path / "1", fold=1, audit=(clean, note)),
        report_run(tmp_path / "2", fold=2, audit=(leak, note)),
    ]
    page = Page(write_report(runs, tmp_path / "report"))
    first, second = page.table("check", "verdict", "why")
    assert first[:2] == ["duplicates", "pass in 1 of 2 runs, fail in 1 of 2 runs"]
    assert first[2].startswith(leak.words)
    assert second == ["duplicates inside a set", "note", "none"]
    assert f"leak duplicates: {leak.words}" in page.text.split("Results")[0]
    other = Page(write_report(runs[:1], tmp_path / "clean"))
    assert "leak duplicates" not in other.text
    unaudited = report_run(tmp_path / "3")
    assert "These runs were not audited" in Page(write_report([unaudited], tmp_path / "old")).text


def test_of_several_weights_dev_chooses_the_one_to_compare(tmp_path: Path) -> None:
    runs = []
    for weight, dev, wrong in ((0, 0.9, 0), (0.03, 0.6, 0), (0.3, 0.8, 2), (3, 0.7, 1)):
        run = report_run(
            tmp_path / str(weight), weight=weight, confusion=[[4 - wrong, wrong, 0], [0, 4, 0], [0, 0, 4]]
        )
        runs.append(replace(run, scores=changed(run.scores, dev=changed(run.scores.dev, UA=dev))))
    [contrast] = Section(1, tuple(runs)).contrasts
    assert contrast.with_ is not None
    assert contrast.with_.runs == (runs[2],)  # the worst on test
    assert "the best of 3 on dev" in verdict(contrast)


def test_pairs_are_of_the_same_fold_and_missing_folds_are_named(tmp_path: Path) -> None:
    runs = [
        report_run(tmp_path / f"{w}-{f}", weight=w, fold=f) for w, f in ((0, 3), (0, 2), (0.3, 1), (0.3, 2))
    ]
    section = Section(1, tuple(runs))
    assert section.contrasts[0].run_pairs == [(runs[1], runs[3])]
    assert (
        "from a single run each on the same folds (2 runs without a partner left out), 95 % interval"
        in verdict(section.contrasts[0])
    )
    assert "2 of 5 folds were run of dai2019-mel, λ 0; dai2019-mel, λ 0.3, α 0.5." in section.limits


def test_one_run_is_a_report(tmp_path: Path) -> None:
    run = report_run(tmp_path / "run", weight=0.3, confusion=[[3, 1, 0], [0, 0, 0], [0, 0, 0]])
    page = Page(write_report([run], tmp_path / "out", title="A title"))
    row = page.table("setting", "UA %")[0]
    assert row[1] == "75.0"
    assert page.table("setting", "part")[1][3] == "n/a a run has one class"
    assert page.table("class", "train")[1][3] == "0"
    assert row[3] == "n/a one run"
    assert "none to compare with" in page.text
    assert "A single run each of dai2019-mel, λ 0.3, α 0.5" in page.text
    assert "A title" in page.words
    assert len(figures.pca_panels(run).axes) == 2


def test_distances_are_means_over_runs(four: list[RunRecord], page: Page) -> None:
    stored = [run.scores.distances["test"] for run in four[2:]]
    within, between = (np.mean([getattr(d, key) for d in stored]) for key in ("within", "between"))
    ratio = np.mean([d.within / d.between for d in stored])
    assert ["dai2019-mel, λ 0", "test", f"{within:.2f}", f"{between:.2f}", f"{ratio:.2f}"] in page.table(
        "setting", "part"
    )


def test_data_and_provenance_are_shown(page: Page) -> None:
    assert "(dai2019-mel, λ 0 and dai2019-mel, λ 0.3, α 0.5; repeat 0, fold 1)" in page.text
    assert page.table("class", "train", "dev", "test")[0] == ["neutral", "20", "4", "6"]
    assert page.table("class", "train", "dev", "test")[-1] == ["all", "60", "12", "12"]
    assert page.table("corpus")[0][3:] == [
        "CC0 1.0",
        "F. Burkhardt et al., A Database of German Emotional Speech, Interspeech 2005.",
    ]
    for words in ("emospec train dai2019-mel --fold 2", "1.0.0, commit abc1234", "torch 2.6.0", "Fake CPU"):
        assert words in page.text
    assert "20 min 50 s for 4 runs" in page.text  # 4 x 312.4 s
    assert "One seed (0)" in page.text
    assert "center_weight = 0.3" in page.text


def test_counts_of_unequal_folds_are_a_range(tmp_path: Path) -> None:
    runs = [report_run(tmp_path / str(n), fold=n, sizes=(57 + 3 * n, 12, 12)) for n in (1, 2)]
    assert Section(1, tuple(runs)).counts[0] == ("neutral", ["20–21", "4", "4"])


def test_names_from_run_folders_are_escaped(tmp_path: Path) -> None:
    bad = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', r"$\frac{$")
    protocol = {**DEPENDENT, "name": "../../<b>", "words": "<script>2</script>", "overlap_words": "<i>x</i>"}
    runs = [report_run(tmp_path / "run", classes=bad, protocol=protocol, preset="<script>3</script>")]
    out = tmp_path / "deep" / "out"
    page = Page(write_report(runs, out))
    assert not {tag for tag, _ in page.tags} & {"script", "i"}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.table("class")[0][0] == bad[0]
    assert page.table("class")[2][0] == bad[2]
    assert {path.parent for path in tmp_path.rglob("*.png")} == {out / "figures"}


def test_a_class_without_test_utterances_is_not_zero(tmp_path: Path) -> None:
    run = report_run(tmp_path / "run", confusion=[[6, 0, 0], [2, 2, 0], [0, 0, 0]])
    page = Page(write_report([run], tmp_path / "out"))
    assert page.table("setting", *CLASSES)[0] == [run.setting, "100.0", "50.0", "n/a no test utterances"]
    assert "No test utterance of sad" in page.text
    texts = [text.get_text() for text in figures.confusion_figure(summarise([run])).axes[0].texts]
    assert texts[-3:] == ["n/a"] * 3
    bars = figures.recall_bars([summarise([run])]).axes[0]
    assert [text.get_text() for text in bars.texts] == ["100", "50", "n/a"]


@pytest.mark.full
def test_the_same_runs_give_the_same_bytes(four: list[RunRecord], written: Path, tmp_path: Path) -> None:
    assert write_report(four, tmp_path).read_bytes() == written.read_bytes()


def test_no_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no runs to report"):
        write_report([], tmp_path / "out")
    assert not (tmp_path / "out").exists()
