"""Your own recordings in a CSV: one row per utterance, one file or a stretch of one.

Columns, in any order and case: file (relative to the CSV), speaker (may be blank), emotion; optional
start and end (seconds), sex (f, m), language, text, split (train, dev, test), session, style.
Every mistake is an error that names the line.
"""

import csv
import io
import math
import os
from pathlib import Path

from emospec.data.corpora.corpus import Corpus
from emospec.data.kinds import without_suffix
from emospec.data.utterances import Sex, Utterance, common_emotion
from emospec.errors import CorpusError, nearest

REQUIRED = ("file", "speaker", "emotion")
OPTIONAL = ("start", "end", "sex", "language", "text", "split", "session", "style")
COLUMNS = REQUIRED + OPTIONAL
SEXES: dict[str, Sex] = {"": "", "f": "f", "female": "f", "m": "m", "male": "m"}
SPLITS = {
    "": "",
    "train": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}


def read(root: Path) -> list[Utterance]:
    """Read a CSV, or the `manifest.csv` of a folder.

    Raises:
        CorpusError: the file is missing or no UTF-8; a column is unknown, missing or named twice; a
            row has a wrong number of cells, a blank emotion, a bad value, a missing recording, or
            the recording, start and end of an earlier row.
    """
    path = root / "manifest.csv" if root.is_dir() else root
    if not path.is_file():
        raise CorpusError(f"{root} holds no manifest.csv. Expected: {CORPUS.layout}")
    lines = _lines(path)
    columns = _columns(path, lines[0][1] if lines else [])
    utterances: list[Utterance] = []
    seen: dict[tuple[str, float, float | None], int] = {}
    for number, row in lines[1:]:
        where = f"{path}:{number}"
        if len(row) != len(columns):
            raise CorpusError(f"{where}: {len(row)} cells, but the header names {len(columns)} columns")
        utterance = _utterance(path.parent, dict(zip(columns, row, strict=True)), where)
        key = (os.path.normpath(utterance.file), utterance.start, utterance.end)
        if key in seen:
            raise CorpusError(f"{where}: the same recording, start and end as line {seen[key]}. Keep one row")
        seen[key] = number
        utterances.append(utterance)
    if not utterances:
        raise CorpusError(f"{path}: no row below the header")
    return utterances


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, with their line numbers; cells without outer white space."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}:{line}: not UTF-8. Save the file as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise CorpusError(f"{path}:{reader.line_num}: {error}") from error
    return [(number, row) for number, row in rows if any(row)]


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [name.lower() for name in header]
    for name in columns:
        if name not in COLUMNS:
            hint = nearest(name, COLUMNS) or "."
            raise CorpusError(f"{path}:1: column {name!r} is not known{hint} Known: {', '.join(COLUMNS)}")
        if columns.count(name) > 1:
            raise CorpusError(f"{path}:1: column {name!r} is there {columns.count(name)} times. Keep one")
    if missing := [name for name in REQUIRED if name not in columns]:
        found = ", ".join(columns) or "none"
        raise CorpusError(
            f"{path}:1: no column {', '.join(missing)}. Found: {found}. Required: {', '.join(REQUIRED)}"
        )
    return columns


def _utterance(folder: Path, cells: dict[str, str], where: str) -> Utterance:
    if not cells["file"]:
        raise CorpusError(f"{where}: the file is blank")
    if not cells["emotion"]:
        raise CorpusError(f"{where}: the emotion is blank. Name one, or take the row out")
    file = folder / cells["file"]
    if not file.is_file():
        raise CorpusError(f"{where}: {file} does not exist. Files are relative to the folder of the CSV")
    start = _seconds(cells, "start", where)
    end = _seconds(cells, "end", where)
    if end is not None and end <= (start or 0.0):
        raise CorpusError(f"{where}: end {end} is not after start {start or 0.0} (seconds)")
    stretch = "" if start is None and end is None else f"@{start or 0.0}-{'' if end is None else end}"
    return Utterance(
        id=f"csv/{without_suffix(cells['file']).lstrip('/')}{stretch}",
        corpus="csv",
        file=file,
        speaker=cells["speaker"],
        emotion=common_emotion(cells["emotion"]),
        label=cells["emotion"],
        start=start or 0.0,
        end=end,
        sex=SEXES[_one_of(SEXES, cells, "sex", where)],
        language=cells.get("language", ""),
        text=cells.get("text", ""),
        session=cells.get("session", ""),
        style=cells.get("style", ""),
        split=SPLITS[_one_of(SPLITS, cells, "split", where)],
    )


def _seconds(cells: dict[str, str], column: str, where: str) -> float | None:
    cell = cells.get(column, "")
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise CorpusError(f"{where}: {column} {cell!r} is not a number of seconds from 0 up, such as 1.25")
    return value


def _one_of(allowed: dict[str, Sex] | dict[str, str], cells: dict[str, str], column: str, where: str) -> str:
    cell = cells.get(column, "")
    if cell.lower() not in allowed:
        raise CorpusError(
            f"{where}: {column} {cell!r} is not one of {', '.join(filter(None, allowed))}, or blank"
        )
    return cell.lower()


CORPUS = Corpus(
    name="csv",
    title="your own CSV",
    licence="",
    citation="",
    source="",
    language="",
    protocol="groups:5",
    layout=f"a CSV, or a folder with manifest.csv, with the columns {', '.join(REQUIRED)} "
    f"and optionally {', '.join(OPTIONAL)}",
    read=read,
    note="The protocol `column` uses the split column. The default split needs the speakers: without "
    "them use dai2019, which is speaker-dependent.",
)
