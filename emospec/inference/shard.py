"""A worker's part of bulk scoring: one shard of recordings to one Parquet file, whole or not at all.

A row depends on the model and the recording alone: each is predicted by itself, on one thread, so that no batch,
worker or resumption changes a bit of it. `bulk` hands the shards out.
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

from emospec.audio.discovery import printable
from emospec.audio.waveform import Waveform
from emospec.errors import AudioError, EmospecError, ScoringError
from emospec.files import escape_undecodable, write_bytes
from emospec.inference.manifest import ManifestRow, is_url, location
from emospec.inference.model import Model, load_model
from emospec.inference.prediction import Failure, Prediction
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Timeline
from emospec.workers import exit_with_parent

# Recordings of a worker at a time: one is decoded, or fetched, while the graph computes another.
_FILES_AT_ONCE, _URLS_AT_ONCE = 2, 16


@dataclass(frozen=True)
class ShardSettings:
    """The settings of every shard: those of `bulk.score`, and what a worker must know."""

    out: Path
    # The folder of relative paths, and the columns of the manifest that are carried along.
    base: Path
    kept: tuple[pa.Field, ...]
    # The model's folder and its `model_digest`.
    model: Path
    digest: str
    int8: bool
    z: bool
    timing: Timing | None
    # The process with which a worker of this machine ends; 0 on a cluster.
    parent: int
    channel: int | None = None
    ffmpeg: bool = False

    def schema(self, model: Model) -> pa.Schema:
        """Return the columns of a shard; ScoringError where a kept column has the name of one of ours."""
        number, text = pa.float64(), pa.string()
        place = [("row", pa.int64()), ("recording", text)]
        answer = [("emotion", text), ("confidence", number), *((f"p_{name}", number) for name in model.names)]
        answer += [(name, number) for name in ("typicality", "seconds", "span_start", "span_end")]
        answer += [("warnings", pa.list_(text)), ("error", text)]
        if self.z:
            answer.append(("z", pa.list_(pa.float32(), len(model.classes[0].center))))
        for field in self.kept:
            if field.name in dict(place + answer):
                raise ScoringError(f"column {field.name!r} cannot be kept: the results have one of that name")
        return pa.schema([*place, *self.kept, *answer])


def model_digest(model: Model) -> str:
    """Return the SHA-256 of a model's configuration, which holds the checksum of its graph."""
    return hashlib.sha256(json.dumps(model.about, sort_keys=True).encode()).hexdigest()


def shard_path(out: Path, shard: int, content: str = "part") -> Path:
    """Return the file of a shard: of its rows, or of its `timelines`."""
    return out / f"{content}-{shard:05d}.parquet"


def score_shard(
    settings: ShardSettings, shard: int, first: int, rows: Sequence[ManifestRow]
) -> tuple[int, float]:
    """Score the `rows` of a shard, from row `first` of the manifest on, and write its file.

    Return the number of recordings, and the seconds of audio in those that could be used.
    """
    if not settings.out.is_dir():
        raise ScoringError(f"a worker does not see {settings.out}. All workers need the same files")
    recognizer = _recognizer(settings.model, settings.digest, settings.int8, settings.ffmpeg)
    model = recognizer.model
    at_once = _URLS_AT_ONCE if any(is_url(row[0]) for row in rows) else _FILES_AT_ONCE
    with ThreadPoolExecutor(at_once) as pool:
        places = [location(settings.base, row[0]) for row in rows]
        results = list(pool.map(partial(_predict, settings, recognizer), places))
    keys = [{"row": first + k, "recording": escape_undecodable(row[0])} for k, row in enumerate(rows)]
    if settings.timing is not None:
        timelines = [timeline for _, timeline in results]
        _write(shard_path(settings.out, shard, "timelines"), _timeline_table(model.names, keys, timelines))
    names = [field.name for field in settings.kept]
    cells = [
        _cells(answer) | dict(zip(names, row[1:], strict=True)) | key
        for key, row, (answer, _) in zip(keys, rows, results, strict=True)
    ]
    # The rows come last: their file finishes the shard.
    _write(shard_path(settings.out, shard), pa.Table.from_pylist(cells, settings.schema(model)))
    return len(rows), sum(answer.seconds for answer, _ in results if isinstance(answer, Prediction))


# In parallel threads, the memory of the graph would creep up: it computes for one at a time.
class _SerialRecognizer(Recognizer):
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
    # Kept for all shards of a process: loading it for each would leave holes in its memory.
    model = load_model(folder)
    if model_digest(model) != digest:
        raise ScoringError(f"a worker sees another model in {folder}. All workers need the same files")
    return _SerialRecognizer(model, int8=int8, ffmpeg=ffmpeg)


def _predict(
    settings: ShardSettings, recognizer: Recognizer, place: str
) -> tuple[Prediction | Failure, Timeline | None]:
    if settings.parent:
        exit_with_parent(settings.parent)
    timing, channel = settings.timing, settings.channel
    try:
        with _local_file(place) as file:
            prediction = recognizer.predict(file, channel=channel)
            timeline = recognizer.timeline(file, timing=timing, channel=channel) if timing else None
            return prediction, timeline
    except EmospecError as error:
        return Failure(place, str(error)), None


@contextmanager
def _local_file(place: str) -> Iterator[str]:
    # A file is itself; what a URL names is copied while it is needed.
    if not is_url(place):
        yield place
        return
    import fsspec

    with tempfile.TemporaryDirectory(prefix="emospec-") as folder:
        copy = str(Path(folder) / "recording")
        try:
            filesystem, path = fsspec.url_to_fs(place)
            filesystem.get_file(path, copy)
        except Exception as error:
            # Each filesystem raises its own errors.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise AudioError(f"{printable(place)}: cannot be fetched ({reason})") from error
        try:
            yield copy
        except EmospecError as error:
            raise AudioError(str(error).replace(copy, printable(place))) from error


def _cells(answer: Prediction | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"error": answer.error}
    cells = {f"p_{name}": probability for name, probability in answer.probabilities.items()} | vars(answer)
    start, end = answer.span
    return cells | {"span_start": start, "span_end": end, "warnings": list(answer.warnings)}


def _timeline_table(
    classes: Sequence[str], keys: Sequence[dict[str, Any]], timelines: Sequence[Timeline | None]
) -> pa.Table:
    number, text = pa.float64(), pa.string()
    columns = [("row", pa.int64()), ("recording", text), ("start", number), ("end", number)]
    columns += [("emotion", text), ("confidence", number), *((f"p_{name}", number) for name in classes)]
    # A recording that failed has no timeline, and no row.
    cells = [
        cells | key | {"start": cells["start_seconds"], "end": cells["end_seconds"]}
        for key, timeline in zip(keys, timelines, strict=True)
        if timeline is not None
        for cells in timeline.rows()
    ]
    return pa.Table.from_pylist(cells, pa.schema(columns))


def _write(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    write_bytes(path, sink.getvalue().to_pybytes())
