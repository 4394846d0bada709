"""Sweeps are found among settings, dev chooses among them, and each is compared in pairs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emospec.cli.tables import print_comparison
from emospec.errors import ConfigError, RunError
from emospec.evaluation.comparison import choose_by_dev, compare, contrasts, pair_up
from emospec.evaluation.statistics import holm
from emospec.evaluation.summary import summarise, summarise_settings
from emospec.evaluation.sweeps import find_sweeps
from emospec.experiments.plans import sweep_values
from emospec.report.words import signed, verdict
from emospec.runs.record import RunRecord
from fake_runs import changed, fake_run

SPEAKERS, EACH = 8, 6


def scored_run(folder: Path, right: float, **facts: object) -> RunRecord:
    """Write a run of eight speakers' test utterances, of whose predictions about this share is right."""
    fold = int(str(facts.get("fold", 1)))
    target = np.tile(["angry", "sad"], SPEAKERS * EACH // 2)
    other = np.where(target == "angry", "sad", "angry")
    hit = np.random.default_rng([fold, int(1000 * right)]).random(len(target)) < right
    predicted = np.where(hit, target, other)
    confusion = pd.crosstab(target, predicted).reindex(
        index=["angry", "sad"], columns=["angry", "sad"], fill_value=0
    )
    run = fake_run(folder, confusion.to_numpy().tolist(), **facts)  # type: ignore[arg-type]
    pd.DataFrame(
        {
            "utterance": [f"{fold}-{i}" for i in range(len(target))],
            "part": "test",
            "corpus": "emodb",
            "speaker": np.repeat([f"{fold}-{s}" for s in range(SPEAKERS)], EACH),
            "text": "",
            "target": target,
            "predicted": predicted,
        }
    ).to_csv(folder / "predictions.csv", index=False)
    cells = confusion.to_numpy()
    ua = float(np.mean(np.diag(cells) / cells.sum(axis=1)))
    return replace(run, scores=changed(run.scores, test=changed(run.scores.test, UA=ua)))


def test_sweeps_are_settings_that_differ_in_one_key(tmp_path: Path) -> None:
    runs = [
        scored_run(
            tmp_path / f"{weight}-{rate}-{steps}", 0.8, weight=weight, steps=steps, overrides=[f"x={steps}"]
        )
        for weight, rate, steps in ((0.3, 0.5, 10), (0.0, 0.5, 10), (3.0, 0.5, 10), (0.3, 0.5, 20))
    ]
    sweeps = find_sweeps(summarise_settings(runs))
    assert [(s.key, s.values) for s in sweeps] == [
        ("loss.center_weight", ["0", "0.3", "3"]),
        ("training.steps", ["10", "20"]),
    ]
    assert [s.symbol for s in sweeps] == ["λ", "training.steps"]
    assert find_sweeps(summarise_settings(runs[:2])) == []  # lambda 0 and 0.3: a contrast, no sweep


def test_a_sweep_is_of_one_protocol_and_corpus(tmp_path: Path) -> None:
    runs = [
        scored_run(
            tmp_path / f"{corpus}-{protocol}-{weight}", 0.8, corpus=corpus, protocol=protocol, weight=weight
        )
        for corpus in ("emodb", "ravdess")
        for protocol in ("dai2019", "one-speaker-out")
        for weight in (0.0, 0.3)
    ]
    assert find_sweeps(summarise_settings(runs)) == []
    more = [scored_run(tmp_path / "more", 0.8, corpus="ravdess", protocol="dai2019", weight=3.0)]
    [sweep] = find_sweeps(summarise_settings([*runs, *more]))
    assert {(s.runs[0].corpora, s.runs[0].meta.protocol.name) for s in sweep.summaries} == {
        (("ravdess",), "dai2019")
    }


ASKED = {"protocol": "groups:5", "classes": "all"}


def test_a_protocol_given_in_two_ways_is_the_same(tmp_path: Path) -> None:
    center, other = scored_run(tmp_path / "a", 0.8), scored_run(tmp_path / "b", 0.7, weight=0.0)
    other = replace(other, settings=changed(other.settings, data=ASKED))
    [contrast] = contrasts(summarise_settings([center, other]))
    assert contrast.pair is not None
    twin = scored_run(tmp_path / "c", 0.7, fold=2)
    twin = replace(twin, settings=changed(twin.settings, data=ASKED))
    assert len(summarise([center, twin]).runs) == 2
    twin = replace(twin, meta=changed(twin.meta, overrides=["data.classes=all"]))
    assert len(summarise_settings([center, twin])) == 1


def test_differences_are_to_the_choice_of_dev_and_corrected(tmp_path: Path) -> None:
    right = {0.0: 0.5, 0.3: 0.95, 3.0: 0.6}
    runs = [
        scored_run(
            tmp_path / f"{weight}-{fold}", right[weight], weight=weight, fold=fold, dev_ua=right[weight]
        )
        for weight in right
        for fold in (1, 2)
    ]
    [sweep] = find_sweeps(summarise_settings(runs))
    assert sweep.best_value == "0.3"
    plain, best, strong = sweep.rows
    assert best.comparison is None
    assert (plain.chosen, best.chosen, strong.chosen) == (0, 2, 0)
    pairs = [pair_up(sweep.best, row.summary).comparisons["UA"] for row in (plain, strong)]
    assert [plain.comparison, strong.comparison] == pairs
    assert [plain.p, strong.p] == holm([pair.p for pair in pairs])
    assert [plain.p, strong.p] != [pair.p for pair in pairs]


def test_dev_chooses_in_each_fold_and_test_plays_no_part(tmp_path: Path) -> None:
    runs = {
        (weight, fold): scored_run(tmp_path / f"{weight}-{fold}", right, weight=weight, fold=fold, dev_ua=dev)
        for weight, fold, right, dev in (
            (0.0, 1, 0.9, 0.4), (0.3, 1, 0.6, 0.7),  # dev takes the one that is worse on test
            (0.0, 2, 0.9, 0.8), (0.3, 2, 0.6, 0.7), (0.3, 3, 1.0, 1.0),  # fold 3 is not in both
        )
    }  # fmt: skip
    chosen = choose_by_dev(summarise_settings(list(runs.values())))
    assert chosen.runs == (runs[(0.3, 1)], runs[(0.0, 2)])
    assert chosen.setting == "chosen by dev in each fold"
    pooled = sum(np.array(run.scores.test.confusion) for run in chosen.runs)
    assert chosen.ua == pytest.approx(np.mean(np.diag(pooled) / pooled.sum(axis=1)))


def test_different_fold_lists_are_refused(tmp_path: Path) -> None:
    center = scored_run(tmp_path / "a", 0.8)
    other = scored_run(tmp_path / "b", 0.7, weight=0.0, drawn="second draw")
    for call in (choose_by_dev, lambda pair: pair_up(*pair)):
        with pytest.raises(RunError, match=r"other fold lists\. Train both on the same pack, split and seed"):
            call([summarise([center]), summarise([other])])
    far = scored_run(tmp_path / "c", 0.7, fold=2)
    with pytest.raises(RunError, match="share no fold"):
        pair_up(summarise([center]), summarise([far]))


def test_a_choice_rests_on_the_folds_that_all_values_have(tmp_path: Path) -> None:
    dev = {0.0: (0.5, 0.5), 0.3: (0.9, 0.4), 3.0: (0.8,)}  # by its mean 3.0, on fold 1 0.3
    runs = [
        scored_run(tmp_path / f"{weight}-{fold}", 0.7, weight=weight, fold=fold, dev_ua=ua)
        for weight, scores in dev.items()
        for fold, ua in enumerate(scores, start=1)
    ]
    [sweep] = find_sweeps(summarise_settings(runs))
    assert sweep.shared == {(0, 1)}
    assert sweep.best_value == "0.3"
    assert [sweep.dev_ua(s) for s in sweep.summaries] == [0.5, 0.9, 0.8]


def test_centre_loss_is_chosen_by_dev_on_folds_that_all_have(tmp_path: Path) -> None:
    dev = {0.0: (0.5, 0.5), 0.3: (0.9, 0.4), 3.0: (0.8,)}
    runs = [
        scored_run(tmp_path / f"{weight}-{fold}", 0.7, weight=weight, fold=fold, dev_ua=ua)
        for weight, scores in dev.items()
        for fold, ua in enumerate(scores, start=1)
    ]
    [contrast] = contrasts(summarise_settings(runs))
    assert contrast.with_ is not None
    assert contrast.with_.runs[0].settings.loss.center_weight == 0.3


def test_centre_loss_is_not_credited_with_another_change(tmp_path: Path) -> None:
    runs = [
        scored_run(tmp_path / "plain", 0.6, weight=0.0, dev_ua=0.5),
        scored_run(tmp_path / "center", 0.6, weight=0.3, dev_ua=0.5),
        scored_run(
            tmp_path / "longer", 0.99, weight=0.3, dev_ua=0.9, steps=2000, overrides=["training.steps=2000"]
        ),
    ]
    first, second = contrasts(summarise_settings(runs))
    assert (first.variant, second.variant) == ("dai2019-mel", "dai2019-mel, training.steps=2000")
    assert "+0.0 points" in verdict(first)
    assert second.pair is None
    assert "none to compare with" in verdict(second)


def test_a_contrast_is_of_the_folds_that_both_have(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path / f"c{fold}", 0.9, fold=fold) for fold in (1, 2, 3)]
    runs += [scored_run(tmp_path / f"p{fold}", 0.7, fold=fold, weight=0.0) for fold in (2, 3, 4)]
    [contrast] = contrasts(summarise_settings(runs))
    ua = contrast.pair.comparisons["UA"]  # type: ignore[union-attr]
    assert ua.interval.low <= ua.difference <= ua.interval.high
    assert ua.difference == contrast.pair.first.ua - contrast.pair.second.ua  # type: ignore[union-attr]
    assert (
        f"{signed(ua.difference)} points over 2 runs on the same folds (2 runs without a partner"
        in verdict(contrast)
    )


