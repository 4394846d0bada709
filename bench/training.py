"""Training throughput against the plain reference, what each fast path is worth, and the machine's limit."""

import itertools
import statistics
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from bench.corpus import durations, make_pack
from bench.measure import CORES, Ratio, in_turn, limit_gflops, ratios_of, seconds, table, worker
from bench.plain import PlainTraining, Ways, log_mel, log_stft
from emospec.audio.frames import MIN_FRAMES

UTTERANCES, BATCH = 320, 32
FIRST_STEPS = 10  # until freed memory serves a step; the plain way asks the system for memory at every one
STEPS = {"log-mel": 2, "log-stft": 1}  # of the plain way in one repetition; it is slow
TARGETS = {"log-mel": (4.0, 12.0), "log-stft": (4.0, 10.0)}  # without and with AMX
AIM = 0.5  # share of the bfloat16 limit
CLASSES = 4
LADDER = {
    "plain": Ways(),
    "+ freed memory kept": Ways(allocator=True),
    "+ channels last": Ways(allocator=True, channels_last=True),
    "+ bfloat16 convolutions": Ways(allocator=True, channels_last=True, bfloat16=True),
    "+ pooling before ReLU": Ways(allocator=True, channels_last=True, bfloat16=True, pool_first=True),
    "+ fused Adam": Ways(allocator=True, channels_last=True, bfloat16=True, pool_first=True, fused_adam=True),
}


def operations(counts: Sequence[int], bins: int) -> int:
    """Multiplications and additions of a training step on utterances of so many frames; none of padding is counted.

    Convolutions and GRU, forward, and twice as many backward, but for the first convolution, whose input needs no gradient.
    """
    height, widths, total = bins, np.asarray(counts), 0
    for channels_in, channels, kernel, stride in (
        (1, 48, 7, 2),
        (48, 64, 3, 1),
        (64, 80, 3, 1),
        (80, 96, 3, 1),
    ):
        height, widths = (height - kernel) // stride + 1, (widths - kernel) // stride + 1
        forward = 2 * height * int(widths.sum()) * channels * channels_in * kernel**2
        total += forward * (2 if channels_in == 1 else 3)
        if stride == 1:
            height, widths = height // 2, widths // 2
    gru = 2 * int(widths.sum()) * 2 * 3 * 128 * (height * 96 + 128)
    return total + 3 * gru


@cache
def _ours(pack: str, kind: str):  # type: ignore[no-untyped-def]
    """A trainer of emospec's own over a pack; made once per process."""
    import torch

    from emospec.config import Loss, load_settings
    from emospec.data.pack import Pack
    from emospec.learning.device import reuse_freed_memory
    from emospec.learning.frame_store import FrameStore
    from emospec.learning.learner import Learner
    from emospec.learning.task import TrainingTask
    from emospec.learning.training import Trainer

    reuse_freed_memory()
    learner = Learner(kind, 1400, [str(k) for k in range(CLASSES)])  # type: ignore[arg-type]
    store = FrameStore(Pack(pack), learner.frontend)
    everything = list(range(len(store.counts)))
    training = load_settings("dai2019-mel").training.model_copy(update={"batch_size": BATCH})
    task = TrainingTask(
        everything, everything, np.arange(UTTERANCES) % CLASSES, Loss(center_weight=0.3), training, 0, ""
    )
    return Trainer(learner, store, task, Path(pack), torch.device("cpu"))


def _take_ours(pack: str, kind: str, step: int, steps: int) -> float:
    trainer = _ours(pack, kind)
    trainer.state.step = step
    return seconds(lambda: [trainer.take_step() for _ in range(steps)])


def _batches(step: int, steps: int) -> list[list[int]]:
    """The utterances of some steps."""
    from emospec.learning.sampling import batch_indices

    return [batch_indices(s, UTTERANCES, BATCH, 0).tolist() for s in range(step, step + steps)]


def _operations_of(pack: str, kind: str, step: int, steps: int) -> int:
    """Operations of some steps."""
    store, drawn = _ours(pack, kind).store, np.concatenate(_batches(step, steps))
    return operations(np.maximum(store.counts[drawn], MIN_FRAMES).tolist(), store.bins)


