"""The index of a pack, `index.json`: whose each waveform is, where it lies, and what the pack was made of."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.utterances import Utterance
from emospec.errors import PackError

PACK_FORMAT = 3
INDEX_FILE = "index.json"
_ENTRY = np.dtype([("store", "U7"), ("samples", "<i8"), ("sha256", "S64")])


@dataclass(frozen=True)
class Skipped:
    """A recording that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class PackIndex:
    """The content of `index.json`.

    Attributes:
        entries: (n,) store in which each waveform lies, after those before it; samples; hash of the samples.
        utterances: (n,) in the order of the waveforms.
        silent: ids of silent utterances; empty in packs of earlier versions.
        sources: (asked for, 2) size in bytes and time of change in ns of each file asked for.
        requested: hash of the utterances asked for.
        digest: hash of all waveforms and their order.
    """

    entries: np.recarray[Any, Any]
    utterances: list[Utterance]
    skipped: list[Skipped]
    silent: list[str]
    sources: NDArray[np.int64]
    requested: str
    digest: str


def entries_from(rows: Iterable[tuple[str, int, str]]) -> np.recarray[Any, Any]:
    """Return the entries of an index from rows of store, samples and hash."""
    return np.fromiter(rows, _ENTRY).view(np.recarray)


def request_digest(utterances: Sequence[Utterance]) -> str:
    """Return the hash of the utterances that are asked for."""
    return hashlib.sha256(json.dumps([_row_of(u) for u in utterances]).encode()).hexdigest()


def read_index(folder: Path) -> PackIndex:
    """Read the index of a pack; PackError where none is, or it is damaged or of another version of emospec."""
    path = folder / INDEX_FILE
    if not path.is_file():
        raise PackError(f"{folder} is not a pack: it has no {INDEX_FILE}. `emospec prepare` makes one")
    try:
        content = json.loads(path.read_bytes())
        if (pack_format := content["format"]) == PACK_FORMAT:
            return _index_from(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path} is damaged ({error!r}). Delete the pack and prepare again") from error
    formats = f"(format {pack_format}, here {PACK_FORMAT})"
    raise PackError(f"{folder} was made by another version of emospec {formats}. Prepare again")


def write_index(folder: Path, index: PackIndex) -> None:
    """Write the index of a pack, each row of an array on a line of its own."""
    members = {
        "format": PACK_FORMAT,
        "sample_rate": SAMPLE_RATE,
        "entries": (
            {"store": store, "samples": samples, "sha256": sha256.decode()}
            for store, samples, sha256 in index.entries.tolist()
        ),
        "utterances": map(_row_of, index.utterances),
        "skipped": map(asdict, index.skipped),
        "silent": iter(index.silent),
        "sources": iter(index.sources.tolist()),
        "requested": index.requested,
        "digest": index.digest,
    }
    text = ",\n".join(f"{json.dumps(name)}: {_json_of(value)}" for name, value in members.items())
    (folder / INDEX_FILE).write_text(f"{{{text}}}", encoding="utf-8")


def _json_of(value: object) -> str:
    if isinstance(value, Iterator):
        return "[" + ",\n".join(map(json.dumps, value)) + "]"
    return json.dumps(value)


def _row_of(utterance: Utterance) -> dict[str, Any]:
    # Not `asdict`: it copies each value deeply, which takes minutes for a large corpus.
    row = {field.name: getattr(utterance, field.name) for field in fields(Utterance)}
    return row | {"file": os.path.realpath(utterance.file)}


def _index_from(content: dict[str, Any]) -> PackIndex:
    index = PackIndex(
        entries=entries_from((row["store"], row["samples"], row["sha256"]) for row in content["entries"]),
        utterances=[_utterance_from(row) for row in content["utterances"]],
        skipped=[Skipped(**row) for row in content.get("skipped", [])],
        silent=content.get("silent", []),
        sources=np.array(content["sources"], np.int64).reshape(-1, 2),
        requested=content["requested"],
        digest=content["digest"],
    )
    if not 0 < len(index.entries) == len(index.utterances):
        raise ValueError("not an entry for each utterance")
    return index


def _utterance_from(row: dict[str, Any]) -> Utterance:
    # What many utterances have in common, such as their speaker, is held once.
    shared: dict[str, Any] = {k: sys.intern(v) if isinstance(v, str) else v for k, v in row.items()}
    return Utterance(**shared | {"id": row["id"], "file": Path(row["file"])})
