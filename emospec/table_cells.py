"""Columns and cells of a table of recordings: a corpus's CSV and the manifest of `emospec score` follow one rule.

Owns the column names, blank cells, times and separators. Opens no table.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

FILE = "file"
REQUIRED_COLUMNS = (FILE, "speaker", "emotion")
OPTIONAL_COLUMNS = ("start", "end", "sex", "language", "text", "split", "session", "style")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
_ALIASES = {"gender": "sex"}

# pandas' own words for a missing value. "NA" alone is not taken in other cases: Na is a name.
_MISSING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NULL",
    "NaN", "NaT", "None",
)  # fmt: skip
_EXCEL_ERRORS = ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!")
_FORMS = (form for word in _MISSING for form in (word, word.lower(), word.upper()))
_BLANKS = frozenset({"", "NA", *_EXCEL_ERRORS, *_FORMS})
_PANDAS_INDEX = re.compile(r"(unnamed: \d+)?")
_SEPARATORS = {",": "", ";": "semicolons", "\t": "tabs", "|": "bars"}
_CLOCK = re.compile(r"\+?(?:(\d+) days?,?)?(?: *\+?(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?))?")


def cell_text(cell: str) -> str:
    """Return a cell without outer white space; empty where it is blank or a word for a missing value.

    >>> cell_text(" ann "), cell_text("nan"), cell_text("Nan"), cell_text("None")
    ('ann', '', 'Nan', '')
    """
    text = _stripped(cell)
    return "" if text in _BLANKS else text


def known_columns(header: Sequence[str]) -> list[str]:
    """Return the names under which the columns of a header are known; empty for an index that pandas wrote.

    Case and white space do not count. An alias beside its column is no column.

    >>> known_columns(["File ", "Gender", "Unnamed: 0", "duration"])
    ['file', 'sex', '', 'duration']
    >>> known_columns(["gender", "sex"])
    ['', 'sex']
    """
    words = [_stripped(name).lower() for name in header]
    names = ["" if _PANDAS_INDEX.fullmatch(word) else _ALIASES.get(word, word) for word in words]
    return ["" if name != word and name in words else name for word, name in zip(words, names, strict=True)]


def header_of(lines: Iterable[str]) -> tuple[int, str]:
    """Return how many lines of a CSV come before its header, and the header; empty where there is none.

    Blank lines and Excel's own first line, such as `sep=;`, come before it.

    >>> header_of(["sep=,", "", "file,speaker,emotion", "a.wav,ann,sad"])
    (2, 'file,speaker,emotion')
    """
    for number, line in enumerate(lines):
        if line.strip() and not (number == 0 and line.lstrip("\ufeff")[:4].lower() == "sep="):
            return number, line.rstrip("\r\n")
    return 0, ""


def other_separator(header: str) -> str:
    """Return in words what separates the columns of a header in place of commas; empty where commas do.

    >>> other_separator("file;speaker;emotion"), other_separator("file,speaker,emotion")
    ('semicolons', '')
    """
    # A sign separates the columns where it leaves a column of files.
    for sign, words in _SEPARATORS.items():
        names = [name.strip().strip('"') for name in header.split(sign)]
        if (sign == "," or sign in header) and FILE in known_columns(names):
            return words
    return ""


def seconds_of(cell: str) -> float:
    """Return a time in seconds, written as a number or as pandas writes a duration; NaN where it is neither.

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
    """Return a path as this system writes it: slashes for Windows' backslashes, where only these lead to a file."""
    slashed = name.replace("\\", "/")
    # Only a name with backslashes is looked up: millions of rows have none.
    if slashed == name or (folder / Path(name)).exists():
        return name
    return slashed if (folder / Path(slashed)).exists() else name


def _stripped(cell: str) -> str:
    return cell.strip().strip("\ufeff\u200b").strip()
