"""Parallel tasks in processes of this machine or on a Dask cluster, for runs and bulk scoring.

A task must not outlive the call that started it: the same call again would write the same files beside it.
"""

import logging
import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from threading import Thread
from typing import TYPE_CHECKING, Any

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from emospec.errors import WorkersError
from emospec.processes import current_folder_off_path

if TYPE_CHECKING:
    from distributed import Client

# Dask itself hangs on other addresses.
_ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?[^\s/]+:\d+")
# For a cluster to be reached, and then to have a worker.
_CLUSTER_SECONDS = 10
_watched_parents: set[int] = set()
_KEPT = "What is done is kept: the same call goes on, of runs with --resume"

Workers = Callable[[Iterable[Any]], Iterator[Any]]
"""Takes calls, as `joblib.delayed` makes them; yields their results as they end."""


def open_workers(jobs: int, cluster: str = "", ahead: int = 1) -> AbstractContextManager[Workers]:
    """Return the workers that run tasks, as a context manager that starts or reaches them.

    Args:
        jobs: processes; 0 is one per core. A cluster has all of its workers.
        cluster: the address of a Dask scheduler.
        ahead: how many tasks a worker has, the running one included; no more are drawn before one has ended.

    Raises:
        WorkersError: jobs and a cluster are both given, there is no such cluster, its workers have several threads,
            or one was lost with its task.
    """
    if jobs and cluster:
        raise WorkersError("--jobs is for this machine; a cluster has the workers that it has. Name one")
    if cluster and not _ADDRESS.fullmatch(cluster):
        raise WorkersError(
            f"{cluster!r} is not the address of a Dask scheduler: it says one, as tcp://HOST:8786"
        )
    return _opened(jobs, cluster, ahead)


@contextmanager
def _opened(jobs: int, cluster: str, ahead: int) -> Iterator[Workers]:
    lost: tuple[type[BaseException], ...] = (TerminatedWorkerError,)
    with ExitStack() as stack:
        if cluster:
            from distributed import KilledWorker
            from distributed.client import FutureCancelledError

            lost = KilledWorker, FutureCancelledError
            client = _client(cluster)
            stack.callback(_close, client)
            workers = _on_cluster(client, ahead)
        else:
            stack.enter_context(current_folder_off_path())
            stack.enter_context(warnings.catch_warnings())
            # joblib replaces a worker between tasks when its memory has grown, and warns that it did.
            warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
            pool = {"n_jobs": jobs or -1, "pre_dispatch": f"{ahead}*n_jobs", "batch_size": 1}
            workers = _without_interrupt(joblib.Parallel(return_as="generator_unordered", **pool))
        try:
            yield workers
        except lost as error:
            name = "the cluster" if cluster else "a worker"
            raise WorkersError(
                f"{name} was lost, perhaps for want of memory ({type(error).__name__}). {_KEPT}"
            ) from error


def _without_interrupt(workers: Workers) -> Workers:
    """Block Ctrl-C in the processes, because a terminal sends it to all: the call that started them ends them.

    A process, and a thread that starts further ones, inherit which signals are blocked.
    """

    def work(calls: Iterable[Any]) -> Iterator[Any]:
        # It would start with the first process, and unblock the signal.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results: Any = workers(calls)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            for result in results:  # noqa: UP028 - `yield from` would close it outside the block below
                yield result
        finally:
            # joblib warns on standard error that a call which is stopped cancels its tasks.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results.close()

    return work


def _client(cluster: str) -> "Client":
    """Return a connection to a scheduler that has workers."""
    from distributed import Client

    # An error says what is lost.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(cluster, timeout=_CLUSTER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkersError(f"no Dask scheduler answers at {cluster} ({error})") from error
    try:
        client.wait_for_workers(1, _CLUSTER_SECONDS)
        most = max(client.nthreads().values())
    except (OSError, ValueError) as error:
        client.close()
        raise WorkersError(f"the Dask scheduler at {cluster} has no workers ({error})") from error
    if most > 1:
        client.close()
        raise WorkersError(f"a worker of {cluster} has {most} threads. Start workers with --nthreads 1")
    return client


def _close(client: "Client") -> None:
    """Close a connection. Dask may fail to close a lost one, which must not hide why the call ends."""
    with suppress(OSError, RuntimeError):
        client.close()


def _on_cluster(client: "Client", ahead: int) -> Workers:
    """Return workers of a cluster. joblib's Dask backend with one worker would work in the calling process."""
    from distributed import as_completed

    def work(calls: Iterable[Any]) -> Iterator[Any]:
        waiting, running = iter(calls), as_completed(loop=client.loop, with_results=True)

        def submit() -> None:
            try:
                workers = len(client.nthreads())  # a cluster may grow
            except OSError as error:
                raise WorkersError(f"the cluster was lost ({error}). {_KEPT}") from error
            free = max(ahead * max(workers, 1) - running.count(), 0)
            for function, arguments, named in islice(waiting, free):
                running.add(client.submit(function, *arguments, **named, pure=False))

        submit()
        for _, result in running:
            submit()
            yield result

    return work


def exit_with_parent(parent: int) -> None:
    """End this worker's process as soon as its parent is gone: a parent that was killed could not end it."""
    if parent == os.getpid():
        return
    if parent != os.getppid():
        os._exit(1)
    if parent not in _watched_parents:
        _watched_parents.add(parent)
        Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def check_task_wanted() -> None:
    """Raise WorkersError in a cluster's task if nobody waits for it any more: its caller or the scheduler is gone."""
    from distributed import Status, get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    # A paused worker finishes its task, and takes no further ones.
    is_working = worker.status in (Status.running, Status.paused)
    if not is_working or task is None or task.state != "executing":
        raise WorkersError("the cluster has given this task up")
