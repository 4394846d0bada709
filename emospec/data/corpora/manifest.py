"""Your own recordings in a CSV: one row per utterance, a whole file or a part of one.

Columns, in any order and case: file (relative to the CSV), speaker (may be blank), emotion; optional
start and end (seconds), sex (f, m), language, text, split (train, dev, test), session, style. Others are not read.
Every mistake is an error that names the line.
"""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from emospec.audio.kinds import without_suffix
from emospec.data.corpora.corpus import Corpus
from emospec.data.utterances import Sex, Utterance
from emospec.errors import CorpusError, did_you_mean
from emospec.table_cells import (
    COLUMNS,
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    cell_text,
    header_of,
    known_columns,
    other_separator,
    portable_name,
    seconds_of,
)
from emospec.vocabulary import common_emotion

_Word = TypeVar("_Word", bound=str)
_SEXES: dict[str, Sex] = {
    "": "", "f": "f", "female": "f", "w": "f", "woman": "f", "m": "m", "male": "m", "man": "m",
}  # fmt: skip
_SPLITS = {
    "": "", "train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test",
}  # fmt: skip
# How files begin that hold a table and are no text.
_NO_TEXT = {b"PAR1": "a Parquet file", b"PK\x03\x04": "an Excel workbook"}


def read(root: Path) -> list[Utterance]:
    """Read a CSV, or the `manifest.csv` of a folder."""
    path, columns, rows = _table(root)
    utterances: list[Utterance] = []
    seen: dict[tuple[str, float, float | None], int] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        if len(row) != len(columns):
            raise CorpusError(f"{where}: {len(row)} cells, but the header names {len(columns)} columns")
        cells = {name: cell_text(cell) for name, cell in zip(columns, row, strict=True) if name in COLUMNS}
        utterance = _utterance(path.parent, cells, where)
        # One part of one recording may have one row: two would be two utterances of one id.
        key = (os.path.normpath(utterance.file), utterance.start, utterance.end)
        if key in seen:
            raise CorpusError(f"{where}: the same recording, start and end as line {seen[key]}. Keep one row")
        seen[key] = number
        utterances.append(utterance)
    if not utterances:
        raise CorpusError(f"{path}: no row below the header")
    return utterances


def remarks(root: Path) -> list[str]:
    """Return in words the columns of the CSV that are not read."""
    _, names, _ = _table(root)
    unused = [name for name in OPTIONAL_COLUMNS if name not in names]
    others = [
        f"{name!r} ({hint.removeprefix(', ')})" if (hint := did_you_mean(name, unused)) else repr(name)
        for name in dict.fromkeys(names)
        if name and name not in COLUMNS
    ]
    return [f"columns that are not read: {', '.join(others)}"] if others else []


def _table(root: Path) -> tuple[Path, list[str], list[tuple[int, list[str]]]]:
    """Return the file, the names of its columns, and the rows that are not blank with their line numbers."""
    path = root / "manifest.csv" if root.is_dir() else root
    if not path.is_file():
        raise CorpusError(f"{root} holds no manifest.csv. Expected: {CORPUS.layout}")
    content = path.read_bytes()
    for start, kind in _NO_TEXT.items():
        if content.startswith(start):
            raise CorpusError(f"{path} is {kind}, not a CSV. Write the table as CSV, in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}:{line}: not UTF-8. Save the file as UTF-8") from error
    # Lines above the header become blank, so that the numbers of lines stay those of the file.
    before, header = header_of(text.splitlines())
    text = "\n" * before + "".join(text.splitlines(keepends=True)[before:])
    if separator := other_separator(header):
        raise CorpusError(f"{path}:1: its columns are separated by {separator}. Write it with commas")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise CorpusError(f"{path}:{reader.line_num}: {error}") from error
    return path, _columns(path, rows[0][1] if rows else []), rows[1:]


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    columns = known_columns(header)
    for name in COLUMNS:
        if columns.count(name) > 1:
            raise CorpusError(f"{path}:1: column {name!r} is there {columns.count(name)} times. Keep one")
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        present = ", ".join(filter(None, columns)) or "none"
        others = dict.fromkeys(name for name in columns if name and name not in COLUMNS)
        hints = [f" ({name!r}{hint})" for name in others if (hint := did_you_mean(name, missing))]
        lack = f"no column {', '.join(missing)}. Found: {present}{''.join(hints)}"
        raise CorpusError(f"{path}:1: {lack}. Required: {', '.join(REQUIRED_COLUMNS)}")
    return columns


def _utterance(folder: Path, cells: dict[str, str], where: str) -> Utterance:
    if not cells["file"]:
        raise CorpusError(f"{where}: the file is blank")
    if not cells["emotion"]:
        raise CorpusError(f"{where}: the emotion is blank. Name one, or take the row out")
    name = portable_name(folder, cells["file"])
    file = folder / name
    if not file.is_file():
        raise CorpusError(f"{where}: {file} does not exist. Files are relative to the folder of the CSV")
    start, end = (_seconds(cells, column, where) for column in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise CorpusError(f"{where}: end {end} is not after start {start or 0.0} (seconds)")
    span = "" if start is None and end is None else f"@{start or 0.0}-{'' if end is None else end}"
    return Utterance(
        id=f"csv/{without_suffix(name).lstrip('/')}{span}",
        corpus="csv",
        file=file,
        speaker=cells["speaker"],
        emotion=common_emotion(cells["emotion"]),
        label=cells["emotion"],
        start=start or 0.0,
        end=end,
        sex=_one_of(_SEXES, cells, "sex", where),
        **{name: cells.get(name, "") for name in ("language", "text", "session", "style")},
        split=_one_of(_SPLITS, cells, "split", where),
    )


def _seconds(cells: dict[str, str], column: str, where: str) -> float | None:
    cell = cells.get(column, "")
    if not cell:
        return None
    value = seconds_of(cell)
    if not (math.isfinite(value) and value >= 0):
        raise CorpusError(f"{where}: {column} {cell!r} is not a number of seconds from 0 up, such as 1.25")
    return value


def _one_of(meanings: Mapping[str, _Word], cells: dict[str, str], column: str, where: str) -> _Word:
    cell = cells.get(column, "")
    word = cell.lower()
    if word not in meanings:
        words = ", ".join(filter(None, meanings))
        raise CorpusError(f"{where}: {column} {cell!r} is not one of {words}, or blank")
    return meanings[word]


CORPUS = Corpus(
    name="csv",
    title="your own CSV",
    protocol="groups:5",
    layout=f"a CSV, or a folder with manifest.csv, with the columns {', '.join(REQUIRED_COLUMNS)} "
    f"and optionally {', '.join(OPTIONAL_COLUMNS)}",
    read=read,
    note="The protocol `column` uses the split column. The default split needs the speakers: without "
    "them use dai2019, which is speaker-dependent.",
)
