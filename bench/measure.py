"""How a benchmark measures: ways taken in turn, medians, ratios with their spread, the machine's limit."""

import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from emospec.cores import cores
from emospec.processes import current_folder_off_path

CORES = cores()
REPEATS = 5


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one way is as another, repetition by repetition.

    Attributes:
        what: what was done.
        against: the other way.
        ratios: (repetitions,) other seconds / our seconds for the same work.
        ours, theirs: the medians in words, with their unit.
        target: the least that is aimed at; None where there is none.
    """

    what: str
    against: str
    ratios: Sequence[float]
    ours: str
    theirs: str
    target: float | None = None

    def row(self) -> str:
        """A row of a Markdown table; `HEADER` is its head."""
        middle = statistics.median(self.ratios)
        verdict = ""
        if self.target is not None:
            verdict = f"{self.target:g}x: {'reached' if middle >= self.target else 'missed'}"
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return f"| {self.what} | {self.against} | {self.ours} | {self.theirs} | **{middle:.2f}x** | {spread} | {verdict} |"


HEADER = "| what | against | emospec | the other | ratio, median | spread | at least |\n|---|---|---|---|---|---|---|"


def table(ratios: Sequence[Ratio]) -> str:
    """The ratios as one Markdown table."""
    return "\n".join([HEADER, *(ratio.row() for ratio in ratios)])


def in_turn(ways: Mapping[str, Callable[[], float]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Seconds of each way, `repeats` times, in turn and every other time in reverse; one warm-up each."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(-1, repeats):
        for name in list(ways)[:: -1 if repeat % 2 else 1]:
            seconds = ways[name]()
            if repeat >= 0:
                took[name].append(seconds)
    return took


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratios_of(theirs: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Their seconds over ours, repetition by repetition."""
    return [a / b for a, b in zip(theirs, ours, strict=True)]


@contextmanager
def worker(threads: int) -> Iterator[ProcessPoolExecutor]:
    """One fresh process with its own number of threads and its own allocator settings."""
    before = {key: os.environ.get(key) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, str(threads)))
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    try:
        with current_folder_off_path():
            pool.submit(int).result()  # it starts now, with these variables
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def limit_gflops(dtype: str) -> float:
    """10^9 operations per second of a product of two 4096 x 4096 matrices, on this process's threads.

    A product of n x n matrices counts 2 n^3 operations. The best of five.
    """
    import torch

    size = 4096
    a = torch.randn(size, size).to(getattr(torch, dtype))
    return 2 * size**3 / min(seconds(lambda: a @ a) for _ in range(5)) / 1e9


def anonymous_bytes(process: int | str = "self") -> int:
    """Anonymous memory of a process: RssAnon, so mapped pages do not count."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def family(process: int) -> list[int]:
    """A process and all below it, whichever of its threads started them."""
    found = [process]
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        found += [one for child in task.read_text().split() for one in family(int(child))]
    return found


@contextmanager
def most_held(process: int) -> Iterator[list[int]]:
    """The most anonymous memory that a process and those below it hold together meanwhile, looked at every 20 ms."""
    peak, done = [anonymous_bytes(process)], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            try:
                peak[0] = max(peak[0], sum(map(anonymous_bytes, family(process))))
            except (OSError, IndexError):  # one of them has just ended
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def machine() -> str:
    """Processor, cores and versions, as one Markdown line."""
    fields = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    about = {key.strip(): value.strip() for key, value in reversed(fields)}
    units = [u for u in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if u in about.get("flags", "").split()]
    packages = ("torch", "numpy", "librosa", "kaldi-native-fbank", "soundfile", "soxr")
    return (
        f"{about.get('model name', platform.processor())}, {CORES} cores, {', '.join(units[:1])}; no GPU used; "
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)
    )
