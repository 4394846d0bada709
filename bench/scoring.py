"""Bulk scoring: its rate, its memory over many files, kill -9, and a Dask cluster of two workers."""

import itertools
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import soundfile
from pyarrow import parquet

from bench.measure import CORES, REPEATS, anonymous_bytes, family
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.corpora.demo import EMOTIONS, SPEAKER_COUNT, utterance
from emospec.export.model_folder import export_model
from emospec.runs.record import find_runs

FILES, CLUSTER_FILES, SHARDS, KILLS = 100_000, 4_000, 100, 5
EACH_FOLDER = 1000
CALLS, CALL_MINUTES = 36, 10
MIB = 2**20


def recordings(folder: Path, files: int) -> float:
    """Synthesise utterances and hard-link them to as many files; return their mean length in seconds."""
    (folder / "few").mkdir(parents=True)
    few, total = [], 0
    for speaker, emotion in itertools.product(range(1, SPEAKER_COUNT + 1), EMOTIONS):
        waveform = utterance(speaker, emotion, 1)
        few.append(folder / "few" / f"{speaker}-{emotion}.flac")
        soundfile.write(few[-1], waveform, SAMPLE_RATE, subtype="PCM_16")
        total += len(waveform)
    for k in range(files):
        link = folder / "many" / f"{k // EACH_FOLDER:04d}" / f"{k:07d}.flac"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(few[k % len(few)])
    return total / SAMPLE_RATE / len(few)