def _loading(pack: str, kind: str, step: int, steps: int) -> float:
    """Seconds in which the frames of some steps are read and padded."""
    store, batches = _ours(pack, kind).store, _batches(step, steps)
    return seconds(lambda: [store.batch(batch) for batch in batches])


@cache
def _plain(pack: str, kind: str, ways: Ways) -> PlainTraining:
    import torch

    from emospec.data.pack import Pack
    from emospec.learning.device import reuse_freed_memory

    if ways.allocator:
        reuse_freed_memory()
    opened = Pack(pack)
    front_end = log_mel if kind == "log-mel" else log_stft
    frames = [torch.from_numpy(front_end(opened.waveform(i))) for i in range(len(opened))]
    return PlainTraining(frames, torch.arange(UTTERANCES) % CLASSES, CLASSES, ways)


def _take_plain(pack: str, kind: str, ways: Ways, step: int, steps: int) -> float:
    training, batches = _plain(pack, kind, ways), _batches(step, steps)
    return seconds(lambda: [training.step(batch) for batch in batches])


def _has_amx() -> bool:
    import torch

    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def throughput(pack: str, kind: str, threads: int) -> tuple[Ratio, str]:
    """Training steps of ours and of the plain reference on the same batches; the share of the limit."""
    steps = STEPS[kind]
    with worker(threads) as ours, worker(threads) as plain:
        before = ours.submit(limit_gflops, "bfloat16").result()
        ours.submit(_take_ours, pack, kind, 0, FIRST_STEPS).result()
        step = {"ours": 0, "plain": 0}

        def take(way: str) -> float:
            at, step[way] = step[way], step[way] + steps
            if way == "ours":
                return ours.submit(_take_ours, pack, kind, at, steps).result()
            return plain.submit(_take_plain, pack, kind, Ways(), at, steps).result()

        took = in_turn({"ours": lambda: take("ours"), "plain": lambda: take("plain")})
        # The warm-up took the first steps.
        counted = [
            ours.submit(_operations_of, pack, kind, steps * (1 + r), steps).result()
            for r in range(len(took["ours"]))
        ]
        # Of the steps that were timed: their frames are in the system's memory for both.
        loading = statistics.median(
            ours.submit(_loading, pack, kind, steps * (1 + r), steps).result()
            for r in range(len(took["ours"]))
        )
        limit = statistics.median([before, ours.submit(limit_gflops, "bfloat16").result()])
        single = ours.submit(limit_gflops, "float32").result()
    rates = [count / s / 1e9 for count, s in zip(counted, took["ours"], strict=True)]
    ratio = Ratio(
        f"training, {kind}, {threads} thread{'s' * (threads > 1)}",
        "plain",
        ratios_of(took["plain"], took["ours"]),
        *(f"{steps * BATCH / statistics.median(took[way]):.1f} utterances/s" for way in ("ours", "plain")),
        target=TARGETS[kind][_has_amx()] if threads == CORES else None,
    )
    share = statistics.median(rates) / limit
    row = (
        f"| {kind}, {threads} | {statistics.median(rates):.0f} | {limit:.0f} | {single:.0f} | **{100 * share:.0f}%**: "
        f"{'reached' if share >= AIM else 'missed'} | {100 * loading / statistics.median(took['ours']):.1f}% |"
    )
    return ratio, row


def ladder(pack: str) -> list[Ratio]:
    """The plain reference with one fast path more at each rung, then emospec; log-Mel, all cores."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        pools = {name: stack.enter_context(worker(CORES)) for name in [*LADDER, "emospec"]}
        step = dict.fromkeys(pools, 0)

        def take(name: str, steps: int = 1) -> float:
            at, step[name] = step[name], step[name] + steps
            if name == "emospec":
                return pools[name].submit(_take_ours, pack, "log-mel", at, steps).result()
            return pools[name].submit(_take_plain, pack, "log-mel", LADDER[name], at, steps).result()

        for name in pools:
            if name != "plain":
                take(name, FIRST_STEPS - 1)
                step[name] = 0

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


def _profile(pack: str, kind: str) -> str:
    """The operations of a step that take most of its time, with their shares, and all convolutions' share, in words."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        _take_ours(pack, kind, 0, 2)
    averages = sorted(profiled.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in averages)
    shares = [
        f"{one.key.removeprefix('aten::')} {100 * one.self_cpu_time_total / total:.0f}%" for one in averages
    ]
    convolutions = sum(one.self_cpu_time_total for one in averages if "convolution" in one.key) / total
    return f"{', '.join(shares[:6])}; convolutions {100 * convolutions:.0f}% in all"


