"""Tasks side by side: in processes of this machine, or on a Dask cluster; for runs and bulk scoring alike.

A task should not outlive the call that asked for it: the same call again would meet it in the same files.
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

_ADDRESS = re.compile(r"((tcp|tls|ws|wss|ucx)://)?[^\s/]+:\d+")  # Dask itself hangs on others
CLUSTER_SECONDS = 10  # to be reached, and then to have a worker
_watched: set[int] = set()  # parents
_KEPT = "What is done is kept: the same call goes on, of runs with --resume"

Workers = Callable[[Iterable[Any]], Iterator[Any]]
"""Takes calls, as `joblib.delayed` makes them; gives what they return, in the order of their ends."""


def open_workers(jobs: int, cluster: str = "", ahead: int = 1) -> AbstractContextManager[Workers]:
    """Where tasks are done; they are had when it is entered.

    Args:
        jobs: processes; 0 is one per core. On a cluster, all of its workers.
        cluster: the address of a Dask scheduler.
        ahead: how many tasks a worker has, the one at work included; no more are drawn before one has ended.

    Raises:
        WorkersError: jobs and a cluster are named, there is no such cluster, its workers have several threads,
            or one was lost with its task.
    """
    if jobs and cluster:
        raise WorkersError("--jobs is for this machine; a cluster has the workers that it has. Name one")
    if cluster and not _ADDRESS.fullmatch(cluster):
        raise WorkersError(
            f"{cluster!r} is not the address of a Dask scheduler: it says one, as tcp://HOST:8786"
        )
    return _side_by_side(jobs, cluster, ahead)


@contextmanager
def _side_by_side(jobs: int, cluster: str, ahead: int) -> Iterator[Workers]:
    died: tuple[type[BaseException], ...] = (TerminatedWorkerError,)
    with ExitStack() as stack:
        if cluster:
            from distributed import KilledWorker
            from distributed.client import FutureCancelledError

            died = KilledWorker, FutureCancelledError
            client = _client(cluster)
            stack.callback(_close, client)
            workers = _on_cluster(client, ahead)
        else:
            stack.enter_context(current_folder_off_path())
            stack.enter_context(warnings.catch_warnings())
            # joblib replaces a worker between tasks when its memory has grown, and warns that it did.
            warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
            workers = _started_deaf(
                joblib.Parallel(
                    n_jobs=jobs or -1,
                    return_as="generator_unordered",
                    pre_dispatch=f"{ahead}*n_jobs",
                    batch_size=1,
                )
            )
        try:
            yield workers
        except died as error:
            what = "the cluster" if cluster else "a worker"
            raise WorkersError(
                f"{what} was lost, perhaps for want of memory ({type(error).__name__}). {_KEPT}"
            ) from error


def _started_deaf(workers: Workers) -> Workers:
    """Let processes be started deaf to Ctrl-C, which a terminal sends to all: the call that started them ends them.

    A process, and a thread that starts further ones, inherit which signals are blocked.
    """

    def work(calls: Iterable[Any]) -> Iterator[Any]:
        resource_tracker.ensure_running()  # its start, with the first process, would unblock the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results: Any = workers(calls)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return _closed_in_silence(results)

    return work


def _closed_in_silence(results: Any) -> Iterator[Any]:
    """Hand on results; joblib would warn on standard error that a call which is stopped cancels its tasks."""
    try:
        for result in results:  # noqa: UP028 - `yield from` would close it outside the block below
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.close()


def _client(cluster: str) -> "Client":
    """A connection to a scheduler that has workers."""
    from distributed import Client

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is lost is told by an error
    try:
        client = Client(cluster, timeout=CLUSTER_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkersError(f"no Dask scheduler answers at {cluster} ({error})") from error
    try:
        client.wait_for_workers(1, CLUSTER_SECONDS)
        most = max(client.nthreads().values())
    except (OSError, ValueError) as error:
        client.close()
        raise WorkersError(f"the Dask scheduler at {cluster} has no workers ({error})") from error
    if most > 1:
        client.close()
        raise WorkersError(f"a worker of {cluster} has {most} threads. Start workers with --nthreads 1")
    return client


def _close(client: "Client") -> None:
    """Dask may fail at closing what is lost, which must not hide why the call ends."""
    with suppress(OSError, RuntimeError):
        client.close()


def _on_cluster(client: "Client", ahead: int) -> Workers:
    """As joblib's Dask backend, which with one worker would do the work in the calling process."""
    from distributed import as_completed

    def work(calls: Iterable[Any]) -> Iterator[Any]:
        left, handed_out = iter(calls), as_completed(loop=client.loop, with_results=True)

        def hand_out() -> None:
            try:
                workers = len(client.nthreads())  # of a cluster that may have grown
            except OSError as error:
                raise WorkersError(f"the cluster was lost ({error}). {_KEPT}") from error
            for function, arguments, named in islice(
                left, max(ahead * max(workers, 1) - handed_out.count(), 0)
            ):
                handed_out.add(client.submit(function, *arguments, **named, pure=False))

        hand_out()
        for _, result in handed_out:
            hand_out()
            yield result

    return work


def exit_with_parent(parent: int) -> None:
    """End this process where it is a worker whose parent was killed, and could not end it; from now on, idle or at work."""
    if parent == os.getpid():
        return
    if parent != os.getppid():
        os._exit(1)
    if parent not in _watched:
        _watched.add(parent)
        Thread(target=_leave_after, args=(parent,), daemon=True).start()


def _leave_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def check_task_wanted() -> None:
    """WorkersError in a task of a cluster for which nobody waits any more: its caller, or the scheduler, is gone."""
    from distributed import Status, get_worker

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    at_work = worker.status in (Status.running, Status.paused)  # paused, it takes no further tasks
    if not at_work or task is None or task.state != "executing":
        raise WorkersError("the cluster has given this task up")
