"""What a worker does: one shard of recordings -> one Parquet file, whole or not at all.

A row is a function of the model and the recording alone: each is scored by itself, on one thread, so that
no batch, worker or resumption changes a bit of it. `bulk` hands the shards out.
"""

import hashlib
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from emospec.audio.reader import printable
from emospec.audio.waveform import Waveform
from emospec.errors import AudioError, EmospecError, ScoringError
from emospec.files import as_text, write_bytes
from emospec.inference.manifest import ManifestRow, is_url, location
from emospec.inference.model import Model, load_model
from emospec.inference.recognizer import Failure, Prediction, Recognizer
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Timeline
from emospec.workers import leave_with

FILES_AT_ONCE, URLS_AT_ONCE = 2, 16
"""Recordings in a worker's hands: one is decoded, or fetched, while the graph computes another."""


@dataclass(frozen=True)
class Order:
    """What is asked of every shard.

    Attributes:
        out: the folder of the results.
        base: where relative paths begin.
        kept: columns of the manifest that are carried along.
        model, digest: its folder, and what `digest_of` says of it.
        int8, z: the graph; whether z is written too.
        timing: of timelines; None for none.
        parent: the process that a worker of this machine leaves with; 0 on a cluster.
        channel: the one that is judged, from 1; None is the mean of all.
        ffmpeg: whether recordings that are not read here are decoded by ffmpeg.
    """

    out: Path
    base: Path
    kept: tuple[pa.Field, ...]
    model: Path
    digest: str
    int8: bool
    z: bool
    timing: Timing | None
    parent: int
    channel: int | None = None
    ffmpeg: bool = False

    def schema(self, model: Model) -> pa.Schema:
        """The columns of a shard.

        Raises:
            ScoringError: a column that is carried along has the name of one of them.
        """
        share, words = pa.float64(), pa.string()
        own = [("row", pa.int64()), ("recording", words)]
        said = [("emotion", words), ("confidence", share), *((f"p_{name}", share) for name in model.names)]
        said += [(name, share) for name in ("typicality", "seconds", "span_start", "span_end")]
        said += [("warnings", pa.list_(words)), ("error", words)]
        if self.z:
            said.append(("z", pa.list_(pa.float32(), len(model.classes[0].center))))
        for field in self.kept:
            if field.name in dict(own + said):
                raise ScoringError(f"column {field.name!r} cannot be kept: the results have one of that name")
        return pa.schema([*own, *self.kept, *said])


def digest_of(model: Model) -> str:
    """sha256 of all that decides a model's answers: its configuration, which holds the checksum of its graph."""
    return hashlib.sha256(json.dumps(model.about, sort_keys=True).encode()).hexdigest()


def part_of(out: Path, shard: int, what: str = "part") -> Path:
    """The file of a shard: its rows, or its timelines."""
    return out / f"{what}-{shard:05d}.parquet"


def score_shard(order: Order, shard: int, first: int, rows: Sequence[ManifestRow]) -> tuple[int, float]:
    """Score the recordings of a shard and write its file.

    Args:
        order: what is asked.
        shard: its number.
        first: the place of its first row in the manifest.
        rows: of the manifest.

    Returns:
        How many recordings it has, and the seconds of audio in those that could be used.

    Raises:
        ScoringError: the worker sees another model, or no folder of results.
    """
    if not order.out.is_dir():
        raise ScoringError(f"a worker does not see {order.out}. All workers need the same files")
    recognizer = _recognizer(order.model, order.digest, order.int8, order.ffmpeg)
    model = recognizer.model
    at_once = URLS_AT_ONCE if any(is_url(row[0]) for row in rows) else FILES_AT_ONCE
    with ThreadPoolExecutor(at_once) as pool:
        places = [location(order.base, row[0]) for row in rows]
        scored = list(pool.map(partial(_score, order, recognizer), places))
    if order.timing is not None:
        timelines = (
            (first + k, row, heard) for k, (row, (_, heard)) in enumerate(zip(rows, scored, strict=True))
        )
        _write(part_of(order.out, shard, "timelines"), _timelines(model.names, timelines))
    cells = [
        {"row": first + k, "recording": as_text(row[0])}
        | dict(zip((field.name for field in order.kept), row[1:], strict=True))
        | _cells(said)
        for k, (row, (said, _)) in enumerate(zip(rows, scored, strict=True))
    ]
    # The rows last: a shard is finished when they are there.
    _write(part_of(order.out, shard), pa.Table.from_pylist(cells, order.schema(model)))
    return len(rows), sum(said.seconds for said, _ in scored if isinstance(said, Prediction))


