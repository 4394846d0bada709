"""Run folders are read as they are, and summed up as their protocol asks or not at all."""

import math
import os
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emospec.errors import RunError
from emospec.evaluation.metrics import predicted_confusion
from emospec.evaluation.summary import Summary, evaluate, summarise, summarise_settings
from emospec.runs.record import RunRecord, find_runs, read_run
from fake_runs import changed, fake_run


def error(*runs: RunRecord) -> str:
    with pytest.raises(RunError) as caught:
        summarise(runs)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Of UA 0.75 and WA 0.6; of UA 0.5 and WA 0.8; lacking `sad`, of UA and WA 0.5.
ONE, TWO, LACKING = [[2, 2], [0, 1]], [[8, 0], [2, 0]], [[1, 1], [0, 0]]


def test_a_run_is_what_its_folder_says(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ONE)
    assert run.folder == tmp_path / "run"
    assert run.classes == ("angry", "sad")
    assert run.scores.test.confusion == ONE
    assert run.settings.loss.center_rate == 0.5


@pytest.mark.parametrize(
    ("facts", "setting"),
    [
        ({}, "dai2019-mel, λ 0.3, α 0.5"),
        ({"weight": 0.0}, "dai2019-mel, λ 0"),
        ({"seed": 7}, "dai2019-mel, λ 0.3, α 0.5, seed 7"),
        ({"overrides": ["training.steps=9"]}, "dai2019-mel, λ 0.3, α 0.5, training.steps=9"),
    ],
)
def test_a_setting_is_what_tells_runs_apart(tmp_path: Path, facts: dict[str, Any], setting: str) -> None:
    assert fake_run(tmp_path / "run", ONE, **facts).setting == setting


def test_dai2019_is_the_mean_over_runs(tmp_path: Path) -> None:
    confusions = [ONE, TWO, LACKING, ONE]
    runs = [
        fake_run(
            tmp_path / f"r{k // 2}-f{k % 2}",
            confusion,
            protocol="dai2019",
            fold=1 + k % 2,
            repeat=k // 2,
            dev_ua=k / 10,
        )
        for k, confusion in enumerate(confusions)
    ]
    found = summarise(runs)
    ua, wa = [0.75, 0.5, 0.5, 0.75], [0.6, 0.8, 0.5, 0.6]
    assert (found.ua, found.wa) == pytest.approx((mean(ua), mean(wa)))
    assert (found.ua_deviation, found.wa_deviation) == pytest.approx((stdev(ua), stdev(wa)))
    assert found.how == "mean over 4 runs"
    assert found.dev_ua == pytest.approx(0.15)
    assert found.confusion.tolist() == [[13, 5], [2, 2]]
    assert found.recall == pytest.approx({"angry": 13 / 18, "sad": 0.5})
    assert found.runs == tuple(runs)
    assert found.classes == ("angry", "sad")


def test_other_protocols_pool_the_folds_of_a_repeat_first(tmp_path: Path) -> None:
    folds = {(0, 1): ONE, (0, 2): LACKING, (1, 1): TWO, (1, 2): ONE}
    runs = [fake_run(tmp_path / f"r{r}-f{f}", c, repeat=r, fold=f) for (r, f), c in folds.items()]
    found = summarise(runs)
    # Repeat 0: [[3, 3], [0, 1]]; repeat 1: [[10, 2], [2, 1]].
    assert found.ua == pytest.approx(mean([(3 / 6 + 1) / 2, (10 / 12 + 1 / 3) / 2]))
    assert found.wa == pytest.approx(mean([4 / 7, 11 / 15]))
    assert found.ua_deviation == pytest.approx(stdev([0.75, 0.5, 0.5, 0.75]))
    assert found.how == "pooled test predictions of 4 runs, mean over 2 repeats"
    assert found.confusion.sum() == 5 + 2 + 10 + 5


def test_pooling_is_not_the_mean_over_folds(tmp_path: Path) -> None:
    runs = [fake_run(tmp_path / f"f{f}", c, fold=f) for f, c in ((1, ONE), (2, LACKING))]
    found = summarise(runs)
    assert found.ua == pytest.approx(0.75)
    assert found.ua != mean([0.75, 0.5])
    assert found.how == "pooled test predictions of 2 runs"


