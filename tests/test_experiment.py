"""Many runs: what their progress tells, and that a worker does not outlive its parent."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import emospec
from conftest import SHORT
from emospec.config import load_settings
from emospec.data.pack import Pack
from emospec.evaluation.results import summarise
from emospec.experiment import sweep
from emospec.job import Job
from emospec.watch import Watch


def test_progress_of_many_runs_is_by_setting_and_ends_whole(hum_pack: Pack, tmp_path: Path) -> None:
    shown: dict[str, list[tuple[int, int, str]]] = {}

    def progress(name: str, done: int, steps: int, word: str) -> None:
        shown.setdefault(name, []).append((done, steps, word))

    values = ["0", "0.3", "3"]
    runs = sweep(
        hum_pack.folder,
        tmp_path,
        "loss.center_weight",
        values,
        "dai2019-mel",
        SHORT,
        jobs=1,
        progress=progress,
    )
    rows = {name: row for name, row in shown.items() if name != "spectrograms"}
    assert list(rows) == ["all runs", *(f"loss.center_weight={value}" for value in values)]
    assert rows["all runs"][-1] == (9 * 12, 9 * 12, "9 of 9 runs")
    for value, k in zip(values, range(3), strict=True):
        done, steps, word = rows[f"loss.center_weight={value}"][-1]
        ua = summarise(runs[k::3]).ua
        assert (done, steps, word) == (36, 36, f"3 of 3 runs, UA so far {100 * ua:.1f}")
    assert all(a[0] <= b[0] for steps in rows.values() for a, b in pairwise(steps))


def test_progress_of_few_runs_is_by_run(hum_pack: Pack, tmp_path: Path) -> None:
    last: dict[str, str] = {}
    runs = emospec.crossval(
        hum_pack.folder, tmp_path / "cv", "dai2019-mel", SHORT, jobs=1,
        progress=lambda name, done, steps, word: last.update({name: word}),
    )  # fmt: skip
    assert {name: word for name, word in last.items() if name != "spectrograms"} == {
        f"cv/{run.folder.name}": f"done, UA {100 * run.scores['test']['UA']:.1f}" for run in runs
    }


def test_settings_that_are_paths_have_rows_of_their_own(hum_pack: Pack, tmp_path: Path) -> None:
    rows: list[str] = []
    jobs = [
        Job(hum_pack.folder, tmp_path / f"loss.teacher={one}/t.npz" / f"r0-f{fold}", load_settings("demo"))
        for one in "ab"
        for fold in range(1, 6)
    ]
    for job in jobs:
        job.out.mkdir(parents=True)
        (job.out / "history.csv").write_text("step,dev_ua,dev_wa\n1,0.5,0.5\n")
        (job.out / "meta.json").write_text('{"counts": {"train": {"a": 3}}}')
    Watch(jobs, lambda name, *_: rows.append(name)).stop()
    assert rows == ["all runs", "loss.teacher=a/t.npz", "loss.teacher=b/t.npz"]


def test_workers_leave_with_a_killed_parent(hum_pack: Pack, tmp_path: Path) -> None:
    sets = [part for o in [*SHORT[1:], "training.steps=100000"] for part in ("--set", o)]
    command = [
        sys.executable,
        "-m",
        "emospec",
        "crossval",
        hum_pack.folder,
        "--out",
        tmp_path / "cv",
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(list(map(str, [*command, *sets])), stderr=subprocess.DEVNULL)
    histories = [tmp_path / "cv" / f"r0-f{fold}" / "history.csv" for fold in (1, 2)]
    while not all(path.is_file() for path in histories):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(3)
    sizes = [path.stat().st_size for path in histories]
    time.sleep(2)
    assert [path.stat().st_size for path in histories] == sizes
