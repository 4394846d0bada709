"""The paper's experiment from end to end: IEMOCAP's shape from its recordings, and a run that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import SHORT
from emospec.data.corpora import demo
from iemocap_tree import make_iemocap_tree

SETS = [part for override in SHORT[:-1] for part in ("--set", override)]
EMOSPEC = [sys.executable, "-m", "emospec"]


@pytest.mark.full
def test_a_tree_of_iemocaps_shape_names_5531(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def noise(path: Path) -> None:
        soundfile.write(path, rng.normal(0, 0.1, rng.integers(1600, 4800)), 16_000)

    make_iemocap_tree(tmp_path / "IEMOCAP", noise)
    command = [*EMOSPEC, "reproduce", tmp_path / "pack", "--corpus", f"iemocap={tmp_path / 'IEMOCAP'}",
               "--out", tmp_path / "paper", "--part", "mel", "--folds", 1, *SETS,
               "--set", "data.protocol=dai2019", "--json", "--jobs", 1]  # fmt: skip
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    printed = json.loads(done.stdout)
    assert printed["corpora"]["iemocap"].startswith("5531 of 5531 utterances, 10 of 10 speakers")
    assert [s["protocol"] for s in printed["settings"]] == ["dai2019", "dai2019"]
    assert all(len(s["classes"]) == 4 for s in printed["settings"])
    page = Path(printed["report"]).read_text(encoding="utf-8")
    assert "<td>5531</td>" in page
    assert "63.80" in page


@pytest.mark.full
def test_killed_twice_it_ends_with_the_same_tables(tmp_path: Path) -> None:
    demo.synthesise(tmp_path / "corpus", speakers=6, per_class=2)

    def command(out: str, *more: str) -> list[str]:
        return [*EMOSPEC, "reproduce", str(tmp_path / "pack"), "--corpus", f"demo={tmp_path / 'corpus'}",
                "--out", str(tmp_path / out), "--folds", "1", *SETS, "--set", "data.protocol=groups:3",
                "--set", "training.checkpoint_seconds=0", "--json", *more]  # fmt: skip

    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as each of several has

    def in_turn(out: str, *more: str) -> "subprocess.CompletedProcess[str]":
        asked = command(out, "--jobs", "1", *more)
        return subprocess.run(asked, check=True, capture_output=True, text=True, env=one_thread)

    whole = in_turn("whole")
    for kill, runs in enumerate((3, 6)):
        process = subprocess.Popen(command("killed", *["--resume"] * kill), stdout=subprocess.DEVNULL)
        while len(list((tmp_path / "killed").rglob("scores.json"))) < runs:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "killed").rglob("scores.json")}
    assert 6 <= len(before) < 11
    resumed = in_turn("killed", "--resume")
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    first, second = (json.loads(done.stdout)["settings"] for done in (whole, resumed))
    assert len(first) == 11
    assert first == second
    for path in (tmp_path / "whole").rglob("predictions.csv"):
        there = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == there.read_bytes()
