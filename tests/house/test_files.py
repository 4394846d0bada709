"""A file is there as a whole or as it was before."""

import errno
import json
import math
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from emospec.cores import cores
from emospec.errors import OutputError
from emospec.files import output_errors, to_json, write_bytes, write_json, write_text


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"\0\xff")
    write_text(tmp_path / "b.txt", "λ\n")
    write_json(tmp_path / "c.json", {"λ": [0.3, None]})
    assert (tmp_path / "a.bin").read_bytes() == b"\0\xff"
    assert (tmp_path / "b.txt").read_bytes() == "λ\n".encode()
    assert json.loads((tmp_path / "c.json").read_bytes()) == {"λ": [0.3, None]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.txt", "c.json"]


@pytest.mark.parametrize("moment", ["write", "replace"])
def test_a_failure_leaves_the_old_file_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    write_text(tmp_path / "a.txt", "old")
    if moment == "replace":

        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises((KeyboardInterrupt, TypeError)):
        write_bytes(tmp_path / "a.txt", "not bytes" if moment == "write" else b"new")  # type: ignore[arg-type]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "make room, or name another folder"),
        (errno.EDQUOT, "make room, or name another folder"),
        (errno.EACCES, "get the right to write there, or name another folder"),
        (errno.EPERM, "get the right to write there, or name another folder"),
        (errno.EROFS, "it is read-only there, so name another folder"),
        (errno.ENOTDIR, "name another folder"),
    ],
)
def test_the_error_says_what_helps(number: int, words: str) -> None:
    with pytest.raises(OutputError) as caught, output_errors(Path("out")):
        raise OSError(number, os.strerror(number))
    assert (
        str(caught.value)
        == f"out cannot be written ({os.strerror(number)}). What was finished is kept: {words}"
    )


@pytest.mark.parametrize("content", [{"a": math.inf}, {"a": object()}])
def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path, content: dict[str, object]) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", content)
    assert [(p.name, json.loads(p.read_text())) for p in tmp_path.iterdir()] == [("a.json", {"a": 1})]


def test_nan_becomes_null_wherever_it_stands() -> None:
    nan = float("nan")
    content = {"a": nan, "b": [nan, {"c": (np.float64(nan), 1.5)}], "d": "nan"}
    assert json.loads(to_json(content)) == {"a": None, "b": [None, {"c": [None, 1.5]}], "d": "nan"}
    assert json.loads(to_json([nan])) == [None]


def test_numbers_survive_json_exactly() -> None:
    numbers = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2**53 + 1]
    assert json.loads(to_json(numbers)) == numbers


def test_a_link_stays_one_and_a_pipe_is_written_into(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    write_text(tmp_path / "there" / "a.txt", "old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "there" / "a.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "there" / "a.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()), daemon=True)
    reader.start()
    write_text(tmp_path / "pipe", "through it")
    reader.join(timeout=30)
    assert read == ["through it"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("share", "allowed"), [("150000 100000", 2), ("20000 100000", 1), ("max 100000", 64)]
)
def test_a_containers_share_of_cores(
    share: str, allowed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(f"{share}\n")
    monkeypatch.setattr("emospec.cores._QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert cores() == allowed
