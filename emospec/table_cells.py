"""Cells and column names of a table of recordings, read alike in a corpus's CSV and in bulk scoring's manifest.

Knows what a blank is, how a column may be called and how a time may be written. Opens no table.
"""

import math
import re
from pathlib import Path

FILE = "file"
"""The column of paths, in every table of recordings."""

# pandas' own words for a missing value. "NA" alone is not taken in other cases: Na is a name.
_MISSING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NULL",
    "NaN", "NaT", "None",
)  # fmt: skip
_EXCEL_ERRORS = ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!")
BLANKS = frozenset(
    {"", "NA", *_EXCEL_ERRORS, *(form for word in _MISSING for form in (word, word.lower(), word.upper()))}
)
"""Cells that say nothing."""

ALIASES = {"gender": "sex"}
"""Other names of columns that are read."""
_INDEX = re.compile(r"(unnamed: \d+)?")  # as pandas heads its index, or reads it back
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_CLOCK = re.compile(r"\+?(?:(\d+) days?,?)?(?: *\+?(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?))?")


def cell_text(cell: str) -> str:
    """Return a cell without outer white space; empty where it is blank, or a word for a missing value.

    Example:
        >>> cell_text(" ann "), cell_text("nan"), cell_text("Nan"), cell_text("None")
        ('ann', '', 'Nan', '')
    """
    text = cell.strip().strip("\ufeff\u200b").strip()
    return "" if text in BLANKS else text


def column_name(name: str) -> str:
    """Return the name under which a column is known; empty for an index that pandas wrote.

    Example:
        >>> [column_name(name) for name in ("File ", "Gender", "Unnamed: 0", "duration")]
        ['file', 'sex', '', 'duration']
    """
    word = name.strip().strip("\ufeff\u200b").strip().lower()
    return "" if _INDEX.fullmatch(word) else ALIASES.get(word, word)


def other_separator(header: str) -> str:
    """Return what separates the columns of a header that no commas separate, in words; empty where commas do.

    Example:
        >>> other_separator("file;speaker;emotion"), other_separator("file,speaker,emotion")
        ('semicolons', '')
    """
    if FILE in _names(header, ","):
        return ""
    found = (words for sign, words in _SEPARATORS.items() if sign in header and FILE in _names(header, sign))
    return next(found, "")


def seconds_of(cell: str) -> float:
    """Return a time in seconds, written as a number or as pandas writes a duration; NaN where it is neither.

    Example:
        >>> seconds_of("1.5"), seconds_of("0 days 00:01:01.5"), seconds_of("0 days"), seconds_of("soon")
        (1.5, 61.5, 0.0, nan)
    """
    try:
        return float(cell)
    except ValueError:
        match = _CLOCK.fullmatch(cell) if cell else None
    if match is None:
        return math.nan
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def portable_name(folder: Path | str, name: str) -> str:
    """Return a path as this system writes it: one with Windows' backslashes is found by slashes too."""
    if "\\" not in name or (folder / Path(name)).exists():
        return name
    slashed = name.replace("\\", "/")
    return slashed if (folder / Path(slashed)).exists() else name


def _names(header: str, separator: str) -> list[str]:
    return [column_name(name.strip().strip('"')) for name in header.split(separator)]