def test_one_run_has_no_deviation(tmp_path: Path) -> None:
    for protocol in ("dai2019", "groups:5"):
        found = summarise([fake_run(tmp_path / protocol, LACKING, protocol=protocol)])
        assert (found.ua, found.wa) == (0.5, 0.5)
        assert math.isnan(found.ua_deviation)
        assert math.isnan(found.wa_deviation)
        assert math.isnan(found.recall["sad"])
        assert found.how in ("mean over 1 run", "pooled test predictions of 1 run")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"protocol": "dai2019"}, "runs of different protocol cannot be summed up"),
        ({"classes": ["angry", "happy"]}, "runs of different classes cannot be summed up"),
        ({"weight": 0.0}, "runs of different settings cannot be summed up"),
        ({"seed": 1}, "runs of different settings cannot be summed up"),
        ({"steps": 9}, "runs of different settings cannot be summed up"),
        ({"drawn": "another draw"}, "runs of different fold lists cannot be summed up"),
        ({"fold": 1}, "are the same fold of the same repeat: leave one out"),
    ],
)
@pytest.mark.parametrize("repeat", [0, 1])
def test_what_does_not_belong_together_is_not_summed_up(
    tmp_path: Path, facts: dict[str, Any], words: str, repeat: int
) -> None:
    one = fake_run(tmp_path / "one", ONE, repeat=0)
    mate = fake_run(tmp_path / "mate", ONE, repeat=repeat, fold=1 + (repeat == 0))
    other = fake_run(tmp_path / "other", TWO, **({"repeat": repeat, "fold": 3} | facts))
    runs = [one, other] if repeat == 0 else [one, mate, other]
    message = error(*runs)
    assert words in message
    assert str(other.folder) in message


def test_no_runs_are_an_error() -> None:
    assert "no runs" in error()


def test_each_setting_and_protocol_has_its_own_summary(tmp_path: Path) -> None:
    runs = [
        fake_run(tmp_path / "a1", ONE),
        fake_run(tmp_path / "b1", TWO, weight=0.0),
        fake_run(tmp_path / "a2", TWO, fold=2),
        fake_run(tmp_path / "c1", TWO, protocol="sessions"),
    ]
    found = summarise_settings(runs)
    assert [[run.folder.name for run in summary.runs] for summary in found] == [["a1", "a2"], ["b1"], ["c1"]]


def test_finished_runs_are_found_in_folders_each_once(tmp_path: Path) -> None:
    for name in ("r0-f2", "r0-f1"):
        fake_run(tmp_path / "cv" / name, ONE, fold=int(name[-1]))
    fake_run(tmp_path / "deep" / "er" / "run", TWO, weight=0.0)
    unfinished = tmp_path / "cv" / "r0-f3"
    unfinished.mkdir()
    (unfinished / "meta.json").write_text("{}")
    crooked = tmp_path / "deep" / ".." / "cv"
    found = find_runs([crooked / "r0-f2", tmp_path / "cv", crooked, tmp_path])
    assert [run.folder.name for run in found] == ["r0-f2", "r0-f1", "run"]


def test_evaluate_reads_and_sums_up(tmp_path: Path) -> None:
    for fold, confusion in ((1, ONE), (2, LACKING)):
        fake_run(tmp_path / f"f{fold}", confusion, fold=fold)
    (found,) = evaluate(str(tmp_path), tmp_path / "f1")
    assert isinstance(found, Summary)
    assert found.ua == pytest.approx(0.75)
    assert len(found.runs) == 2


def test_an_unfinished_run_says_how_to_finish_it(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ONE)
    (run.folder / "scores.json").unlink()
    for read in (read_run, lambda folder: find_runs([folder])):
        with pytest.raises(RunError, match=r"has not finished \(no scores.json\): `emospec train --resume`"):
            read(run.folder)


def test_a_folder_without_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it has no meta\.json"):
        read_run(tmp_path)
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="holds no finished run"):
            find_runs([folder])


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fold in (1, 2):
        fake_run(tmp_path / f"r0-f{fold}", ONE)
    assert len(find_runs([tmp_path])) == 2
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("r0-f2"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)  # root may read all
    with pytest.raises(RunError, match=r"r0-f2: the folder cannot be read \(Permission denied\)"):
        find_runs([tmp_path])


@pytest.mark.parametrize("name", ["config.toml", "meta.json", "scores.json"])
@pytest.mark.parametrize("content", [b"= {", b"\xff", b"[]"])
def test_a_damaged_run_folder_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    run = fake_run(tmp_path / "run", ONE)
    (run.folder / name).write_bytes(content)
    with pytest.raises(RunError, match="cannot be read as a run folder"):
        read_run(run.folder)


