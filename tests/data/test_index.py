"""An object that is written row by row is read row by row, whole or not at all."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emospec.data import index as room
from emospec.data.index import read_members, write_members

ROWS = [{"id": 'a "}, {" b', "text": "„Ja“ \\ ]", "end": None}, {"id": "", "start": -0.25}, [1, [2]], 12, "x"]


def members() -> Iterator[tuple[str, Any]]:
    yield "format", 2
    yield "rows", iter(ROWS)
    yield "none", iter([])
    yield "last", 345


EXPECTED = [("format", 2), *(("rows", row) for row in ROWS), ("last", 345)]


@pytest.mark.parametrize("characters", [1, 2, 7, 2**16])
@pytest.mark.parametrize("indent", [False, None, 2], ids=["as written", "one line", "indented"])
def test_what_is_written_is_read_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, characters: int, indent: int | None
) -> None:
    monkeypatch.setattr(room, "_READ_CHARACTERS", characters)
    path = tmp_path / "index.json"
    write_members(path, members())
    whole = json.loads(path.read_text(encoding="utf-8"))
    assert whole == {"format": 2, "rows": ROWS, "none": [], "last": 345}
    if indent is not False:
        path.write_text(json.dumps(whole, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert list(read_members(path)) == EXPECTED


def test_one_that_ends_early_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    write_members(path, members())
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"ends early|no JSON"):
            list(read_members(path))


def test_reading_holds_one_row_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    write_members(path, iter([("rows", ({"id": f"{k:060d}"} for k in range(50_000)))]))
    assert path.stat().st_size > 3_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_members(path)) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()
