"""A disk that is full, or may not be written: one line, nothing half-written, and the same call goes on."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import SHORT
from emospec.data.pack import Pack
from emospec.learning.learner import load_tensors

pytestmark = pytest.mark.full

KIB = 1024


class Disk:
    """A file system in memory of a certain size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, *options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    if not disk.mount("size=64k"):
        pytest.skip("nothing may be mounted here")
    yield disk
    subprocess.run(["umount", str(disk.folder)], check=True)


def run_command(*arguments: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "emospec", *map(str, arguments)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    lines = ended.stderr.strip().splitlines()
    assert "Traceback" not in ended.stderr
    return ended.returncode, lines[-1] if lines else ""


def whole_files(folder: Path) -> dict[str, bytes]:
    assert not list(folder.rglob("*.part"))
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_bulk_scoring(hum_pack: Pack, hum_model: Path, disk: Disk, tmp_path: Path) -> None:
    manifest = tmp_path / "calls.csv"
    files = [str(u.file) for u in hum_pack.utterances]
    manifest.write_text("\n".join(["file", *(files * 5)]))
    options = ("--model", hum_model, "--z", "--jobs", 1, "--shard-files", 5)
    assert run_command("score", manifest, "--out", tmp_path / "whole", *options)[0] == 0

    out = disk.folder / "results"
    code, line = run_command("score", manifest, "--out", out, *options)
    assert code == 2
    assert line.startswith(f"emospec: {out / 'part-'}")
    assert "cannot be written (No space left on device). What was finished is kept" in line
    finished = whole_files(out)
    assert 2 < len(finished) < 20
    for part in out.glob("part-*.parquet"):
        assert part.read_bytes() == (tmp_path / "whole" / part.name).read_bytes()

    disk.mount("remount", "ro")
    code, line = run_command("score", manifest, "--out", out, *options)
    assert code == 2
    assert "cannot be written (Read-only file system)" in line
    assert whole_files(out) == finished
    code, line = run_command("score", manifest, "--out", disk.folder / "another", *options)
    assert code == 2
    assert f"{disk.folder / 'another'} cannot be written (Read-only file system)" in line

    disk.mount("remount", "rw", "size=64m")
    assert run_command("score", manifest, "--out", out, *options)[0] == 0
    for part in (tmp_path / "whole").glob("*.parquet"):
        assert part.read_bytes() == (out / part.name).read_bytes()
    assert len(list(out.glob("part-*"))) == len(list((tmp_path / "whole").glob("part-*")))


def trained(pack: Path, out: Path, *more: str) -> tuple[int, str]:
    sets = [part for setting in (*SHORT, "training.checkpoint_seconds=0") for part in ("--set", setting)]
    return run_command("train", pack, "--out", out, "--threads", 1, *sets, *more)


def test_training(
    hum_pack: Pack, make_utterances: Callable[[Path], object], disk: Disk, tmp_path: Path
) -> None:
    assert trained(hum_pack.folder, tmp_path / "whole")[0] == 0
    disk.mount("remount", "size=9m")  # a checkpoint has more
    code, line = trained(hum_pack.folder, disk.folder / "run")
    assert code == 2
    assert "checkpoint/state.safetensors cannot be written (No space left on device)" in line
    assert "scores.json" not in whole_files(disk.folder / "run")

    disk.mount("remount", "size=1g")
    assert trained(hum_pack.folder, disk.folder / "run", "--resume")[0] == 0
    for name in ("scores.json", "predictions.csv", "model/model.safetensors"):
        assert (disk.folder / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    load_tensors(disk.folder / "run" / "checkpoint" / "state.safetensors")


def test_a_pack_and_its_frames(hum_pack: Pack, disk: Disk, tmp_path: Path) -> None:
    rows = [f"{u.file},{u.speaker},{u.emotion}" for u in hum_pack.utterances]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.csv").write_text("\n".join(["file,speaker,emotion", *rows]))
    folder = disk.folder / "pack"
    asked = ("prepare", f"csv={tmp_path / 'own' / 'own.csv'}", "--pack", folder)
    code, line = run_command(*asked)
    assert code == 2
    assert line.startswith(f"emospec: {folder} cannot be written (No space left on device)")
    assert not list(disk.folder.iterdir())

    size = sum(f.stat().st_size for f in hum_pack.folder.iterdir() if not f.name.startswith("frames"))
    disk.mount("remount", f"size={size // KIB + 256}k")
    assert run_command(*asked)[0] == 0
    before = whole_files(disk.folder)
    code, line = trained(folder, tmp_path / "run")
    assert code == 2
    assert ".f32 cannot be written (No space left on device)" in line
    assert whole_files(disk.folder) == before