def test_a_run_folder_without_its_config_is_an_error(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ONE)
    (run.folder / "config.toml").unlink()
    with pytest.raises(RunError, match="cannot be read as a run folder"):
        read_run(run.folder)


def test_tables_and_features_are_read_as_written(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ONE)
    rows = {
        "utterance": ["x/1", "x/2"],
        "speaker": ["03", "NA"],
        "text": ["007", ""],
        "target": ["sad", "nan"],
    }
    pd.DataFrame(rows).to_csv(run.folder / "predictions.csv", index=False)
    pd.DataFrame({"step": [11, 22], "dev_ua": [None, 0.5]}).to_csv(run.folder / "history.csv", index=False)
    np.savez(run.folder / "features.npz", z=np.ones((2, 64), np.float32), label=np.array(["sad", "sad"]))
    assert run.predictions().to_dict("list") == rows
    assert run.history()["dev_ua"].isna().tolist() == [True, False]
    assert run.features()["z"].shape == (2, 64)
    assert run.features()["label"].tolist() == ["sad", "sad"]


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ONE)
    for read in (run.predictions, run.history, run.features):
        with pytest.raises(RunError, match=r"(predictions|history|features)\.(csv|npz) is missing"):
            read()


def test_features_hold_no_pickle(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ONE)
    np.savez(run.folder / "features.npz", z=np.array([object()]))
    with pytest.raises(RunError, match=r"features\.npz is damaged \(.*allow_pickle=False"):
        run.features()


@pytest.mark.parametrize("name", ["predictions.csv", "folds.csv", "history.csv", "features.npz"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'a,b\n"1,2'])
def test_a_damaged_table_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    run = fake_run(tmp_path / "run", ONE)
    (run.folder / name).write_bytes(content)
    assert_read_as_damaged(run, name)


def test_damaged_features_are_an_error(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", ONE)
    np.savez_compressed(run.folder / "features.npz", z=np.random.default_rng(0).normal(size=(64, 64)))
    whole = (run.folder / "features.npz").read_bytes()
    for place in range(100, len(whole) - 200, 1500):  # zlib has an error of its own
        (run.folder / "features.npz").write_bytes(whole[:place] + bytes(60) + whole[place + 60 :])
        assert_read_as_damaged(run, "features.npz")


def assert_read_as_damaged(run: RunRecord, name: str) -> None:
    reads = {
        "predictions.csv": run.predictions,
        "folds.csv": run.known_utterances,
        "history.csv": run.history,
        "features.npz": run.features,
    }
    with pytest.raises(RunError, match=f"{name} is damaged"):
        reads[name]()


def test_predictions_make_the_confusion_matrix() -> None:
    table = pd.DataFrame({"target": ["sad", "sad", "angry"], "predicted": ["angry", "sad", "angry"]})
    assert predicted_confusion(table, ["angry", "sad"]).tolist() == [[1, 0], [1, 1]]
    assert predicted_confusion(table[:0], ["angry", "sad"]).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(RunError, match="predictions name sad, the classes are angry, happy"):
        predicted_confusion(table, ["angry", "happy"])


def test_corpora_are_summed_up_apart(tmp_path: Path) -> None:
    runs = [fake_run(tmp_path / name, ONE, corpus=name) for name in ("emodb", "nemo")]
    assert [s.runs[0].corpora for s in summarise_settings(runs)] == [("emodb",), ("nemo",)]
    assert "different corpora" in error(*runs)


def test_settings_that_share_a_name_and_differ_are_refused(tmp_path: Path) -> None:
    one = fake_run(tmp_path / "one", ONE)
    told = error(one, fake_run(tmp_path / "two", TWO, fold=2, steps=900))
    assert "different settings" in told
    assert told.endswith(
        "one has {'training.steps': 1000}, " + f"{tmp_path / 'two'} has " + "{'training.steps': 900}"
    )
    plain = [fake_run(tmp_path / f"p{k}", ONE, weight=0.0, fold=k) for k in (1, 2)]
    # Without centre loss, alpha means nothing.
    loss = changed(plain[1].settings.loss, center_rate=0.9)
    plain[1] = replace(plain[1], settings=changed(plain[1].settings, loss=loss))
    assert len(summarise(plain).runs) == 2
    patient = fake_run(tmp_path / "three", TWO, fold=2, checkpoint_seconds=600.0)
    assert summarise([one, patient]).runs == (one, patient)
