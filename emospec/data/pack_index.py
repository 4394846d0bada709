"""The index of a pack: which waveform lies where, whose it is, and what the pack was made of.

A pack says where its folder is and what its waveforms are.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.data.index import read_members
from emospec.data.utterances import Utterance
from emospec.errors import PackError

PACK_FORMAT = 3
INDEX_FILE = "index.json"
ENTRY = np.dtype([("store", "U7"), ("samples", "<i8"), ("sha256", "S64")])
"""In which store an utterance's waveform lies, after those before it, and the hash of its decoded samples."""


@dataclass(frozen=True)
class Skipped:
    """A recording that could not be used, and why."""

    id: str
    reason: str


def row_of(utterance: Utterance) -> dict[str, Any]:
    """Return an utterance as the index holds it."""
    row = {field.name: getattr(utterance, field.name) for field in fields(Utterance)}
    return row | {"file": os.path.realpath(utterance.file)}


def utterance_from(row: dict[str, Any]) -> Utterance:
    """Return the utterance of a row; what many have in common, such as their speaker, is held once."""
    own: dict[str, Any] = {"id": row["id"], "file": Path(row["file"])}
    shared: dict[str, Any] = {
        k: sys.intern(v) if isinstance(v, str) else v for k, v in row.items() if k not in own
    }
    return Utterance(**own, **shared)


def request_digest(utterances: Sequence[Utterance]) -> str:
    """Return the hash of utterances that are asked for, of their rows as one JSON array."""
    digest = hashlib.sha256(b"[")
    for k, utterance in enumerate(utterances):
        digest.update((", " * bool(k) + json.dumps(row_of(utterance))).encode())
    digest.update(b"]")
    return digest.hexdigest()


def read_index(folder: Path) -> dict[str, Any]:
    """Return what `index.json` says; of the utterances, how many there are.

    Raises:
        PackError: there is none, it is damaged, or another version of emospec made it.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise PackError(f"{folder} is not a pack: it has no index.json. `emospec prepare` makes one")
    index: dict[str, Any] = {}
    try:
        for name, members in groupby(read_members(path), itemgetter(0)):
            index[name] = _READERS.get(name, next)(row for _, row in members)
            if index.get("format") != PACK_FORMAT:
                break
        else:
            _ = index["requested"], index["digest"], index["sources"]
            if not 0 < len(index["entries"]) == index["utterances"]:
                raise ValueError("not an entry for each utterance")
            return index
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path} is damaged ({error!r}). Delete the pack and prepare again") from error
    raise PackError(
        f"{folder} was made by another version of emospec (format {index.get('format')}, here {PACK_FORMAT}). Prepare again"
    )


def source_stamps(rows: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    """Return (n, 2) size in bytes and time of change in ns."""
    stamps: NDArray[np.int64] = np.fromiter(rows, np.dtype((np.int64, 2)))
    return stamps


def _entries_from(rows: Iterable[dict[str, Any]]) -> NDArray[Any]:
    return np.fromiter((tuple(row[name] for name in ENTRY.names or ()) for row in rows), ENTRY).view(
        np.recarray
    )


_READERS: dict[str, Callable[[Iterator[Any]], Any]] = {
    "entries": _entries_from,
    "utterances": lambda rows: sum(isinstance(utterance_from(row), Utterance) for row in rows),
    "skipped": lambda rows: [Skipped(**row) for row in rows],
    "sources": source_stamps,
    "silent": list,
}
"""The dtype of each array of the index; everything else in it is a single value."""
