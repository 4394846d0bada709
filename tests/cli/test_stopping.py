"""Ctrl-C: one line that is true for the verb, exit code 130, no traceback of anybody."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

from emospec.cli import app, run_command_line
from emospec.cli.verbs import AFTER_STOP
from emospec.data.pack import Pack
from emospec.runs.folder import refuse_existing

CASES = [
    (("models",), "emospec.inference.model.load_model", "Nothing was changed"),
    (("corpora", "check", "demo", "x"), "emospec.data.corpora.check_corpus", "Nothing was changed"),
    (("evaluate", "x"), "emospec.evaluation.summary.evaluate", "Nothing was changed"),
    (
        ("train", "x", "--out", "y"),
        "emospec.experiments.run.train",
        "with --resume goes on from the last checkpoint",
    ),
    (
        ("crossval", "x", "--out", "y"),
        "emospec.experiments.plans.crossval",
        "--resume keeps what is finished",
    ),
    (("demo", "--out", "y"), "emospec.experiments.plans.demo", "The same command keeps what is finished"),
    (("export", "x", "--out", "y"), "emospec.export.model_folder.export_model", "No model was written"),
    (("score", "x", "--out", "y"), "emospec.inference.bulk.score", "Nothing was written"),
]


@pytest.mark.parametrize(("words", "at", "state"), CASES, ids=lambda value: str(value)[:30])
def test_a_stopped_verb_ends_in_one_line(
    words: tuple[str, ...], at: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(at, stop)
    monkeypatch.setattr("emospec.inference.model.DEFAULT", "base")
    monkeypatch.setattr(sys, "argv", ["emospec", *words])
    with pytest.raises(SystemExit) as ended:
        run_command_line()
    assert ended.value.code == 130
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("model base")]
    assert len(lines) == 1
    assert lines[0].startswith("emospec: stopped. ")
    assert state in lines[0]
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_stopped_while_it_is_loaded_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("emospec.inference.model.load_model", load)
    monkeypatch.setattr(sys, "argv", ["emospec", "models"])
    with pytest.raises(SystemExit) as ended:
        run_command_line()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "emospec: stopped. Nothing was changed\n"


def test_a_stop_before_the_verb_has_begun_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emospec.cli.prepare_streams", stop)
    with pytest.raises(SystemExit) as ended:
        run_command_line()
    assert (ended.value.code, capsys.readouterr().err) == (130, "emospec: stopped\n")


def test_every_verb_says_what_is_left_of_it() -> None:
    assert set(AFTER_STOP) == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_workers_ignore_ctrl_c_and_end_with_their_call() -> None:
    program = """
import os, sys, time
from joblib import delayed
from emospec.workers import open_workers

def at_work():
    time.sleep(0.2)
    return os.getpid()

try:
    with open_workers(2) as work:
        for pid in work(delayed(at_work)() for _ in range(100)):
            print(pid, flush=True)
except KeyboardInterrupt:
    print("stopped", file=sys.stderr)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, stderr = process.communicate(timeout=60)
    assert stderr == "stopped\n"


@pytest.mark.full
def test_a_cross_validation_that_is_stopped_leaves_no_traceback_and_does_not_block(
    hum_pack: Pack, tmp_path: Path
) -> None:
    sets = ["data.protocol=groups:3", "training.batch_size=4", "training.evaluate_every=1"]
    sets.append("training.checkpoint_seconds=3600")
    words = ["--steps", "100000", "--jobs", "2", *(word for o in sets for word in ("--set", o))]
    command = [sys.executable, "-m", "emospec", "crossval", str(hum_pack.folder), "--out", "cv", *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path
    ) as process:
        while not list(tmp_path.glob("cv/*/history.csv")):
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("emospec: stopped. The same command with --resume")
    for run in (tmp_path / "cv").iterdir():
        refuse_existing(run, resume=False)  # nothing is lost with them, so the same call may begin anew
