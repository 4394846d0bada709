"""Training throughput against the plain reference, what each fast path is worth, and the machine's limit."""

import itertools
import statistics
import tempfile
from functools import cache
from pathlib import Path

from bench.corpus import durations, make_pack
from bench.measure import CORES, Ratio, in_turn, limit_gflops, ratios_of, seconds, table, worker
from bench.plain import Training, Ways, log_mel, log_stft

UTTERANCES, BATCH = 320, 32
STEPS = {"log-mel": 2, "log-stft": 1}  # of the plain way in one repetition; it is slow
CLASSES = 4
LADDER = {
    "plain": Ways(),
    "+ freed memory kept": Ways(allocator=True),
    "+ channels last": Ways(allocator=True, channels_last=True),
    "+ bfloat16 convolutions": Ways(allocator=True, channels_last=True, bfloat16=True),
    "+ pooling before ReLU": Ways(allocator=True, channels_last=True, bfloat16=True, pool_first=True),
    "+ fused Adam": Ways(allocator=True, channels_last=True, bfloat16=True, pool_first=True, fused_adam=True),
}


def operations(frames: int, bins: int) -> int:
    """Multiplications and additions of a training step per `frames` frames of speech, padding left out.

    Forward, and twice as many backward, but for the first convolution, whose input needs no gradient.
    """
    height, total = bins, 0
    width = float(frames)
    for channels_in, channels, kernel, stride in (
        (1, 48, 7, 2),
        (48, 64, 3, 1),
        (64, 80, 3, 1),
        (80, 96, 3, 1),
    ):
        height, width = (height - kernel) // stride + 1, width / stride
        forward = 2 * height * width * channels * channels_in * kernel**2
        total += int(forward * (2 if channels_in == 1 else 3))
        if stride == 1:
            height, width = height // 2, width / 2
    gru = 2 * width * 2 * 3 * 128 * (height * 96 + 128)
    return total + int(3 * gru)


@cache
def _ours(pack: str, kind: str):  # type: ignore[no-untyped-def]
    """A trainer of emospec's own over a pack; made once per process."""
    import numpy as np
    from accelerate import Accelerator

    from emospec.config import Loss, load_settings
    from emospec.data.pack import Pack
    from emospec.learning.batches import FrameStore
    from emospec.learning.learner import Learner
    from emospec.learning.task import Task
    from emospec.learning.training import _Trainer, reuse_freed_memory

    reuse_freed_memory()
    learner = Learner(kind, 1400, [str(k) for k in range(CLASSES)])  # type: ignore[arg-type]
    store = FrameStore(Pack(pack), learner.frontend)
    everything = list(range(len(store.counts)))
    training = load_settings("dai2019-mel").training.model_copy(update={"batch_size": BATCH})
    task = Task(
        everything, everything, np.arange(UTTERANCES) % CLASSES, Loss(center_weight=0.3), training, 0, ""
    )
    return _Trainer(learner, store, task, Path(pack), Accelerator())


def _take_ours(pack: str, kind: str, step: int, steps: int) -> float:
    trainer = _ours(pack, kind)
    trainer.step = step
    return seconds(lambda: [trainer.take_step() for _ in range(steps)])


def _limit(dtype: str) -> float:
    return limit_gflops(dtype)


def _frames_of(pack: str, kind: str, step: int, steps: int) -> int:
    """Frames of speech in some steps."""
    from emospec.learning.batches import batch_indices

    counts = _ours(pack, kind).store.counts
    return int(sum(counts[batch_indices(s, UTTERANCES, BATCH, 0)].sum() for s in range(step, step + steps)))


@cache
def _plain(pack: str, kind: str, ways: Ways) -> Training:
    import torch

    from emospec.data.pack import Pack
    from emospec.learning.training import reuse_freed_memory

    if ways.allocator:
        reuse_freed_memory()
    opened = Pack(pack)
    front_end = log_mel if kind == "log-mel" else log_stft
    frames = [torch.from_numpy(front_end(opened.waveform(i))) for i in range(len(opened))]
    return Training(frames, torch.arange(UTTERANCES) % CLASSES, CLASSES, ways)


def _take_plain(pack: str, kind: str, ways: Ways, step: int, steps: int) -> float:
    from emospec.learning.batches import batch_indices

    training = _plain(pack, kind, ways)
    batches = [batch_indices(s, UTTERANCES, BATCH, 0).tolist() for s in range(step, step + steps)]
    return seconds(lambda: [training.step(batch) for batch in batches])


