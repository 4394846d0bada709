"""The loop against METHOD, resume against an uninterrupted run, and a loss that is not finite."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from conftest import SHORT
from emospec.config import load_settings
from emospec.data.pack import Pack
from emospec.data.utterances import select_classes
from emospec.errors import TrainingError
from emospec.experiments.run import train
from emospec.learning import training
from emospec.learning.frame_store import FrameStore
from emospec.learning.learner import Learner, load_tensors
from emospec.learning.sampling import batch_indices
from emospec.learning.task import HistoryRow, TrainingTask
from emospec.learning.training import Trainer, fit

STEPS = 12


def make_task(pack: Pack, *overrides: str) -> tuple[Learner, FrameStore, TrainingTask]:
    settings = load_settings("dai2019-mel", [*SHORT, "training.precision=float32", *overrides])
    utterances, classes = select_classes(pack.utterances, "all")
    learner = Learner("log-mel", 1400, classes, 4, settings.network, own_mean=settings.frontend.own_mean)
    speakers = np.array([u.speaker for u in utterances])
    task = TrainingTask(
        train=np.flatnonzero(speakers < "s4").tolist(),
        dev=np.flatnonzero(speakers == "s4").tolist(),
        targets=np.array([classes.index(u.emotion) for u in utterances]),
        loss=settings.loss,
        training=settings.training,
        seed=9,
        settings_hash="this",
        augmentation=settings.augmentation,
        names=[u.id for u in utterances],
    )
    return learner, FrameStore(pack, learner.frontend), task


def plain_training(learner: Learner, store: FrameStore, task: TrainingTask) -> None:
    """METHOD sections 3 and 4 written out, one utterance at a time."""
    learner.frontend.fit(store.frames(i) for i in task.train)
    counts = np.bincount(task.targets[task.train])
    weights = [counts.max() / (n + 0.5) for n in counts]
    optimizer = torch.optim.Adam(learner.parameters(), 1e-3, (0.9, 0.999), 1e-8)
    centers = torch.zeros(len(counts), 64, dtype=torch.float64)
    for step in range(STEPS):
        lambda_, alpha = (0.0, 1.0) if step < 4 else (0.3, 0.5)
        indices = [task.train[k] for k in batch_indices(step, len(task.train), 8, task.seed)]
        softmax_sum = center_sum = weight_sum = torch.tensor(0.0, dtype=torch.float64)
        features: dict[int, list[torch.Tensor]] = {}
        for i in indices:
            z, logits = learner(*store.batch([i]))
            target = int(task.targets[i])
            softmax_sum = softmax_sum - weights[target] * functional.log_softmax(logits[0], 0)[target]
            center_sum = center_sum + weights[target] * ((z[0] - centers[target]) ** 2).sum()
            weight_sum = weight_sum + weights[target]
            features.setdefault(target, []).append(z[0].detach())
        optimizer.zero_grad()
        ((softmax_sum + lambda_ * center_sum) / weight_sum).backward()
        optimizer.step()
        for target, vectors in features.items():
            centers[target] = (1 - alpha) * centers[target] + alpha * torch.stack(vectors).mean(0)
    learner.center_loss.centers.copy_(centers)


def test_training_is_the_methods(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack)
    fit(learner.double(), store, task, tmp_path)
    last = {
        n.removeprefix("learner."): t
        for n, t in load_tensors(tmp_path / "checkpoint" / "state.safetensors")[0].items()
    }
    plain, store, task = make_task(hum_pack)
    plain_training(plain.double(), store, task)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(
            last[name], tensor, atol=1e-7, rtol=1e-7, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_the_best_dev_model_is_returned(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack)
    seen: list[HistoryRow] = []
    result = fit(learner, store, task, tmp_path, progress=lambda row, _: seen.append(row))
    evaluated = [row for row in seen if row.dev_ua is not None]
    assert [row.step for row in seen] == [3, 6, 9, 12]
    assert [row.step for row in evaluated] == [6, 9, 12]
    best = max(evaluated, key=lambda row: (row.dev_ua, -row.step))
    assert (result.selected_step, result.dev_ua) == (best.step, best.dev_ua)
    predicted = learner.forward_utterances(store, task.dev).probabilities.argmax(axis=1)
    recalls = [np.mean(predicted[task.targets[task.dev] == k] == k) for k in range(2)]
    assert np.mean(recalls) == pytest.approx(result.dev_ua)
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6, 9, 12]
    assert rows[0]["dev_ua"] == ""
    assert float(rows[2]["loss"]) == pytest.approx(
        float(rows[2]["softmax_loss"]) + 0.3 * float(rows[2]["center_loss"]), rel=1e-4
    )


def test_weights_that_are_not_finite_are_not_kept(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dev, which is evaluated from then on, would show it too.
    learner, store, task = make_task(
        hum_pack, "training.checkpoint_seconds=0", "training.selection_start=0.5"
    )
    step = Trainer.take_step

    def overflow(trainer: Trainer) -> None:
        step(trainer)
        if trainer.state.step == 6:
            with torch.no_grad():
                learner.network.fc2.bias.fill_(float("inf"))

    monkeypatch.setattr(Trainer, "take_step", overflow)
    with pytest.raises(TrainingError, match="not finite after step 6; the checkpoint of step 3 is kept"):
        fit(learner, store, task, tmp_path)
    tensors, _ = load_tensors(tmp_path / "checkpoint" / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_pass_in_batches_of_like_length_equals_a_pass_of_each(hum_pack: Pack) -> None:
    learner, store, _ = make_task(hum_pack)
    indices = [5, 0, 30, 17, 8, 21]
    outputs = learner.forward_utterances(store, indices)
    for place, index in enumerate(indices):
        waveform = torch.from_numpy(hum_pack.waveform(index))
        z, probabilities = learner.forward_waveforms(waveform[None], torch.tensor([len(waveform)]))
        np.testing.assert_allclose(outputs.z[place], z[0], atol=1e-5)
        np.testing.assert_allclose(outputs.probabilities[place], probabilities[0], atol=1e-5)


def test_the_front_end_is_fitted_on_training_utterances_alone(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack)
    fit(learner, store, task, tmp_path)
    frames = np.concatenate([store.frames(i) for i in task.train]).astype(np.float64)
    np.testing.assert_allclose(learner.frontend.mean, frames.mean(axis=0), rtol=1e-4)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack, "training.checkpoint_seconds=0")

    def spoil(row: HistoryRow, _: int) -> None:
        if row.step == 6:
            with torch.no_grad():
                learner.network.fc2.bias.fill_(float("nan"))

    with pytest.raises(
        TrainingError, match=r"loss is nan between steps 6 and 9; the checkpoint of step 6 is kept"
    ):
        fit(learner, store, task, tmp_path, progress=spoil)
    tensors, metadata = load_tensors(tmp_path / "checkpoint" / "state.safetensors")
    assert json.loads(metadata["state"])["step"] == 6
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_resume_is_bit_for_bit_the_uninterrupted_run(hum_pack: Pack, tmp_path: Path) -> None:
    def interrupted(row: HistoryRow, _: int) -> None:
        if row.step == 6:
            raise KeyboardInterrupt

    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole, store, task = make_task(hum_pack, "training.checkpoint_seconds=0", "training.precision=auto")
    fit(whole, store, task, tmp_path / "whole")
    broken, store, task = make_task(hum_pack, "training.checkpoint_seconds=0", "training.precision=auto")
    with pytest.raises(KeyboardInterrupt):
        fit(broken, store, task, tmp_path / "broken", progress=interrupted)
    resumed, store, task = make_task(hum_pack, "training.checkpoint_seconds=0", "training.precision=auto")
    seen: list[int] = []
    fit(resumed, store, task, tmp_path / "broken", resume=True, progress=lambda row, _: seen.append(row.step))
    assert seen == [9, 12]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    histories = [
        pd.read_csv(tmp_path / name / "history.csv").drop(columns="seconds") for name in ("whole", "broken")
    ]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_a_resumption_elsewhere_keeps_the_precision(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(row: HistoryRow, _: int) -> None:
        raise KeyboardInterrupt

    settings = ("training.checkpoint_seconds=0", "training.precision=auto")
    monkeypatch.setattr(training, "bfloat16_is_fast", lambda _: True)
    learner, store, task = make_task(hum_pack, *settings)
    with pytest.raises(KeyboardInterrupt):
        fit(learner, store, task, tmp_path, progress=interrupted)
    monkeypatch.setattr(training, "bfloat16_is_fast", lambda _: False)
    learner, store, task = make_task(hum_pack, *settings)
    assert fit(learner, store, task, tmp_path, resume=True).precision == "bfloat16"
    learner, store, task = make_task(hum_pack, *settings)
    (tmp_path / "new").mkdir()
    assert fit(learner, store, task, tmp_path / "new").precision == "float32"


def test_a_checkpoint_of_other_settings_is_refused(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack, "training.checkpoint_seconds=0")
    fit(learner, store, task, tmp_path)
    other = TrainingTask(**(vars(task) | {"settings_hash": "other"}))
    with pytest.raises(TrainingError, match="other settings"):
        fit(make_task(hum_pack)[0], store, other, tmp_path, resume=True)
    (tmp_path / "checkpoint" / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="damaged"):
        fit(make_task(hum_pack)[0], store, task, tmp_path, resume=True)


def test_tensorboard_gets_the_rows(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack)
    fit(learner, store, task, tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))


@pytest.mark.full
def test_kill_at_any_time_and_resume(hum_pack: Pack, tmp_path: Path) -> None:
    """A run that is killed at random times and resumed has the files of the uninterrupted run."""
    overrides = [*SHORT, "training.steps=40", "training.checkpoint_seconds=0"]
    train(hum_pack.folder, tmp_path / "whole", "dai2019-mel", overrides, threads=1)
    command = [sys.executable, "-m", "emospec", "train", str(hum_pack.folder), "--out", str(tmp_path / "killed"),
               "--threads", "1", "--json", *(part for o in overrides for part in ("--set", o))]  # fmt: skip
    rng = np.random.default_rng(0)
    kills = 0
    for _ in range(4):
        resume = ["--resume"] if (tmp_path / "killed").exists() else []
        process = subprocess.Popen([*command, *resume], stdout=subprocess.DEVNULL)
        history = tmp_path / "killed" / "history.csv"
        before = history.stat().st_mtime_ns if history.exists() else 0
        while process.poll() is None and (history.stat().st_mtime_ns if history.exists() else 0) == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 1
    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL)
    for name in ("model/model.safetensors", "predictions.csv", "scores.json", "folds.csv", "config.toml"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


@pytest.mark.parametrize("pooling", ["last", "statistics", "attention"])
def test_a_step_waits_for_no_accelerator(
    pooling: str, hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A meta tensor has no values: whatever asks for one is an error, as waiting for a device would be.
    settings = ("training.averaging=0.9", "network.normalise=true", "frontend.own_mean=true")
    learner, store, task = make_task(hum_pack, *settings, f"network.pooling={pooling}")
    trainer = Trainer(learner, store, task, tmp_path, torch.device("cpu"))
    trainer.average.to("meta")
    meta = torch.device("meta")
    trainer.learner, trainer.batches.weights = learner.to(meta), trainer.batches.weights.to(meta)
    trainer.device = trainer.batches.device = meta
    trainer.sums = trainer.sums.to(meta)
    monkeypatch.setattr(trainer.optimizer, "step", lambda _: None)  # torch's kernel, which has no meta form
    store.keep_on(meta, resident=True)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    trainer.take_step()
    with pytest.raises(NotImplementedError, match="meta"):
        trainer.close_row()
    assert trainer.state.step == 1


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_freed_memory_is_used_again() -> None:
    code = """if True:
        from resource import RUSAGE_SELF, getrusage
        import numpy as np
        from emospec.learning.device import reuse_freed_memory
        def faults():
            before = getrusage(RUSAGE_SELF).ru_minflt
            np.empty(2**26, np.uint8).fill(1)
            return getrusage(RUSAGE_SELF).ru_minflt - before
        faults()
        print(faults())
        reuse_freed_memory()
        faults()
        print(faults())
    """
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    before, after = map(int, printed.split())
    assert after < before / 8


EVERYTHING = (
    "network.normalise=true",
    "network.pooling=statistics",
    "network.channels=[8,8,8,8]",
    "frontend.own_mean=true",
    "augmentation.speed=0.1",
    "augmentation.noise=0.5",
    "augmentation.masks=1",
    "loss.label_smoothing=0.1",
    "training.schedule=cosine",
    "training.weight_decay=0.01",
    "training.averaging=0.9",
)


def teacher_file(pack: Pack, path: Path) -> str:
    """Write embeddings that give the emotion and a speaker, with a third dimension that is constant."""
    rows = [[u.emotion == pack.utterances[0].emotion, u.speaker == "s1", True] for u in pack.utterances]
    write_teacher(path, [u.id for u in pack.utterances], [np.array([row, row], np.float16) for row in rows])
    return str(path)


def write_teacher(path: Path, ids: list[str], vectors: list[np.ndarray], seconds: float = 0.16) -> None:
    steps = [len(v) for v in vectors]
    np.savez(path, id=ids, steps=steps, vector=np.concatenate(vectors), seconds=seconds)


def test_resumed_is_uninterrupted_with_everything_on(hum_pack: Pack, tmp_path: Path) -> None:
    more = (*EVERYTHING, f"loss.teacher={teacher_file(hum_pack, tmp_path / 'teacher.npz')}")
    whole, store, task = make_task(hum_pack, *more, "training.checkpoint_seconds=0")
    (tmp_path / "whole").mkdir()
    (tmp_path / "halves").mkdir()
    fit(whole, store, task, tmp_path / "whole")

    class StopError(Exception):
        pass

    def stop_at_six(row: HistoryRow, _: int) -> None:
        if row.step == 6:
            raise StopError

    learner, store, task = make_task(hum_pack, *more, "training.checkpoint_seconds=0")
    with pytest.raises(StopError):
        fit(learner, store, task, tmp_path / "halves", progress=stop_at_six)
    resumed, store, task = make_task(hum_pack, *more, "training.checkpoint_seconds=0")
    fit(resumed, store, task, tmp_path / "halves", resume=True)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert not resumed.training


def test_the_running_mean_of_weights_is_what_is_kept(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack, "training.averaging=0.9", "training.evaluate_every=1")
    trainer = Trainer(learner, store, task, tmp_path, torch.device("cpu"))
    expected = None
    for _ in range(5):
        trainer.take_step()
        now = learner.network.fc2.weight.detach().clone()
        expected = now if expected is None else 0.9 * expected + 0.1 * now
    torch.testing.assert_close(trainer.candidate.network.fc2.weight, expected)
    assert not torch.allclose(expected, now)


def test_the_cosine_schedule_rises_and_ends_near_nothing(hum_pack: Pack, tmp_path: Path) -> None:
    learner, store, task = make_task(hum_pack, "training.schedule=cosine", "training.steps=100")
    trainer = Trainer(learner, store, task, tmp_path, torch.device("cpu"))
    rates = []
    for trainer.state.step in range(100):
        rates.append(trainer._learning_rate())
    assert rates[0] == pytest.approx(1e-3 / 5)
    assert max(rates) == pytest.approx(1e-3, rel=0.02)
    assert rates[50] == pytest.approx(0.5e-3)
    assert rates[-1] < 1e-6


@pytest.mark.full
def test_distillation_learns_the_teachers_embeddings(hum_pack: Pack, tmp_path: Path) -> None:
    file = teacher_file(hum_pack, tmp_path / "teacher.npz")
    learner, store, task = make_task(hum_pack, f"loss.teacher={file}", "training.steps=40")
    trainer = Trainer(learner, store, task, tmp_path, torch.device("cpu"))
    batch = np.array(task.train[:8])

    def loss() -> float:
        with torch.no_grad():
            encoded = learner.network.encode(*learner.frontend.standardise(*store.batch(batch)))
            summary = learner.network.pool(*encoded)
            return float(trainer.teacher(*encoded, summary, batch, torch.ones(len(batch))))

    before = loss()
    for _ in range(40):
        trainer.take_step()
    assert loss() < 0.5 * before


def test_a_teachers_embeddings_are_aligned_with_the_steps(hum_pack: Pack, tmp_path: Path) -> None:
    tenths = [np.arange(20 + i)[:, None] / 10 for i in range(len(hum_pack))]  # its embedding is the time
    write_teacher(tmp_path / "teacher.npz", [u.id for u in hum_pack.utterances], tenths, seconds=0.1)
    learner, store, task = make_task(hum_pack, f"loss.teacher={tmp_path / 'teacher.npz'}")
    teacher = Trainer(learner, store, task, tmp_path, torch.device("cpu")).teacher
    # The field of step j is frames 16 j to 16 j + 48; the second utterance has twice its speed.
    embeddings, covered = teacher._aligned(np.array([3, 5]), 20, torch.tensor([1.0, 2.0]))
    centres = 0.16 * np.arange(20) + 0.24
    for row, (speed, steps) in enumerate([(1, 23), (2, 25)]):
        np.testing.assert_array_equal(covered[row], speed * centres < steps / 10)
        mask = covered[row].numpy()
        np.testing.assert_allclose(embeddings[row, mask, 0], speed * centres[mask], atol=0.11)
        assert not embeddings[row, ~mask].any()


def test_a_teacher_that_lacks_utterances_is_refused(hum_pack: Pack, tmp_path: Path) -> None:
    write_teacher(tmp_path / "teacher.npz", ["other"], [np.zeros((1, 3), np.float32)])
    learner, store, task = make_task(hum_pack, f"loss.teacher={tmp_path / 'teacher.npz'}")
    with pytest.raises(TrainingError, match="training utterances, such as"):
        fit(learner, store, task, tmp_path)
    np.savez(tmp_path / "teacher.npz", id=["a", "b"], steps=[1, 2], vector=np.zeros((4, 3)), seconds=0.1)
    with pytest.raises(TrainingError, match=r"2 ids, 2 numbers of steps of 0.1 s and \(4, 3\) vectors"):
        fit(learner, store, task, tmp_path)
    np.savez(
        tmp_path / "teacher.npz", id=[], steps=np.zeros(0, np.int64), vector=np.zeros((0, 3)), seconds=0.1
    )
    with pytest.raises(TrainingError, match="0 ids"):
        fit(learner, store, task, tmp_path)
    whole, array = (tmp_path / "teacher.npz").read_bytes(), io.BytesIO()
    np.save(array, np.zeros(3))
    for content in (b"no archive", b"", whole[: len(whole) // 2], array.getvalue()):
        (tmp_path / "teacher.npz").write_bytes(content)
        with pytest.raises(TrainingError, match="cannot be read as a teacher's file"):
            fit(learner, store, task, tmp_path)
