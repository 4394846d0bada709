"""Many runs: what their progress tells, and that a worker does not outlive its parent."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import emospec
from conftest import SHORT
from emospec.config import load_settings
from emospec.data.pack import Pack, prepare
from emospec.data.utterances import Utterance
from emospec.errors import ConfigError, ProtocolError, TrainingError
from emospec.evaluation.summary import summarise
from emospec.experiments.parallel import _at_once
from emospec.experiments.plans import reproduce, sweep
from emospec.experiments.progress import RunFollower
from emospec.experiments.run import run_spec
from emospec.experiments.spec import RunSpec, changed_settings
from emospec.files import write_json
from emospec.runs.record import RunRecord
from served import until

PROTOCOL = {"name": "groups:3", "fold": 1, "folds": 3, "repeat": 0, "hash": ""}
META = {"preset": "demo", "seed": 0, "classes": ["a"], "protocol": PROTOCOL, "corpora": []}


def test_progress_of_many_runs_is_by_setting_and_ends_whole(hum_pack: Pack, tmp_path: Path) -> None:
    shown: dict[str, list[tuple[int, int, str]]] = {}

    def progress(name: str, done: int, steps: int, word: str) -> None:
        shown.setdefault(name, []).append((done, steps, word))

    values = ["0", "0.3", "3"]
    runs = sweep(
        hum_pack.folder,
        tmp_path,
        "loss.center_weight",
        values,
        "dai2019-mel",
        SHORT,
        jobs=1,
        progress=progress,
    )
    rows = {name: row for name, row in shown.items() if name != "spectrograms"}
    assert list(rows) == ["all runs", *(f"loss.center_weight={value}" for value in values)]
    assert rows["all runs"][-1] == (9 * 12, 9 * 12, "9 of 9 runs")
    for value, k in zip(values, range(3), strict=True):
        done, steps, word = rows[f"loss.center_weight={value}"][-1]
        ua = summarise(runs[k::3]).ua
        assert (done, steps, word) == (36, 36, f"3 of 3 runs, UA so far {100 * ua:.1f}")
    assert all(a[0] <= b[0] for steps in rows.values() for a, b in pairwise(steps))


def test_progress_of_few_runs_is_by_run(hum_pack: Pack, tmp_path: Path) -> None:
    last: dict[str, str] = {}
    runs = emospec.crossval(
        hum_pack.folder, tmp_path / "cv", "dai2019-mel", SHORT, jobs=1,
        progress=lambda name, done, steps, word: last.update({name: word}),
    )  # fmt: skip
    assert {name: word for name, word in last.items() if name != "spectrograms"} == {
        f"cv/{run.folder.name}": f"done, UA {100 * run.scores.test.ua:.1f}" for run in runs
    }


def test_runs_side_by_side_are_one_per_core_or_one_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    for gpu, many in ((False, 3), (True, 1)):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpu=gpu: gpu)
        assert _at_once() == many


def test_settings_that_are_paths_have_rows_of_their_own(hum_pack: Pack, tmp_path: Path) -> None:
    rows: list[str] = []
    jobs = [
        RunSpec(
            hum_pack.folder, tmp_path / f"loss.teacher={one}/t.npz" / f"r0-f{fold}", load_settings("demo")
        )
        for one in "ab"
        for fold in range(1, 6)
    ]
    for job in jobs:
        job.out.mkdir(parents=True)
        job.files.history.write_text("step,dev_ua,dev_wa\n1,0.5,0.5\n")
        write_json(job.files.meta, META | {"counts": {"train": {"a": 3}}})
    RunFollower(jobs, lambda name, *_: rows.append(name)).stop()
    assert rows == ["all runs", "loss.teacher=a/t.npz", "loss.teacher=b/t.npz"]


def test_how_long_runs_take_is_told_before_their_first_row(hum_pack: Pack, tmp_path: Path) -> None:
    settings = load_settings("dai2019-mel", ["data.protocol=groups:3"], 1000)
    jobs = [RunSpec(hum_pack.folder, tmp_path / f"r0-f{fold}", settings, fold=fold) for fold in (1, 2, 3)]
    jobs[0].out.mkdir()
    write_json(jobs[0].files.meta, META | {"counts": {"train": {"sad": 12}, "dev": {"sad": 0}}})
    write_json(jobs[0].files.pace, {"step": 4, "seconds": 2.0})
    rows: list[tuple[str, int, int, str]] = []
    RunFollower(jobs, lambda *row: rows.append(row), at_once=2).stop()
    assert rows[-1] == (f"{tmp_path.name}/r0-f1", 4, 1000, "about 12 min left in all at 0.5 s a step")


def test_a_setting_has_one_name_however_it_is_spelt(hum_pack: Pack, tmp_path: Path) -> None:
    spelt = ["training.learning_rate=1e-3", "frontend.own_mean=false", "loss.warmup_steps = 4"]
    other = ["training.learning_rate=0.001", "loss.warmup_steps=4"]
    one, two = [load_settings("dai2019-mel", overrides) for overrides in (spelt, other)]
    assert changed_settings(one, "dai2019-mel") == changed_settings(two, "dai2019-mel")
    told = changed_settings(one, "dai2019-mel")
    assert told == ("loss.warmup_steps=4", "training.learning_rate=0.001")
    many = ["frontend.own_mean=true", "network.channels=[1, 2, 3, 4]", 'loss.teacher="a b.npz"']
    told = changed_settings(
        load_settings("dai2019-mel", [*many, "training.checkpoint_seconds=9"]), "dai2019-mel"
    )
    assert told == ("frontend.own_mean=true", "loss.teacher=a b.npz", "network.channels=[1,2,3,4]")
    load_settings("dai2019-mel", told)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda pack, out: reproduce(pack, out, overrides=["loss.center_rate=0.7"]),
            "loss.center_rate is what",
        ),
        (
            lambda pack, out: sweep(
                pack, out, "loss.center_rate", ["0.1", "0.5"], overrides=["loss.center_weight=0"]
            ),
            "loss.center_rate=0.1 and loss.center_rate=0.5 are one and the same setting",
        ),
    ],
)
def test_settings_that_would_be_one_are_refused_before_training(
    hum_pack: Pack, tmp_path: Path, call: Callable[[Path, Path], object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        call(hum_pack.folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_later_draw_that_cannot_be_dealt_is_told_before_training(tmp_path: Path) -> None:
    """Ten speakers in five groups, a class of which two have all: the second draw leaves it out of training."""
    rng = np.random.default_rng(0)
    utterances = []
    for speaker in range(10):
        for emotion in ("angry", "sad", *["bored"] * (speaker < 2)):
            file = tmp_path / f"{speaker}-{emotion}.wav"
            soundfile.write(file, rng.normal(0, 0.1, 12_000), 16_000)
            utterances.append(Utterance(f"demo/{file.stem}", "demo", file, str(speaker), emotion, emotion))
    pack, _ = prepare(utterances, tmp_path / "pack")
    with pytest.raises(ProtocolError, match="bored"):
        emospec.crossval(
            pack.folder,
            tmp_path / "out",
            overrides=[*SHORT, "data.classes=all", "data.protocol=groups:5"],
            repeats=2,
        )
    assert not (tmp_path / "out").exists()


def test_every_start_of_a_sweep_is_looked_at_before_training(
    hum_pack: Pack, hum_run: Path, tmp_path: Path
) -> None:
    """The second value knows nobody of test: the first does, and is what --strict must find."""
    stranger = tmp_path / "stranger"
    shutil.copytree(hum_run, stranger)
    folds = pd.read_csv(stranger / "folds.csv", dtype=str)
    folds["utterance"], folds["speaker"], folds["samples"] = "x/" + folds["utterance"], "x/1", "0"
    folds.to_csv(stranger / "folds.csv", index=False)
    with pytest.raises(ProtocolError, match="from which the weights come"):
        sweep(
            hum_pack.folder, tmp_path / "out", "training.start_from", [str(hum_run), str(stranger)],
            overrides=SHORT, strict=True,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_an_error_of_one_run_lets_the_others_go_on(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_or_die(job: RunSpec, **more: Any) -> RunRecord:
        if job.fold == 1:
            raise RuntimeError("CUDA out of memory")
        return run_spec(job, **more)

    monkeypatch.setattr("emospec.experiments.parallel.run_spec", run_or_die)
    with pytest.raises(TrainingError, match=r"1 of 3 runs failed.*r0-f1: RuntimeError: CUDA out of memory"):
        emospec.crossval(hum_pack.folder, tmp_path, "dai2019-mel", SHORT, jobs=1)
    assert sorted(path.parent.name for path in tmp_path.glob("*/scores.json")) == ["r0-f2", "r0-f3"]


@pytest.mark.full
def test_workers_leave_with_a_killed_parent(hum_pack: Pack, tmp_path: Path) -> None:
    sets = [part for o in [*SHORT[1:], "training.steps=100000"] for part in ("--set", o)]
    command = [
        sys.executable,
        "-m",
        "emospec",
        "crossval",
        hum_pack.folder,
        "--out",
        tmp_path / "cv",
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(
        list(map(str, [*command, *sets])), stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        histories = [tmp_path / "cv" / f"r0-f{fold}" / "history.csv" for fold in (1, 2)]
        while not all(path.is_file() for path in histories):
            assert process.poll() is None
            time.sleep(0.05)
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(workers) >= 2
        process.kill()
        process.wait()
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.full
def test_idle_workers_leave_with_a_killed_parent_too() -> None:
    program = """
import os, sys, time
from joblib import delayed
from emospec.workers import exit_with_parent, open_workers

def at_work(parent):
    exit_with_parent(parent)
    time.sleep(0.5)
    return os.getpid()

with open_workers(2) as work:
    print(*set(work(delayed(at_work)(os.getpid()) for _ in range(4))), flush=True)
    time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = process.stdout.readline().split()
        assert len(workers) == 2
        process.kill()
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