def _bfloat16_deviation(pack: str, kind: str) -> tuple[float, float]:
    """How far bfloat16 convolutions move z, and how far company in the batch does, over the mean |z|."""
    import torch

    trainer = _ours(pack, kind)
    learner, store, trains_in = trainer.learner, trainer.store, trainer.learner.network.precision
    indices = list(range(BATCH))

    def z_of(batches: list[list[int]], precision: torch.dtype) -> torch.Tensor:
        learner.network.precision = precision
        with torch.inference_mode():
            return torch.cat([learner(*store.batch(batch))[0] for batch in batches])

    exact = z_of([indices], torch.float32)
    together, alone = z_of([indices], torch.bfloat16), z_of([[i] for i in indices], torch.bfloat16)
    learner.network.precision = trains_in
    scale = exact.abs().mean()
    return float((together - exact).abs().max() / scale), float((together - alone).abs().max() / scale)


def main() -> str:
    """The section of the report."""
    with tempfile.TemporaryDirectory() as folder:
        pack = str(make_pack(Path(folder), durations(UTTERANCES)).folder)
        settings = [(kind, threads) for kind in STEPS for threads in sorted({1, CORES})]
        measured = [throughput(pack, kind, threads) for kind, threads in settings]
        rungs = ladder(pack)
        deviations, profiles = [], []
        with worker(CORES) as pool:
            for kind in STEPS:
                for step in range(FIRST_STEPS):
                    pool.submit(_take_ours, pack, kind, step, 1).result()
                precise, company = pool.submit(_bfloat16_deviation, pack, kind).result()
                deviations.append(f"{kind}: {precise:.1e} and {company:.1e}")
                profiles.append(f"{kind}: {pool.submit(_profile, pack, kind).result()}")
    drawn = durations(UTTERANCES)
    return f"""## Training

Whole steps of batch {BATCH}, after {FIRST_STEPS} that are not timed (the plain way: after one repetition): frames from the store, losses, gradients, Adam, centres. The plain way
has its frames in memory already. Durations like IEMOCAP's: median {np.median(drawn):.2f} s, mean {drawn.mean():.2f} s, 99th percentile {np.quantile(drawn, 0.99):.1f} s, cropped at 14 s.

{table([ratio for ratio, _ in measured])}

How near the machine's limit: operations of the step, those on padding not counted, against a product of two
4096 x 4096 matrices by the same process on the same threads (10^9 operations per second). Loading is reading and
padding the frames, inside the step: the most that prefetching could save.

| input, threads | whole step | limit in bfloat16 | limit in float32 | share of the bfloat16 limit, aim {100 * AIM:.0f}% | loading |
|---|---|---|---|---|---|
{chr(10).join(row for _, row in measured)}

Where the time of a step goes on {CORES} threads, by torch's profiler: {". ".join(profiles)}.
Convolutions are nearly all of the arithmetic; the rest of a step, pools and ReLUs above all, moves memory, which no matrix unit makes faster.

What each fast path is worth, log-Mel, {CORES} threads, each added to the one before (one step a repetition, of other batches
than above: compare ratios, not speeds):

{table(rungs)}

How far bfloat16 convolutions move z, over its mean size, and how far an utterance alone then differs from itself in a batch
({BATCH} utterances, {FIRST_STEPS} steps of training): {"; ".join(deviations)}. In float32 the tests bound batch effects by 1e-5 and a step's gradients
to 0.2% of the plain way's (max-pooling passes a gradient to one of two values that are equal but for rounding), in float64 log-Mel's weights after three steps
to 1e-8.
"""
