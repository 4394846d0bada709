"""The training loop, read from top to bottom.

Adam for a fixed number of steps on L = L_s + lambda L_c, in the paper at a constant rate; the model of the best dev UA
is kept (Dai et al. 2019; the authors' experiment repository). Writes `history.csv` and the checkpoint of a run folder;
the rest of the folder is `experiments.run`'s.
"""

import copy
import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emospec.errors import TrainingError
from emospec.evaluation.metrics import confusion_matrix, unweighted_accuracy, weighted_accuracy
from emospec.files import write_text
from emospec.learning.batches import Batches
from emospec.learning.checkpoint import TrainingState, load_checkpoint, save_checkpoint, saved_step
from emospec.learning.device import reuse_freed_memory, training_device
from emospec.learning.distillation import Distillation, take_weights
from emospec.learning.distributed import Ranks
from emospec.learning.frame_store import FrameStore
from emospec.learning.learner import Learner
from emospec.learning.losses import weighted_cross_entropy
from emospec.learning.optimizer import Adam
from emospec.learning.task import HistoryRow, TrainingResult, TrainingTask
from emospec.runs.folder import RunFolder

# Steps from which the time of a training is estimated.
_TIMED_STEPS = 3


def bfloat16_is_fast(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16 by itself (CUDA, AMX or AVX512-BF16)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def fit(
    learner: Learner, store: FrameStore, task: TrainingTask, folder: Path, *,
    resume: bool = False, tensorboard: bool = False,
    progress: Callable[[HistoryRow, int], None] | None = None, pace: Callable[[int, float], None] | None = None,
) -> TrainingResult:  # fmt: skip
    """Train a fresh learner in place; it ends with the weights of the best dev UA.

    Args:
        learner: its front end is fitted here, on the training utterances alone.
        store: the frames of the pack.
        task: the utterances, targets and settings.
        folder: the run folder.
        resume: go on from the checkpoint, where there is one.
        tensorboard: log to `folder/tensorboard` too.
        progress: called with each row of history and the number of steps.
        pace: called once, some steps after the start, with the step and the seconds that one takes here.

    Raises:
        TrainingError: the loss or a weight is not finite (the last good checkpoint stays), or the checkpoint
            is of another task.
    """
    reuse_freed_memory()
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter
    trainer = Trainer(learner, store, task, folder, device=training_device())
    if resume and trainer.folder.checkpoint.is_file():
        trainer.restore()
    log = SummaryWriter(trainer.folder.tensorboard) if tensorboard and trainer.ranks.main else None
    begun, timed_from = trainer.state.step, 0.0
    for step in range(begun, trainer.steps):
        trainer.take_step()
        # The first step is slower than the others: libraries choose their kernels.
        if pace and step == begun:
            timed_from = trainer.seconds_when_done()
        elif pace and step == begun + _TIMED_STEPS:
            pace(step + 1, (trainer.seconds_when_done() - timed_from) / _TIMED_STEPS)
        if (step + 1) % task.training.evaluate_every == 0 or step + 1 == trainer.steps:
            row = trainer.close_row()
            if log:
                for name, value in asdict(row).items():
                    if value is not None:
                        log.add_scalar(name, value, row.step)
                log.flush()
            if progress:
                progress(row, trainer.steps)
    if log:
        log.close()
    return trainer.finish()


class Trainer:
    """A training between two steps: learner, teacher, optimiser, and the state that a checkpoint holds."""

    def __init__(
        self, learner: Learner, store: FrameStore, task: TrainingTask, folder: Path, device: torch.device
    ) -> None:
        self.learner, self.store, self.task, self.device = learner, store, task, device
        self.ranks, self.folder = Ranks(), RunFolder(folder)
        settings, processes = task.training, self.ranks.count
        # Several processes must equal one.
        if processes > settings.batch_size:
            raise TrainingError(
                f"{processes} processes share batches of {settings.batch_size}. Start fewer, or raise training.batch_size"
            )
        if processes > 1 and learner.network.design.normalise:
            raise TrainingError(
                "network.normalise takes its statistics from the whole batch, which no process sees. "
                "Train in one process"
            )
        self.steps, self.select_after = settings.plan(len(task.train))
        precision = settings.precision
        if precision == "auto":
            precision = "bfloat16" if bfloat16_is_fast(device) else "float32"
        self.state = TrainingState(precision, task.protocol)

        # Mean and deviation of each bin are of the training utterances alone.
        learner.frontend.fit(self._frames_to_fit())
        learner.train()
        self.teacher: Distillation | None = None
        if task.loss.teacher:
            width = learner.network.fc1.in_features
            heads = Distillation(
                task.loss.teacher, task.names, task.train, summary_width=width, seed=task.seed
            )
            self.teacher = heads.to(device)
        if settings.start_from:
            take_weights(learner, Path(settings.start_from))
        learner.to(device)
        learner.network.precision = getattr(torch, precision)
        self.batches = Batches(store, task, learner, self.ranks, device=device)
        # The centres are no parameters: they move by their own rule, at the end of a step.
        trained = [*learner.parameters(), *(self.teacher.parameters() if self.teacher else [])]
        self.optimizer = Adam(trained, settings.weight_decay)
        # `to` lays the copied weights of the GRU end to end again, as an accelerator wants them.
        self.average = copy.deepcopy(learner).to(device) if settings.averaging else None
        self.best: dict[str, Tensor] = {}
        # Of loss, softmax loss and centre loss, since the last row.
        self.sums, self.steps_in_row = torch.zeros(3, device=device), 0
        self.started = self.saved_at = time.monotonic()

    def _frames_to_fit(self) -> Iterator[NDArray[np.float32]]:
        for index in self.task.train:
            # The audit asks which utterances were in fact read.
            self.state.fitted_on.append(index)
            yield self.store.frames(index)

    def seconds_when_done(self) -> float:
        """Return the seconds of training, after the device has finished its work."""
        self.sums.sum().item()
        return time.monotonic() - self.started

    def take_step(self) -> None:
        """Take one step: losses of a batch, gradients, Adam, then the centres."""
        settings = self.task.loss
        center_weight, center_rate = settings.center_weight, settings.center_rate
        # Warm-up: without the centre loss, the centres follow the features.
        if self.state.step < settings.warmup_steps:
            center_weight, center_rate = 0.0, 1.0

        # Steps 1 to 8 of the network: frames -> z, logits.
        batch = self.batches.batch(self.state.step)
        # Not in one call: a teacher's heads need the GRU's outputs.
        outputs, mask = self.learner.network.encode(batch.frames, batch.counts)
        utterance = self.learner.network.pool(outputs, mask)
        z, logits = self.learner.network.classify(utterance)

        # Eq. 4: L = L_s + lambda L_c, and a teacher's loss where there is one.
        targets, weights, total = batch.targets, batch.weights, batch.total_weight
        smoothing = settings.label_smoothing
        softmax_loss = weighted_cross_entropy(logits, targets, weights, smoothing=smoothing, total=total)
        center_loss = self.learner.center_loss(z, targets, weights, total)
        loss = softmax_loss + center_weight * center_loss
        if self.teacher:
            of_teacher = self.teacher(outputs, mask, utterance, indices=batch.indices, speed=batch.speed)
            loss = loss + settings.teacher_weight * batch.share * of_teacher

        # Weights move by the gradient of the whole mini-batch.
        self.optimizer.zero_grad()
        loss.backward()
        self.ranks.sum_gradients(self.optimizer.parameters)
        self.optimizer.step(self._learning_rate())
        # Eq. 5: then the centres move, by the mean z of each class in the batch.
        self.learner.center_loss.update(z, targets, center_rate, self.ranks.sum)
        if self.average:
            self._update_average(self.average)
        self.sums += torch.stack([loss, softmax_loss, center_loss]).detach()
        self.state.step += 1
        self.steps_in_row += 1

    @torch.no_grad()
    def _update_average(self, average: Learner) -> None:
        """Set mean <- d mean + (1 - d) learner, of weights and statistics; the first step's are its start."""
        # torch's AveragedModel would wait for the accelerator at every step: it counts on the CPU.
        share = 1 - self.task.training.averaging if self.state.step else 1.0
        for mean, new in zip(average.state_dict().values(), self.learner.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, share)
            else:
                mean.copy_(new)

    def _learning_rate(self) -> float:
        rate = self.task.training.learning_rate
        if self.task.training.schedule == "constant":
            return rate
        # Up to the full rate over a twentieth of the steps, and down to 0 along a cosine.
        warm = max(1, round(0.05 * self.steps))
        done = self.state.step / self.steps
        return rate * min(1.0, (self.state.step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def candidate(self) -> Learner:
        """The learner that dev evaluates and a run keeps: the running mean of the weights, where there is one."""
        return self.average or self.learner

    def close_row(self) -> HistoryRow:
        """Evaluate dev where it is due, keep the best model, write history and checkpoint."""
        state, settings = self.state, self.task.training
        loss, softmax_loss, center_loss = (self.ranks.sum(self.sums) / self.steps_in_row).tolist()
        if not math.isfinite(loss):
            first = state.step - self.steps_in_row
            raise TrainingError(f"the loss is {loss} between steps {first} and {state.step}; {self._kept()}")
        # Dev alone chooses the model; of equal UAs the first wins.
        dev_ua = dev_wa = None
        if state.step > self.select_after and state.step % settings.evaluate_every == 0:
            dev_ua, dev_wa = self._evaluate_dev()
            if dev_ua > (-math.inf if state.best_ua is None else state.best_ua):
                state.best_ua, state.best_step = dev_ua, state.step
                self.best = {name: tensor.clone() for name, tensor in self.candidate.state_dict().items()}
        epoch = state.step * settings.batch_size / len(self.task.train)
        state.seconds = time.monotonic() - self.started
        row = HistoryRow(
            state.step, epoch, loss, softmax_loss=softmax_loss, center_loss=center_loss,
            seconds=state.seconds, dev_ua=dev_ua, dev_wa=dev_wa,
        )  # fmt: skip
        state.rows.append(row)
        self.sums.zero_()
        self.steps_in_row = 0
        if self.ranks.main:
            self._write_history()
            if time.monotonic() - self.saved_at >= settings.checkpoint_seconds or state.step == self.steps:
                self.save()
        return row

    def _evaluate_dev(self) -> tuple[float, float]:
        """Return UA over the classes present in dev, and WA, at training's precision."""
        dev, precision = list(self.task.dev), self.learner.network.precision
        outputs = self.ranks.forward_utterances(self.candidate, self.store, dev, precision)
        self.state.selected_on = sorted({*self.state.selected_on, *dev})
        if not np.isfinite(outputs.probabilities).all():
            step = self.state.step
            raise TrainingError(f"the network's output for dev is NaN at step {step}; {self._kept()}")
        predicted, classes = outputs.probabilities.argmax(axis=1), len(self.learner.classes)
        confusion = confusion_matrix(self.task.targets[dev], predicted, classes)
        return unweighted_accuracy(confusion), weighted_accuracy(confusion)

    def save(self) -> None:
        """Write the checkpoint; raise TrainingError where a tensor is not finite."""
        modules = {"learner": self.learner, "average": self.average, "teacher": self.teacher}
        parts = {name: module.state_dict() for name, module in modules.items() if module}
        parts |= {"best": self.best, "adam": dict(self.optimizer.state())}
        # The last step's loss was checked before its update.
        if not all(tensor.isfinite().all() for part in parts.values() for tensor in part.values()):
            raise TrainingError(f"a weight is not finite after step {self.state.step}; {self._kept()}")
        save_checkpoint(self.folder.checkpoint, parts, self.state, self.task.settings_hash)
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Go on from the checkpoint."""
        parts, self.state = load_checkpoint(self.folder.checkpoint, self.task.settings_hash)
        self.learner.load_state_dict(parts["learner"])
        # Another machine's "auto" may be another precision; half a training of each would be neither.
        self.learner.network.precision = getattr(torch, self.state.precision)
        self.best = {name: tensor.to(self.device) for name, tensor in parts.get("best", {}).items()}
        if self.average:
            self.average.load_state_dict(parts["average"])
        if self.teacher:
            self.teacher.load_state_dict(parts["teacher"])
        for name, tensor in self.optimizer.state():
            tensor.copy_(parts["adam"][name])
        self.started = time.monotonic() - self.state.seconds
        if self.ranks.main:
            # It may be ahead of the checkpoint.
            self._write_history()

    def _write_history(self) -> None:
        out = io.StringIO()
        writer = csv.DictWriter(out, [field.name for field in fields(HistoryRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.state.rows)
        write_text(self.folder.history, out.getvalue())

    def _kept(self) -> str:
        """Return in words what a training that broke down leaves, and what to do."""
        kept = "no checkpoint was due yet"
        if self.folder.checkpoint.is_file():
            kept = f"the checkpoint of step {saved_step(self.folder.checkpoint)} is kept"
        return (
            f"{kept}. Lower training.learning_rate or loss.center_weight, or set training.precision=float32"
        )

    def finish(self) -> TrainingResult:
        """Make the learner the best model, in float32."""
        if self.state.best_ua is None:
            raise TrainingError("no model was chosen: dev has no utterance of the model's classes")
        self.learner.load_state_dict(self.best)
        self.learner.network.precision = torch.float32
        self.learner.eval()
        state, seconds = self.state, time.monotonic() - self.started
        return TrainingResult(
            self.steps, state.best_step, self.state.best_ua, seconds, precision=state.precision,
            fitted_on=tuple(state.fitted_on), selected_on=tuple(state.selected_on),
        )  # fmt: skip