class _OneAtATime(Recognizer):
    """A recogniser whose graph computes for one thread at a time: side by side, its memory would creep up."""

    def __init__(self, model: Model, *, int8: bool, ffmpeg: bool) -> None:
        super().__init__(model, int8=int8, threads=1, ffmpeg=ffmpeg)
        self._turn = threading.Lock()

    def forward(
        self, waveforms: Sequence[Waveform], model: Model | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        with self._turn:
            return super().forward(waveforms, model)


@lru_cache(maxsize=1)
def _recognizer(folder: Path, digest: str, int8: bool, ffmpeg: bool) -> Recognizer:
    """The recogniser of a process: loading it for every shard would leave holes in its memory."""
    model = load_model(folder)
    if digest_of(model) != digest:
        raise ScoringError(f"a worker sees another model in {folder}. All workers need the same files")
    return _OneAtATime(model, int8=int8, ffmpeg=ffmpeg)


def _score(order: Order, recognizer: Recognizer, place: str) -> tuple[Prediction | Failure, Timeline | None]:
    if order.parent:
        leave_with(order.parent)
    try:
        with _at_hand(place) as file:
            said = recognizer.predict(file, channel=order.channel)
            if order.timing is None:
                return said, None
            return said, recognizer.timeline(file, timing=order.timing, channel=order.channel)
    except EmospecError as error:
        return Failure(place, str(error)), None


@contextmanager
def _at_hand(place: str) -> Iterator[str]:
    """The recording as a file of this machine: itself, or a copy while it is needed."""
    if not is_url(place):
        yield place
        return
    import fsspec

    with tempfile.TemporaryDirectory(prefix="emospec-") as folder:
        copy = str(Path(folder) / "recording")
        try:
            filesystem, path = fsspec.url_to_fs(place)
            filesystem.get_file(path, copy)
        except Exception as error:  # each filesystem raises its own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise AudioError(f"{printable(place)}: cannot be fetched ({reason})") from error
        try:
            yield copy
        except EmospecError as error:
            raise AudioError(str(error).replace(copy, printable(place))) from error


def _cells(said: Prediction | Failure) -> dict[str, Any]:
    if isinstance(said, Failure):
        return {"error": said.error}
    start, end = said.span
    return {
        "emotion": said.emotion,
        "confidence": said.confidence,
        **{f"p_{name}": share for name, share in said.probabilities.items()},
        "typicality": said.typicality,
        "seconds": said.seconds,
        "span_start": start,
        "span_end": end,
        "warnings": list(said.warnings),
        "z": said.z,
    }


def _timelines(names: Sequence[str], heard: Iterator[tuple[int, ManifestRow, Timeline | None]]) -> pa.Table:
    """The segments of a shard's recordings, one below the other."""
    seconds, words = pa.float64(), pa.string()
    columns = [("row", pa.int64()), ("recording", words), ("start", seconds), ("end", seconds)]
    columns += [("emotion", words), ("confidence", seconds), *((f"p_{name}", seconds) for name in names)]
    cells = [
        {"row": number, "recording": as_text(row[0]), "start": one.start_seconds, "end": one.end_seconds}
        | {"emotion": one.emotion, "confidence": one.confidence}
        | {f"p_{name}": share for name, share in zip(names, one.probabilities, strict=False)}
        for number, row, timeline in heard
        if timeline is not None
        for one in timeline.segments
    ]
    return pa.Table.from_pylist(cells, pa.schema(columns))


def _write(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    write_bytes(path, sink.getvalue().to_pybytes())
