"""Runs on a cluster are those of this machine to the last digit, whoever dies; none outlives its caller."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clusters import cluster, wait_for
from conftest import SHORT
from emospec.data.pack import Pack
from emospec.errors import WorkersError
from emospec.workers import open_workers

LONGER = [*SHORT, "training.steps=100", "training.evaluate_every=5", "training.checkpoint_seconds=0"]
FOLDS = 3

pytestmark = pytest.mark.full


def crossval(pack: Path, out: str, where: Path, *more: str) -> "subprocess.Popen[bytes]":
    """The verb, on one thread, with paths that mean something in `where` alone."""
    sets = [part for setting in LONGER for part in ("--set", setting)]
    (where / "pack").exists() or (where / "pack").symlink_to(pack)
    command = [sys.executable, "-m", "emospec", "crossval", "pack", "--out", out, *sets, *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=where, stderr=subprocess.PIPE, env=environment)


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    _, output = process.communicate(timeout=300)
    return process.returncode, output.decode()


def wait_for_histories(out: Path, many: int, process: "subprocess.Popen[bytes]") -> None:
    def there() -> bool:
        assert process.poll() is None, process.communicate()
        return len(histories(out)) >= many

    wait_for(there)


def histories(out: Path) -> list[int]:
    return [path.stat().st_size for path in sorted(out.glob("r0-f*/history.csv"))]


def results(out: Path) -> dict[str, bytes]:
    names = ("scores.json", "predictions.csv", "folds.csv")
    return {
        f"r0-f{fold}/{name}": (out / f"r0-f{fold}" / name).read_bytes()
        for fold in range(1, FOLDS + 1)
        for name in names
    }


@pytest.fixture(scope="module")
def here(hum_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What this machine's processes say."""
    folder = tmp_path_factory.mktemp("here")
    assert ended(crossval(hum_pack.folder, "runs", folder, "--jobs", "1"))[0] == 0
    return results(folder / "runs")


def test_on_a_cluster_runs_are_the_same_though_caller_and_worker_die(
    here: dict[str, bytes], hum_pack: Pack, tmp_path: Path
) -> None:
    with cluster(tmp_path / "theirs", 2) as (address, _, workers):
        first = crossval(hum_pack.folder, "runs", tmp_path, "--cluster", address)
        wait_for_histories(tmp_path / "runs", 2, first)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        time.sleep(8)
        left = histories(tmp_path / "runs")
        time.sleep(4)
        assert histories(tmp_path / "runs") == left

        again = crossval(hum_pack.folder, "runs", tmp_path, "--cluster", address, "--resume")
        wait_for(lambda: sum(histories(tmp_path / "runs")) > sum(left))
        os.kill(workers[0].pid, signal.SIGKILL)
        assert ended(again)[0] == 0
    assert results(tmp_path / "runs") == here


def test_the_schedulers_death_leaves_what_can_be_resumed(
    here: dict[str, bytes], hum_pack: Pack, tmp_path: Path
) -> None:
    with cluster(tmp_path / "theirs", 1) as (address, scheduler, workers):
        lost = crossval(hum_pack.folder, "runs", tmp_path, "--cluster", address)
        wait_for_histories(tmp_path / "runs", 1, lost)
        scheduler.send_signal(signal.SIGKILL)
        code, output = ended(lost)
        assert code == 2, output
        assert "the cluster was lost" in output
        assert "Traceback" not in output
        workers[0].wait(60)
    assert ended(crossval(hum_pack.folder, "runs", tmp_path, "--resume", "--jobs", "1"))[0] == 0
    assert results(tmp_path / "runs") == here


def test_workers_of_several_threads_raise(tmp_path: Path) -> None:
    with (
        cluster(tmp_path, 1, threads=2) as (address, *_),
        pytest.raises(WorkersError, match=r"has 2 threads\. Start workers with --nthreads 1"),
        open_workers(0, address),
    ):
        pass


def test_a_worker_that_is_killed_gives_one_line(hum_pack: Pack, tmp_path: Path) -> None:
    process = crossval(hum_pack.folder, "runs", tmp_path, "--jobs", "2")
    wait_for_histories(tmp_path / "runs", 2, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(workers[0]), signal.SIGKILL)
    code, output = ended(process)
    assert code == 2
    assert output.splitlines()[-1].startswith("emospec: a worker was lost")
    assert "Traceback" not in output
