"""A Dask cluster of processes on this machine, for tests."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple


class Cluster(NamedTuple):
    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


@contextmanager
def cluster(folder: Path, workers: int, threads: int = 1) -> Iterator[Cluster]:
    """A scheduler and so many workers, which are in `folder`, not where the caller is."""
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        about = folder / "scheduler.json"
        scheduler = start(*dask, "--no-dashboard", "--scheduler-file", str(about))
        wait_for(lambda: about.is_file() and about.stat().st_size > 0)
        address = json.loads(about.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", str(threads)]
        started = [start(*worker, "--no-nanny", "--no-dashboard") for _ in range(workers)]
        yield Cluster(address, scheduler, started)


def wait_for(true: Callable[[], bool], seconds: float = 120.0) -> None:
    last = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < last
        time.sleep(0.02)
