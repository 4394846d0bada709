"""The study of equal behaviour: a changed byte is found, what may differ is not."""

import json
from pathlib import Path

import pytest

from studies.same_numbers import compare


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two folders with the same run, made at other times and in other places."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for k, folder in enumerate(folders):
        run = folder / "train" / "centre"
        run.mkdir(parents=True)
        meta = {"created": f"day {k}", "seconds": k, "pack": {"folder": str(folder / "pack"), "skipped": 0}}
        (run / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        (run / "history.csv").write_text(f"step,seconds,loss\n11,{k}.5,0.25\n", encoding="utf-8")
        (run / "scores.json").write_text('{"seconds": 1.0}', encoding="utf-8")
        (run / "picture.png").write_bytes(b"\x89PNG\xff\x00")
    return folders


def test_what_may_differ_is_masked(two: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*two)
    assert capsys.readouterr().out.endswith("4 files, 0 differ\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta.json", b'{"created": "", "pack": {"folder": "pack", "skipped": 1}}'),
        ("history.csv", b"step,seconds,loss\n11,0.5,0.26\n"),
        ("scores.json", b'{"seconds": 1}'),
        ("picture.png", b"\x89PNG\xff\x01"),
        ("another.txt", b""),
    ],
)
def test_a_change_is_found(
    two: list[Path], capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (two[1] / "train" / "centre" / name).write_bytes(content)
    assert not compare(*two)
    assert f"train/centre/{name}: differs: " in capsys.readouterr().out