def throughput(pack: str, kind: str, threads: int) -> tuple[Ratio, str]:
    """Training steps of ours and of the plain reference on the same batches; the share of the limit."""
    steps = STEPS[kind]
    with worker(threads) as ours, worker(threads) as plain:
        before = ours.submit(_limit, "bfloat16").result()
        step = {"ours": 0, "plain": 0}

        def take(way: str) -> float:
            at, step[way] = step[way], step[way] + steps
            if way == "ours":
                return ours.submit(_take_ours, pack, kind, at, steps).result()
            return plain.submit(_take_plain, pack, kind, Ways(), at, steps).result()

        took = in_turn({"ours": lambda: take("ours"), "plain": lambda: take("plain")})
        # The warm-up took the first steps.
        frames = [
            ours.submit(_frames_of, pack, kind, steps * (1 + r), steps).result()
            for r in range(len(took["ours"]))
        ]
        limit = statistics.median([before, ours.submit(_limit, "bfloat16").result()])
        single = ours.submit(_limit, "float32").result()
    bins = 128 if kind == "log-mel" else 513
    rates = [operations(f, bins) / s / 1e9 for f, s in zip(frames, took["ours"], strict=True)]
    ratio = Ratio(
        f"training, {kind}, {threads} thread{'s' * (threads > 1)}",
        "plain",
        ratios_of(took["plain"], took["ours"]),
        *(f"{steps * BATCH / statistics.median(took[way]):.1f} utterances/s" for way in ("ours", "plain")),
        target=4.0 if threads == CORES else None,
    )
    share = (
        f"| {kind}, {threads} | {statistics.median(rates):.0f} | {limit:.0f} | {single:.0f} | "
        f"**{100 * statistics.median(rates) / limit:.0f}%** |"
    )
    return ratio, share


def ladder(pack: str) -> list[Ratio]:
    """The plain reference with one fast path more at each rung, then emospec; log-Mel, all cores."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        pools = {name: stack.enter_context(worker(CORES)) for name in [*LADDER, "emospec"]}
        step = dict.fromkeys(pools, 0)

        def take(name: str) -> float:
            at, step[name] = step[name], step[name] + 1
            if name == "emospec":
                return pools[name].submit(_take_ours, pack, "log-mel", at, 1).result()
            return pools[name].submit(_take_plain, pack, "log-mel", LADDER[name], at, 1).result()

        took = in_turn({name: lambda name=name: take(name) for name in pools})  # type: ignore[misc]
    names = list(took)
    return [
        Ratio(
            name if name in LADDER else "+ utterances end to end, no padding: emospec",
            before,
            ratios_of(took[before], took[name]),
            *(f"{BATCH / statistics.median(took[way]):.1f} utterances/s" for way in (name, before)),
        )
        for before, name in itertools.pairwise(names)
    ]


def _bfloat16_deviation(pack: str, kind: str) -> tuple[float, float]:
    """How far bfloat16 convolutions move z, and how far company in the batch does, over the mean |z|."""
    import torch

    trainer = _ours(pack, kind)
    learner, store = trainer.learner, trainer.store
    indices = list(range(BATCH))

    def z_of(batches: list[list[int]], precision: torch.dtype) -> torch.Tensor:
        learner.network.precision = precision
        with torch.inference_mode():
            return torch.cat([learner(*store.batch(batch))[0] for batch in batches])

    exact = z_of([indices], torch.float32)
    together, alone = z_of([indices], torch.bfloat16), z_of([[i] for i in indices], torch.bfloat16)
    learner.network.precision = trainer.precision
    scale = exact.abs().mean()
    return float((together - exact).abs().max() / scale), float((together - alone).abs().max() / scale)


def main() -> str:
    """The section of the report."""
    with tempfile.TemporaryDirectory() as folder:
        pack = str(make_pack(Path(folder), durations(UTTERANCES)).folder)
        settings = [(kind, threads) for kind in STEPS for threads in sorted({1, CORES})]
        measured = [throughput(pack, kind, threads) for kind, threads in settings]
        rungs = ladder(pack)
        with worker(CORES) as pool:
            for step in range(10):
                pool.submit(_take_ours, pack, "log-mel", step, 1).result()
            precise, company = pool.submit(_bfloat16_deviation, pack, "log-mel").result()
    return f"""## Training

Whole steps of batch {BATCH}: frames from the store, losses, gradients, Adam, centres. The plain way has its frames in
memory already. Durations like IEMOCAP's (median 3.58 s, mean 4.4 s, cropped at 14 s).

{table([ratio for ratio, _ in measured])}

How near the machine's limit: operations of the step, those on padding not counted, against a product of two
4096 x 4096 matrices by the same process on the same threads (10^9 operations per second).

| input, threads | whole step | limit in bfloat16 | limit in float32 | share of the bfloat16 limit |
|---|---|---|---|---|
{chr(10).join(share for _, share in measured)}

What each fast path is worth, log-Mel, {CORES} threads, each rung against the one before:

{table(rungs)}

bfloat16 convolutions move z by at most {precise:.1e} of its mean size (log-Mel, {BATCH} utterances, 10 steps of training);
in bfloat16 an utterance alone differs from itself in a batch by at most {company:.1e} of it. In float32 the tests hold
both to 1e-5.
"""