def command(source: Path, model: Path, out: Path, files: int, *more: str) -> list[str]:
    """Return the command line that scores them."""
    args = ["score", source, "--model", model, "--out", out, "--z", "--shard-files", max(1, files // SHARDS)]
    return [sys.executable, "-m", "emospec", *map(str, args), *more]


def _done(out: Path) -> int:
    return len(list(out.glob("part-*.parquet")))


def watched(args: Sequence[str], out: Path) -> list[int]:
    """Run it; return the most anonymous memory of it and its workers in each tenth of the way."""
    peaks = [0] * 10
    with subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None:
            tenth = min(9, 10 * _done(out) // SHARDS)
            try:
                held = sum(map(anonymous_bytes, family(running.pid)))
            except (OSError, IndexError):  # one of them has just ended
                continue
            peaks[tenth] = max(peaks[tenth], held)
            time.sleep(0.1)
    if running.returncode:
        raise RuntimeError(f"{' '.join(args)} ended with {running.returncode}")
    return peaks


def killed(args: Sequence[str], out: Path, whole_seconds: float) -> int:
    """Kill it at random times, then let it end; return the number of shards at the last kill."""
    rng = random.Random(0)  # noqa: S311
    for _ in range(KILLS):
        with subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            time.sleep(rng.uniform(0.05, 0.95) * whole_seconds / KILLS)
            if running.poll() is not None:
                raise RuntimeError(f"there was nothing to kill: it had ended with {running.returncode}")
            running.send_signal(signal.SIGKILL)
    left = _done(out)
    subprocess.run(args, check=True, capture_output=True)
    return left


def same(out: Path, other: Path, files: int) -> bool:
    """Whether both hold the same bytes, and every row once."""
    parts = sorted(out.glob("part-*.parquet"))
    rows = [row for part in parts for row in parquet.read_table(part, columns=["row"])["row"].to_pylist()]
    return rows == list(range(files)) and all(
        part.read_bytes() == (other / part.name).read_bytes() for part in parts
    )


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, "ClusterWorkers"]]:
    """Yield a scheduler's address, and what starts workers there."""
    with ExitStack() as stack:
        about = folder / "scheduler.json"
        about.unlink(missing_ok=True)
        args = ["distributed.cli.dask_scheduler", "--no-dashboard", "--port", "0", "--host", "0.0.0.0"]  # noqa: S104
        _start(stack, [sys.executable, "-m", *args, "--scheduler-file", str(about)])
        while not about.is_file() or not about.stat().st_size:
            time.sleep(0.05)
        port = json.loads(about.read_text())["address"].rpartition(":")[2]
        yield f"tcp://127.0.0.1:{port}", ClusterWorkers(stack, port)


class ClusterWorkers:
    """Workers, each on its own core; `within` is a command that runs them elsewhere.

    A worker decodes beside the graph: alone on two cores it would take more than one of them.
    """

    def __init__(self, stack: ExitStack, port: str) -> None:
        self.stack, self.port, self.cores = stack, port, itertools.cycle(sorted(os.sched_getaffinity(0)))

    def start(self, host: str = "127.0.0.1", within: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start one more."""
        within = ("taskset", "-c", str(next(self.cores)), *within)
        args = ["distributed.cli.dask_worker", f"tcp://{host}:{self.port}", "--nthreads", "1", "--no-nanny"]
        return _start(self.stack, [*within, sys.executable, "-m", *args, "--no-dashboard"])


def _start(stack: ExitStack, args: Sequence[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


@contextmanager
def namespace() -> Iterator[tuple[str, tuple[str, ...]] | None]:
    """Yield the address of this machine in a network namespace, and how to run there; None where not allowed."""
    name, here, there = f"emospec{os.getpid()}", "10.213.7.1", "10.213.7.2"
    ends = f"es{os.getpid()}a", f"es{os.getpid()}b"
    inside = ("ip", "netns", "exec", name)
    steps = [
        ("ip", "netns", "add", name),
        ("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]),
        ("ip", "link", "set", ends[1], "netns", name),
        ("ip", "addr", "add", f"{here}/30", "dev", ends[0]),
        ("ip", "link", "set", ends[0], "up"),
        (*inside, "ip", "addr", "add", f"{there}/30", "dev", ends[1]),
        (*inside, "ip", "link", "set", ends[1], "up"),
        (*inside, "ip", "link", "set", "lo", "up"),
    ]
    try:
        for step in steps:
            subprocess.run(step, check=True, capture_output=True)
        is_made = True
    except (OSError, subprocess.CalledProcessError):
        is_made = False
    try:
        yield (here, inside) if is_made else None
    finally:
        with suppress(OSError):
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


def one_lost(source: Path, model: Path, out: Path, files: int) -> bool:
    """Score on two workers, one in a network namespace if allowed; one is killed half-way."""
    with namespace() as elsewhere, cluster(out.parent) as (address, workers):
        first = workers.start()
        workers.start(*elsewhere) if elsewhere else workers.start()
        args = command(source, model, out, files, "--cluster", address)
        with subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            while running.poll() is None and _done(out) < SHARDS // 2:
                time.sleep(0.05)
            if running.poll() is not None:
                raise RuntimeError(f"the call ended with {running.returncode} before a worker was killed")
            first.kill()
        if running.returncode:
            raise RuntimeError(f"the cluster's call ended with {running.returncode}")
    return elsewhere is not None


def efficiency(source: Path, model: Path, folder: Path, files: int) -> list[float]:
    """Return the seconds with one worker over twice the seconds with two, in turn."""
    times: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(REPEATS):
        for count in (1, 2) if repeat % 2 else (2, 1):
            with cluster(folder) as (address, workers):
                for _ in range(count):
                    workers.start()
                # Both have then imported and loaded what they need.
                warm = command(source.parent / "few", model, folder / f"warm{count}{repeat}", SHARDS)
                subprocess.run([*warm, "--cluster", address], check=True, capture_output=True)
                out = folder / f"out{count}{repeat}"
                args = command(source, model, out, files, "--cluster", address)
                subprocess.run(args, check=True, capture_output=True)
                times[count].append(json.loads((out / "summary.json").read_text())["last_call"]["seconds"])
    return [alone / (2 * pair) for alone, pair in zip(times[1], times[2], strict=True)]


def cost_of_calls(model: Path, folder: Path) -> float:
    """Return the processor seconds, of all processes, for an hour of audio in recordings of ten minutes, with timelines."""
    spoken = np.concatenate(
        [utterance(speaker, emotion, 1) for speaker in range(1, SPEAKER_COUNT + 1) for emotion in EMOTIONS]
    )
    calls = folder / "calls"
    calls.mkdir()
    length = CALL_MINUTES * 60 * SAMPLE_RATE
    for k in range(CALLS):
        waveform = np.resize(np.roll(spoken, -k * SAMPLE_RATE), length)
        soundfile.write(calls / f"{k}.flac", waveform, SAMPLE_RATE, subtype="PCM_16")
    args = ["score", calls, "--model", model, "--out", folder / "called", "--timelines", "--shard-files", 1]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "emospec", *map(str, args)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / (CALLS * CALL_MINUTES / 60)


def main(runs: Path, files: int = FILES, cluster_files: int = CLUSTER_FILES) -> str:
    """Return the section of the report; the model is that of the first of `runs`."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, many, few = folder / "model", folder / "a", folder / "b"
        export_model(find_runs([runs])[0].folder, model)
        length = recordings(many, files)
        recordings(few, cluster_files)
        args = command(many / "many", model, folder / "whole", files)
        peaks = watched(args, folder / "whole")
        last = json.loads((folder / "whole" / "summary.json").read_text())["last_call"]
        out = folder / "killed"
        left = killed(command(many / "many", model, out, files), out, last["seconds"])
        equal = same(out, folder / "whole", files)
        source = few / "many"
        subprocess.run(
            command(source, model, folder / "local", cluster_files), check=True, capture_output=True
        )
        apart = one_lost(source, model, folder / "lost", cluster_files)
        lost = same(folder / "lost", folder / "local", cluster_files)
        efficient = efficiency(source, model, folder, cluster_files)
        cost = cost_of_calls(model, folder)
    growth = max(peaks[1:]) / peaks[1]
    middle = statistics.median(efficient)
    return f"""## Bulk scoring

`emospec score` of {files} synthesised files of {length:.1f} s on average, with z, in {SHARDS} shards, on the {CORES} cores of this machine;
the load was {load:.1f} when it began. Memory is RssAnon of the call and its workers together.

{last["files_per_second"]:.0f} files/s, {last["files_per_second"] * length * 60 / 3600:.1f} hours of audio a minute. The most memory in each tenth of the way, MiB:
{", ".join(f"{peak / MIB:.0f}" for peak in peaks)}: from 10 % of the way to the end it grows {growth:.3f}x (at most 1.05x: {_verdict(growth <= 1.05)}).

Killed with -9, {KILLS} times at random moments ({left} of {SHARDS} shards were there at the last), then called again: {_verdict(equal, "the same bytes, every row once", "**other rows**")}.

A Dask cluster of two worker processes, each on a core{", one in a network namespace of its own" if apart else ""}, on {cluster_files} files, one of them killed half-way:
{_verdict(lost, "the same bytes", "**other rows**")}. Efficiency of two workers against one, {REPEATS} times in turn: median {middle:.2f}, {min(efficient):.2f} to {max(efficient):.2f} (at least 0.85: {_verdict(middle >= 0.85)}).

{CALLS} recordings of {CALL_MINUTES} minutes with timelines: {cost:.0f} processor seconds for an hour of audio, all processes and their start included.
"""


def _verdict(good: bool, yes: str = "reached", no: str = "missed") -> str:
    return yes if good else no
