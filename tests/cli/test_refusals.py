"""The refusals and warnings of the experiments' verbs, before any work is done."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import emospec
from conftest import SHORT, error_of
from emospec.config import load_settings
from emospec.data.pack import Pack
from emospec.errors import EmospecError, RunError, TrainingError
from emospec.experiments.run import train
from emospec.learning import training
from emospec.runs.record import read_run

GROUPS = ["data.protocol=groups:3", "training.batch_size=4"]
SETS = [word for override in GROUPS for word in ("--set", override)]


@pytest.mark.parametrize(
    "verb",
    [
        ("train",),
        ("crossval",),
        ("sweep", "--key", "loss.center_weight", "--values", "0,1"),
        ("reproduce", "--part", "mel"),
    ],
    ids=str,
)
def test_steps_from_which_no_model_could_be_chosen_are_refused_before_any_work(
    verb: tuple[str, ...], hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    name, *more = verb
    asked = (name, hum_pack.folder, "--out", tmp_path / "out", *more, *SETS)
    message = error_of(monkeypatch, capsys, *asked, "--set", "training.evaluate_every=2000")
    assert (
        "no model could be chosen: dev is evaluated every 2000 steps after step 57, training ends at step 1000"
        in message
    )
    message = error_of(
        monkeypatch, capsys, *asked, "--set", "training.steps=60", "--set", "training.evaluate_every=61"
    )
    assert "every 61 steps after step 3, training ends at step 60. Lower training.evaluate_every" in message
    for override in ("training.steps=50", "training.epochs=2"):
        message = error_of(monkeypatch, capsys, *asked, "--steps", 60, "--set", override)
        assert f"--steps 60 and --set {override} both say how long to train" in message
    assert not (tmp_path / "out").exists()


def test_a_short_run_has_exactly_its_steps_and_says_how_long_it_takes(
    hum_pack: Pack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    updates: list[tuple[str, int, int, str]] = []
    with caplog.at_level(logging.WARNING):
        run = train(
            hum_pack.folder,
            tmp_path / "r",
            overrides=GROUPS,
            steps=6,
            progress=lambda *update: updates.append(update),
        )
    assert [record.getMessage() for record in caplog.records] == [
        "lambda never acts: training ends at step 6, within the first 20 (loss.warmup_steps) that do without it. "
        "Train longer, lower loss.warmup_steps, or set loss.center_weight=0"
    ]
    chosen = run.settings.training
    assert (chosen.steps, chosen.evaluate_every) == (6, 6)
    assert (run.meta.steps, run.scores.selected_step) == (6, 6)
    assert "steps=6" in run.meta.command
    assert "training.steps=6" in run.meta.changed_settings
    _, step, steps, word = next(row for row in updates if row[0] == "r")
    assert (step, steps) == (4, 6)
    assert word.startswith("about ")
    assert " for 2 steps at " in word


@pytest.mark.parametrize("preset", ["dai2019-mel", "dai2019-stft", "best", "demo"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 12, 60, 5000])
def test_any_number_of_steps_can_choose_a_model(preset: str, steps: int) -> None:
    asked, plain = (load_settings(preset, (), n).training for n in (steps, 0))
    planned, select_after = asked.plan(428)
    assert planned == steps
    assert select_after == min(round(plain.selection_start * steps), steps - 1)
    assert any(step > select_after for step in range(asked.evaluate_every, steps + 1, asked.evaluate_every))
    assert asked.evaluate_every in (plain.evaluate_every, steps)


def test_overrides_stand_above_a_short_run(hum_pack: Pack) -> None:
    settings = load_settings(
        "dai2019-mel", ["training.selection_start=0.25", "training.evaluate_every=5"], 40
    ).training
    assert (settings.plan(1), settings.evaluate_every) == ((40, 10), 5)


def test_a_start_that_failed_does_not_block_the_next(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"

    def fail(*_: object, **__: object) -> None:
        (out / "history.csv").write_text("step,dev_ua\n11,0.9\n")
        (out / "meta.json.1.part").write_text("{")
        raise TrainingError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", fail)
        with pytest.raises(TrainingError, match="no memory"):
            train(hum_pack.folder, out, overrides=SHORT)
    assert {"meta.json", "config.toml"} <= {path.name for path in out.iterdir()}
    train(hum_pack.folder, out, overrides=[*SHORT, "loss.center_weight=0"])
    assert read_run(out).meta.steps == 12
    assert "0.9\n" not in (out / "history.csv").read_text()
    with pytest.raises(RunError, match="is not empty"):  # now there is something to lose
        train(hum_pack.folder, out, overrides=SHORT)


def test_files_of_others_are_not_taken_for_a_failed_start(hum_pack: Pack, tmp_path: Path) -> None:
    for name in ("config.toml", "history.csv"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(RunError, match="exists and is not empty"):
            train(hum_pack.folder, tmp_path, overrides=SHORT)
        assert (tmp_path / name).read_text() == "mine"


def test_a_folder_of_another_kind_is_no_place_for_runs(hum_pack: Pack, hum_run: Path, tmp_path: Path) -> None:
    runs, model = tmp_path / "cv", tmp_path / "model"
    model.mkdir()
    (model / "model.onnx").write_bytes(b"")
    (runs / "r0-f1").mkdir(parents=True)
    (runs / "r0-f1" / "meta.json").write_text("{}")
    calls: dict[str, Callable[..., Any]] = {
        "a folder of runs": lambda out: emospec.crossval(hum_pack.folder, out, overrides=SHORT, resume=True),
        "a training": lambda out: train(hum_pack.folder, out, overrides=SHORT, resume=True),
    }
    for what, out, kind in (
        ("a folder of runs", hum_run, "a run"),
        ("a folder of runs", hum_pack.folder, "a pack"),
        ("a folder of runs", model, "a model"),
        ("a training", runs, "runs"),
        ("a training", hum_pack.folder, "a pack"),
        ("a training", model, "a model"),
    ):
        before = sorted(out.rglob("*"))
        with pytest.raises(RunError, match=f"holds {kind}: {what} does not go into it. Name another folder"):
            calls[what](out)
        assert sorted(out.rglob("*")) == before


def test_a_run_is_not_compared_with_itself(
    hum_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link"
    link.symlink_to(hum_run)
    for other in (hum_run, link):
        message = error_of(monkeypatch, capsys, "compare", hum_run, other)
        assert "both hold the run" in message
        assert "a run less itself is 0. Name the runs of two settings" in message
    copy = tmp_path / "copy"
    shutil.copytree(hum_run, copy)
    assert emospec.compare(hum_run, copy).are_equal


def test_the_error_of_a_folder_without_runs_says_what_it_is(hum_run: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun" / "r0-f1"
    begun.mkdir(parents=True)
    (begun / "meta.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "nosuch", "there is no such folder"),
        (hum_run / "history.csv", "it is a file"),
        (
            tmp_path / "begun",
            "r0-f1 is one that has not ended. Go on with it by the same command and --resume",
        ),
        (tmp_path / "empty", "a run is a folder with meta.json and scores.json"),
    ):
        with pytest.raises(EmospecError, match=f"holds no finished run: .*{words}"):
            emospec.evaluate(folder)


@pytest.mark.parametrize("verb", ["train", "crossval", "demo"])
def test_a_file_where_a_folder_is_to_be_made_is_refused_before_any_work(
    verb: str, hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    (tmp_path / "notes").touch()
    pack = [hum_pack.folder] * (verb != "demo")
    message = error_of(monkeypatch, capsys, verb, *pack, "--out", tmp_path / "notes")
    assert f"{tmp_path / 'notes'} is a file: a " in message
    assert message.strip().endswith("needs a folder. Name another")


def test_a_report_does_not_go_into_a_file(
    hum_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes").touch()
    message = error_of(monkeypatch, capsys, "report", hum_run, "--out", tmp_path / "notes")
    assert f"{tmp_path / 'notes'} is a file: a report needs a folder" in message
