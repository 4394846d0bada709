"""A JSON object on disk, written and read row by row, in memory that does not grow with it.

A pack says what its rows mean.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

_READ_CHARACTERS = 2**16
_BETWEEN = re.compile(r"[\s,:]*")
_decode = json.JSONDecoder().raw_decode


def write_members(path: Path, members: Iterable[tuple[str, Any]]) -> None:
    """Write an object, member by member; a value that is an iterator becomes an array, a row a line."""
    with open(path, "w", encoding="utf-8") as file:
        mark = "{"
        for name, value in members:
            file.write(f"{mark}{json.dumps(name)}: ")
            mark = ",\n"
            if not isinstance(value, Iterator):
                file.write(json.dumps(value))
                continue
            file.write("[")
            for k, row in enumerate(value):
                file.write(",\n" * bool(k) + json.dumps(row))
            file.write("]")
        file.write("}")


def read_members(path: Path) -> Iterator[tuple[str, Any]]:
    """The members of an object in turn; of one that is an array, each element with the member's name.

    Raises:
        OSError, ValueError: it cannot be read, is no JSON object, or ends early.
    """
    with open(path, encoding="utf-8") as file:
        text = _Text(file)
        if text.sign() != "{":
            raise ValueError("it is no JSON object")
        text.step()
        while text.sign() != "}":
            name = text.value()
            if text.sign() != "[":
                yield name, text.value()
                continue
            text.step()
            while text.sign() != "]":
                yield name, text.value()
            text.step()


class _Text:
    """The text of a file, of which no more is held than the next value needs."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.text, self.at = file, "", 0

    def sign(self) -> str:
        """The next sign that is none between values."""
        while True:
            self.at = _BETWEEN.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            self._read_on()

    def step(self) -> None:
        """Leave that sign behind."""
        self.at += 1

    def value(self) -> Any:
        """The next value; what follows it has to be there too, so that no number is cut."""
        self.sign()
        while True:
            try:
                value, end = _decode(self.text, self.at)
            except json.JSONDecodeError:
                end = len(self.text)
            if end < len(self.text):
                self.at = end
                return value
            self._read_on()

    def _read_on(self) -> None:
        more = self.file.read(_READ_CHARACTERS)
        if not more:
            raise ValueError("it ends early, or is no JSON")
        self.text, self.at = self.text[self.at :] + more, 0
