"""The training loop, read from top to bottom; its checkpoints.

Adam for a fixed number of steps on L = L_s + lambda L_c, in the paper at a constant rate; the model of the best
dev UA is kept (Dai et al. 2019; the authors' experiment repository). What a run folder
holds besides `history.csv` and `checkpoint/` is `run`'s.
"""

import copy
import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path

import numpy as np
import safetensors
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from emospec.audio.frames import MIN_FRAMES
from emospec.config import Training
from emospec.errors import TrainingError
from emospec.evaluation.metrics import confusion_matrix, unweighted_accuracy, weighted_accuracy
from emospec.files import write_text
from emospec.learning.augmentation import Augmenter
from emospec.learning.batches import FrameStore, batch_indices
from emospec.learning.device import keep_float32_whole, to_device
from emospec.learning.distillation import Distillation, take_over
from emospec.learning.distributed import Ranks
from emospec.learning.learner import Learner, load_tensors, save_tensors
from emospec.learning.losses import utterance_weights, weighted_cross_entropy
from emospec.learning.memory import give_back_freed_memory, reuse_freed_memory
from emospec.learning.optimizer import Adam
from emospec.learning.task import HistoryRow, TrainingResult, TrainingTask
from emospec.runs.folder import RunFolder

TIMED_STEPS = 3  # from which the time of a training is estimated


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 by itself (CUDA, AMX or AVX512-BF16)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def resolve_precision(training: Training, device: torch.device) -> torch.dtype:
    """What the convolutions compute in while training and judging dev."""
    if training.precision == "auto":
        return torch.bfloat16 if bfloat16_is_fast(device) else torch.float32
    return torch.bfloat16 if training.precision == "bfloat16" else torch.float32


def fit(
    learner: Learner,
    store: FrameStore,
    task: TrainingTask,
    folder: Path,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    progress: Callable[[HistoryRow, int], None] | None = None,
    pace: Callable[[int, float], None] | None = None,
) -> TrainingResult:
    """Train a learner; on return it is the model of the best dev UA.

    Args:
        learner: fresh; its front end is fitted here, on the training utterances alone.
        store: the frames.
        task: utterances, targets, settings.
        folder: the run folder; `history.csv` and `checkpoint/` go there.
        resume: go on from the checkpoint, where there is one.
        tensorboard: log to `folder/tensorboard` too.
        progress: called with each row of history and the number of steps.
        pace: called once, some steps after the start, with the step and the seconds that one takes here.

    Raises:
        TrainingError: the loss or a weight is not finite (the last good checkpoint stays), or the checkpoint
            is of another task.
    """
    reuse_freed_memory()
    keep_float32_whole()
    if tensorboard:
        import_module("tensorboard")  # accelerate would leave a missing tracker out in silence
    accelerator = Accelerator(log_with="tensorboard" if tensorboard else None, project_dir=folder)
    if tensorboard:
        accelerator.init_trackers("tensorboard")
    trainer = _Trainer(learner, store, task, folder, accelerator)
    if resume:
        trainer.restore()
    begun, timed_from = trainer.step, 0.0
    while trainer.step < trainer.steps:
        trainer.take_step()
        # The first step is slower than the others: libraries choose their ways.
        if pace and trainer.step == begun + 1:
            timed_from = trainer.seconds_when_done()
        elif pace and trainer.step == begun + 1 + TIMED_STEPS:
            pace(trainer.step, (trainer.seconds_when_done() - timed_from) / TIMED_STEPS)
        if trainer.step % task.training.evaluate_every == 0 or trainer.step == trainer.steps:
            row = trainer.close_row()
            if tensorboard:
                accelerator.log({k: v for k, v in asdict(row).items() if v is not None}, step=row.step)
            if progress:
                progress(row, trainer.steps)
    for tracker in accelerator.trackers:
        tracker.finish()
    fitted = trainer.finish()
    give_back_freed_memory()
    return fitted


