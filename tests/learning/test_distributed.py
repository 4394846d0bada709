"""Two processes that train together are one with the joint batch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from ranked import BATCH, STEPS
from test_training import make_task
from torch import Tensor

from conftest import SHORT, error_of
from emospec.data.pack import Pack
from emospec.experiments.run import train
from emospec.learning.learner import load_tensors
from emospec.learning.sampling import batch_indices

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
RANKED = str(Path(__file__).with_name("ranked.py"))

pytestmark = pytest.mark.full


def start(command: list[str], where: Path) -> "subprocess.Popen[bytes]":
    folders = [Path(__file__).parent, Path(__file__).parents[1], os.environ.get("PYTHONPATH", "")]
    paths = os.pathsep.join(map(str, folders))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(
        command, cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def outputs_of(process: "subprocess.Popen[bytes]") -> tuple[str, str]:
    output, errors = (text.decode() for text in process.communicate(timeout=300))
    assert process.returncode == 0, errors
    return output, errors


def trained(
    processes: int, pack: Pack, out: Path, dtype: str, denominators: str = "right"
) -> dict[str, Tensor]:
    """Train, and return the tensors of the last checkpoint; each process holds the best model."""
    program = [*TORCHRUN, str(processes)] if processes > 1 else [sys.executable]
    outputs_of(start([*program, RANKED, str(pack.folder), str(out), dtype, denominators], out))
    tensors, about = load_tensors(out / "checkpoint" / "state.safetensors")
    assert json.loads(about["state"])["step"] == STEPS
    for rank in range(processes):
        final = load_tensors(out / f"ends-{rank}.safetensors")[0]
        assert all(torch.equal(final[name], tensors[f"best.{name}"]) for name in final)
    return tensors


class Alone(NamedTuple):
    """One process: what it computes in, where, and what it ends with."""

    dtype: str
    folder: Path
    tensors: dict[str, Tensor]


@pytest.fixture(scope="module")
def alone(request: pytest.FixtureRequest, hum_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    folder = tmp_path_factory.mktemp("alone")
    return Alone(request.param, folder, trained(1, hum_pack, folder, request.param))


def differences(tensors: dict[str, Tensor], others: dict[str, Tensor]) -> dict[str, float]:
    assert tensors.keys() == others.keys()
    learned = [name for name in tensors if name.startswith(("learner.", "best."))]
    assert any("centers" in name for name in learned)
    return {name: float((tensors[name] - others[name]).abs().max()) for name in learned}


def test_a_share_lacks_a_class_that_the_joint_batch_has(hum_pack: Pack) -> None:
    """The next tests need it."""
    _, _, task = make_task(hum_pack)
    batches = [batch_indices(step, len(task.train), BATCH, task.seed) for step in range(STEPS)]
    classes = [task.targets[np.asarray(task.train)[batch]] for batch in batches]
    lacking = [min(len(set(batch[::2])), len(set(batch[1::2]))) < len(set(batch)) for batch in classes]
    assert sum(lacking) > STEPS / 4


@pytest.mark.parametrize("alone", ["float64"], indirect=True)
def test_denominators_of_each_process_are_noticed(alone: Alone, hum_pack: Pack, tmp_path: Path) -> None:
    wrong = trained(2, hum_pack, tmp_path, alone.dtype, "wrong")
    assert max(differences(alone.tensors, wrong).values()) > 1e-4


@pytest.mark.parametrize(("alone", "most"), [("float64", 1e-9), ("float32", 2e-3)], indirect=["alone"])
def test_two_processes_are_one(alone: Alone, most: float, hum_pack: Pack, tmp_path: Path) -> None:
    together = trained(2, hum_pack, tmp_path, alone.dtype)
    assert max(differences(alone.tensors, together).values()) < most
    rows = [
        pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (alone.folder, tmp_path)
    ]
    pd.testing.assert_frame_equal(*rows, rtol=max(most, 1e-6))  # whose sums are float32


def test_the_verb_in_two_processes_is_resumed_and_is_one(hum_pack: Pack, tmp_path: Path) -> None:
    settings = [*SHORT, "training.steps=60", "training.evaluate_every=5", "training.checkpoint_seconds=0"]
    settings += ["training.precision=float32"]
    alone = train(hum_pack.folder, tmp_path / "alone", overrides=settings)
    sets = [part for setting in settings for part in ("--set", setting)]
    verb = ["-m", "emospec", "train", str(hum_pack.folder), "--out", "together", *sets]
    killed = start([*TORCHRUN, "2", *verb], tmp_path)
    history = tmp_path / "together" / "history.csv"
    while not history.is_file() or len(history.read_text().splitlines()) < 3:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    killed.send_signal(signal.SIGTERM)  # as a cluster does: torchrun ends its processes
    killed.communicate()
    assert not (tmp_path / "together" / "scores.json").exists()

    output, _ = outputs_of(start([*TORCHRUN, "2", *verb, "--resume"], tmp_path))
    assert output.count("dai2019-mel") == 1
    about = json.loads((tmp_path / "together" / "meta.json").read_text())
    assert about["hardware"]["processes"] == 2
    scores = json.loads((tmp_path / "together" / "scores.json").read_text())
    assert scores["selected_step"] == alone.scores.selected_step
    assert scores["audit"] == alone.scores.audit
    shares = [name for name in alone.predictions() if name.startswith("p_")]
    together = pd.read_csv(tmp_path / "together" / "predictions.csv")
    assert shares
    np.testing.assert_allclose(together[shares], alone.predictions()[shares], atol=2e-3)


def test_what_two_processes_cannot_do_is_refused_in_a_line(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["-m", "emospec", "train", str(hum_pack.folder), "--out", "out", "--set", "training.batch_size=1"]
    refused = start([*TORCHRUN, "2", *small], tmp_path)
    _, errors = refused.communicate(timeout=120)
    assert refused.returncode != 0
    assert "emospec: 2 processes share batches of 1. Start fewer" in errors.decode()
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = error_of(monkeypatch, capsys, "crossval", hum_pack.folder, "--out", tmp_path / "many")
    assert "emospec: many runs start processes of their own" in message
    assert not (tmp_path / "many").exists()