def test_two_seeds_give_two_contrasts_and_no_sweep(tmp_path: Path) -> None:
    runs = [
        scored_run(tmp_path / f"{seed}-{weight}", 0.7, seed=seed, weight=weight, drawn=f"seed {seed}")
        for seed in (0, 1)
        for weight in (0.0, 0.3)
    ]
    summaries = summarise_settings(runs)
    assert [c.variant for c in contrasts(summaries)] == ["dai2019-mel", "dai2019-mel, seed 1"]
    assert all(c.pair for c in contrasts(summaries))
    assert find_sweeps(summaries) == []


def test_a_pool_is_compared_on_each_of_its_corpora_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for name, weight, right in (("a", 0.3, 0.9), ("b", 0.0, 0.6)):
        run = scored_run(tmp_path / name, right, weight=weight)
        table = pd.read_csv(run.folder / "predictions.csv")
        table["corpus"] = np.repeat(["emodb", "nemo"], len(table) // 2)
        table.to_csv(run.folder / "predictions.csv", index=False)
        protocol = changed(run.meta.protocol, speaker_overlap=False)
        corpora = [{"name": "emodb"}, {"name": "nemo"}]
        runs.append(replace(run, meta=changed(run.meta, corpora=corpora, protocol=protocol)))
    pair = pair_up(*(summarise([run]) for run in runs))
    assert list(pair.by_corpus) == ["emodb", "nemo"]
    for half, found in enumerate(pair.by_corpus.values()):
        halves = [run.predictions()[half * 24 : half * 24 + 24] for run in runs]
        one, other = ((t["target"] == t["predicted"]).groupby(t["target"]).mean().mean() for t in halves)
        assert found.difference == pytest.approx(one - other)
        assert found.interval.clusters == SPEAKERS // 2
    print_comparison(pair, as_json=False)
    assert "UA, nemo" in capsys.readouterr().out
    print_comparison(pair, as_json=True)
    facts = json.loads(capsys.readouterr().out)["UA_by_corpus"]
    assert {name: values["difference"] for name, values in facts.items()} == {
        name: found.difference for name, found in pair.by_corpus.items()
    }
    alone = [scored_run(tmp_path / name, 0.8, weight=weight) for name, weight in (("c", 0.3), ("d", 0.0))]
    assert pair_up(*(summarise([run]) for run in alone)).by_corpus == {}


def test_compare_needs_one_setting_in_each_folder(tmp_path: Path) -> None:
    scored_run(tmp_path / "a" / "x", 0.8)
    scored_run(tmp_path / "b" / "x", 0.7, weight=0.0)
    assert compare(tmp_path / "a", tmp_path / "b").comparisons["UA"].interval.clusters == SPEAKERS
    with pytest.raises(RunError, match="holds 2 settings"):
        compare(tmp_path, tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0,0.3", ["0", "0.3"]),
        ("0.1:0.9:0.2", ["0.1", "0.3", "0.5", "0.7", "0.9"]),
        ("3:1:-1", ["3", "2", "1"]),
    ],
)
def test_values_are_a_list_or_a_range(text: str, values: list[str]) -> None:
    assert sweep_values(text) == values


@pytest.mark.parametrize("text", ["2:1:1", "1:0.5:1", "1,,2", "1,1", "0.1,0.10", "1e-4,0.0001", ""])
def test_invalid_values_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        sweep_values(text)