class _Trainer:
    """The state of a training: what a checkpoint holds."""

    def __init__(
        self, learner: Learner, store: FrameStore, task: TrainingTask, folder: Path, accelerator: Accelerator
    ) -> None:
        self.learner, self.store, self.task, self.folder = learner, store, task, folder
        self.accelerator, self.ranks = accelerator, Ranks()
        _refuse_unequal(self.ranks.count, task.training.batch_size, learner)
        self.steps, self.select_after = task.training.plan(len(task.train))
        self.train, self.dev = np.asarray(task.train), list(task.dev)
        self.fitted_on: list[int] = []
        self.selected_on: set[int] = set()
        learner.frontend.fit(self._frames_to_fit())
        learner.train()
        self.augment = Augmenter(task.augmentation, learner.frontend.frequencies)
        self.teacher = (
            Distillation(task.loss.teacher, task.names, task.train, learner, task.seed).to(accelerator.device)
            if task.loss.teacher
            else None
        )
        if task.training.start_from:
            take_over(learner, Path(task.training.start_from))
        learner.to(accelerator.device)
        store.keep_on(accelerator.device)
        self.windows = store.windows(self.train, 1e9 * task.training.window_gb, task.seed)
        of_train = torch.from_numpy(task.targets[self.train])
        groups = (
            torch.tensor([task.groups[i] for i in task.train]) if task.groups else torch.zeros_like(of_train)
        )
        self.weights = torch.zeros(len(task.targets))
        self.weights[self.train] = utterance_weights(of_train, groups, len(learner.classes))
        learner.network.precision = resolve_precision(task.training, accelerator.device)
        trained = [*learner.parameters(), *(self.teacher.parameters() if self.teacher else [])]
        self.optimizer = Adam(trained, task.training.weight_decay)
        self.average: Learner | None = None
        if task.training.averaging:
            # `to` lays the copied weights of the GRU end to end again, as an accelerator wants them.
            self.average = copy.deepcopy(learner).to(accelerator.device)
        self.step = 0
        self.rows: list[HistoryRow] = []
        self.best: dict[str, Tensor] = {}
        self.best_ua, self.best_step = -math.inf, 0
        self.earlier_seconds, self.started = 0.0, time.monotonic()
        self.sums = torch.zeros(3, device=accelerator.device)
        self.steps_in_row = 0
        self.saved_at = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.earlier_seconds + time.monotonic() - self.started

    def seconds_when_done(self) -> float:
        """Return `seconds` once an accelerator has done what it was asked for."""
        self.sums.sum().item()
        return self.seconds

    @property
    def precision(self) -> str:
        """What the convolutions compute in, by its name."""
        return str(self.learner.network.precision).removeprefix("torch.")

    @property
    def checkpoint(self) -> Path:
        return RunFolder(self.folder).checkpoint

    def _frames_to_fit(self) -> Iterator[NDArray[np.float32]]:
        """The frames of the training utterances, each noted as it is handed out: the audit asks."""
        for index in self.task.train:
            self.fitted_on.append(index)
            yield self.store.frames(index)

    def take_step(self) -> None:
        """One batch: losses, gradients, Adam, then the centres."""
        warming_up = self.step < self.task.loss.warmup_steps
        center_weight = 0.0 if warming_up else self.task.loss.center_weight
        center_rate = 1.0 if warming_up else self.task.loss.center_rate
        batch_size = self.task.training.batch_size
        if self.windows:
            self.store.read_ahead(self.windows.entered(self.step * batch_size))
        drawn = batch_indices(self.step, len(self.train), batch_size, self.task.seed, self.windows)
        joint = self.train[drawn]
        indices = self.ranks.share(joint)
        targets = to_device(torch.from_numpy(self.task.targets[indices]), self.accelerator.device)
        frames, counts = self._batch(indices)
        outputs, valid = self.learner.network.outputs(frames, counts)
        utterance = self.learner.network.pool(outputs, valid)
        z, logits = self.learner.network.classify(utterance)
        weights, total = (
            to_device(values, self.accelerator.device).to(z.dtype)
            for values in (self.weights[indices], self.weights[joint].sum())
        )
        softmax_loss = weighted_cross_entropy(logits, targets, weights, self.task.loss.label_smoothing, total)
        center_loss = self.learner.center_loss(z, targets, weights, total)
        loss = softmax_loss + center_weight * center_loss
        if self.teacher:
            share = len(indices) / len(joint)
            stretch = torch.from_numpy(self.store.counts[indices]).clamp(min=MIN_FRAMES) / counts
            told = self.teacher(outputs, valid, utterance, indices, stretch)
            loss = loss + self.task.loss.teacher_weight * share * told
        self.optimizer.zero_grad()
        loss.backward()
        self.ranks.sum_gradients(self.optimizer.parameters)
        self.optimizer.step(self._learning_rate())
        self.learner.center_loss.update(z, targets, center_rate, self.ranks.sum)
        if self.average:
            self._take_into_mean(self.average)
        self.sums += torch.stack([loss, softmax_loss, center_loss]).detach()
        self.step += 1
        self.steps_in_row += 1

    @torch.no_grad()
    def _take_into_mean(self, average: Learner) -> None:
        """Mean <- d mean + (1 - d) learner, of weights and statistics; the first step's are its start.

        torch's AveragedModel would wait for the accelerator at every step: it counts on the CPU.
        """
        share = 1 - self.task.training.averaging if self.step else 1.0
        for mean, new in zip(average.state_dict().values(), self.learner.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, share)
            else:
                mean.copy_(new)

    def _batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Standardised frames and their counts, augmented where that is set."""
        frames, counts = self.store.batch(indices)
        if not self.augment.active:
            return self.learner.frontend.standardise(frames, counts)
        seed = np.random.SeedSequence([self.task.seed, self.step, self.ranks.rank]).generate_state(
            1, np.uint64
        )[0]
        generator = torch.Generator().manual_seed(int(seed))
        frames, counts = self.augment(frames, counts, generator)
        frames, counts = self.learner.frontend.standardise(frames, counts)
        return self.augment.hide(frames, counts, generator), counts

    def _learning_rate(self) -> float:
        rate = self.task.training.learning_rate
        if self.task.training.schedule == "constant":
            return rate
        warm = max(1, round(0.05 * self.steps))
        done = self.step / self.steps
        return rate * min(1.0, (self.step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def judged(self) -> Learner:
        """What dev judges and a run keeps: the running mean of the weights, where there is one."""
        return self.average or self.learner

    def close_row(self) -> HistoryRow:
        """Judge dev where it is due, keep the best model, write history and checkpoint."""
        loss, softmax_loss, center_loss = (self.ranks.sum(self.sums) / self.steps_in_row).tolist()
        if not math.isfinite(loss):
            first = self.step - self.steps_in_row
            raise TrainingError(f"the loss is {loss} between steps {first} and {self.step}; {self._kept()}")
        dev_ua = dev_wa = None
        if self.step > self.select_after and self.step % self.task.training.evaluate_every == 0:
            dev_ua, dev_wa = self._judge_dev()
            if dev_ua > self.best_ua:
                self.best_ua, self.best_step = dev_ua, self.step
                self.best = {name: tensor.clone() for name, tensor in self.judged.state_dict().items()}
        epoch = self.step * self.task.training.batch_size / len(self.train)
        row = HistoryRow(self.step, epoch, loss, softmax_loss, center_loss, self.seconds, dev_ua, dev_wa)
        self.rows.append(row)
        self.sums.zero_()
        self.steps_in_row = 0
        if self.ranks.main:
            write_text(RunFolder(self.folder).history, _to_csv(self.rows))
            due = time.monotonic() - self.saved_at >= self.task.training.checkpoint_seconds
            if due or self.step == self.steps:
                self.save()
        return row

    def _judge_dev(self) -> tuple[float, float]:
        """UA over the classes present in dev, and WA, at training's precision."""
        outputs = self.ranks.judge(self.judged, self.store, self.dev, self.learner.network.precision)
        self.selected_on.update(self.dev)
        targets = self.task.targets[self.dev]
        if not np.isfinite(outputs.probabilities).all():
            raise TrainingError(f"the network says NaN of dev at step {self.step}; {self._kept()}")
        confusion = confusion_matrix(targets, outputs.probabilities.argmax(axis=1), len(self.learner.classes))
        return unweighted_accuracy(confusion), weighted_accuracy(confusion)

    def save(self) -> None:
        """Write the checkpoint: one file, so that it is whole or the one before; TrainingError where it holds NaN."""
        tensors = {f"learner.{name}": tensor for name, tensor in self.learner.state_dict().items()}
        if self.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        if self.teacher:
            tensors |= {f"teacher.{name}": tensor for name, tensor in self.teacher.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"adam.{name}": tensor for name, tensor in self.optimizer.state()}
        # The last step's loss was judged before its update.
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise TrainingError(f"a weight is not finite after step {self.step}; {self._kept()}")
        about = {
            "fingerprint": self.task.settings_hash,
            "step": self.step,
            "precision": self.precision,
            "best_ua": self.best_ua if self.best else None,
            "best_step": self.best_step,
            "seconds": self.seconds,
            "protocol": dict(self.task.protocol),
            "fitted_on": self.fitted_on,
            "selected_on": sorted(self.selected_on),
            "rows": [asdict(row) for row in self.rows],
        }
        self.checkpoint.parent.mkdir(exist_ok=True)
        save_tensors(self.checkpoint, tensors, {"state": json.dumps(about)})
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Go on from the checkpoint, where there is one."""
        if not self.checkpoint.is_file():
            return
        try:
            tensors, metadata = load_tensors(self.checkpoint)
            about = json.loads(metadata["state"])
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise TrainingError(
                f"{self.checkpoint} is damaged ({error}). Delete it to train from the start"
            ) from error
        if about["fingerprint"] != self.task.settings_hash or "precision" not in about:
            raise TrainingError(
                f"{self.checkpoint} is of other settings, utterances or another version. "
                "Resume with the settings of its config.toml, or name another folder"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}

        self.learner.load_state_dict(part("learner."))
        # Another machine's "auto" may be another; half of each would be neither.
        self.learner.network.precision = getattr(torch, about["precision"])
        self.best = {name: tensor.to(self.accelerator.device) for name, tensor in part("best.").items()}
        if self.average:
            self.average.load_state_dict(part("average."))
        if self.teacher:
            self.teacher.load_state_dict(part("teacher."))
        for name, tensor in self.optimizer.state():
            tensor.copy_(tensors[f"adam.{name}"])
        self.step = about["step"]
        self.best_ua = -math.inf if about["best_ua"] is None else about["best_ua"]
        self.best_step, self.earlier_seconds = about["best_step"], about["seconds"]
        # What made the statistics and the choice that the checkpoint holds.
        self.fitted_on, self.selected_on = about["fitted_on"], set(about["selected_on"])
        self.rows = [HistoryRow(**row) for row in about["rows"]]
        if self.ranks.main:
            write_text(RunFolder(self.folder).history, _to_csv(self.rows))

    def _kept(self) -> str:
        """What is left after a training that broke down, and what to do."""
        kept = "no checkpoint was due yet"
        if self.checkpoint.is_file():
            step = json.loads(load_tensors(self.checkpoint)[1]["state"])["step"]
            kept = f"the checkpoint of step {step} is kept"
        return (
            f"{kept}. Lower training.learning_rate or loss.center_weight, or set training.precision=float32"
        )

    def finish(self) -> TrainingResult:
        """Make the learner the best model, in float32."""
        precision = self.precision
        self.learner.load_state_dict(self.best)
        self.learner.network.precision = torch.float32
        self.learner.eval()
        used = tuple(self.fitted_on), tuple(sorted(self.selected_on))
        return TrainingResult(self.steps, self.best_step, self.best_ua, self.seconds, precision, *used)


def _refuse_unequal(processes: int, batch_size: int, learner: Learner) -> None:
    """TrainingError where several processes would not equal one."""
    if processes > batch_size:
        raise TrainingError(
            f"{processes} processes share batches of {batch_size}. Start fewer, or raise training.batch_size"
        )
    if processes > 1 and learner.network.design.normalise:
        raise TrainingError(
            "network.normalise takes its statistics from the whole batch, which no process sees. "
            "Train in one process"
        )


def _to_csv(rows: Sequence[HistoryRow]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(HistoryRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return out.getvalue()
