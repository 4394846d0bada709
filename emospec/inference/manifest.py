"""What is to be scored: the rows of a CSV or Parquet file, or the recordings of a folder, in order.

Rows are read as they are needed, so that millions of them need no memory. Knows no model.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from emospec.audio.discovery import count_unsupported
from emospec.audio.reader import find_recordings
from emospec.errors import ScoringError, did_you_mean
from emospec.table_cells import FILE, cell_text, header_of, known_columns, other_separator, portable_name

_BATCH_ROWS = 4096
_BLOCK_BYTES = 2**18  # of a CSV; some thirty of them are read ahead

ManifestRow = tuple[Any, ...]
"""A recording as it is named, then the values of the columns that are kept."""


@dataclass(frozen=True)
class Census:
    """What one pass over a manifest tells.

    Attributes:
        files: its rows.
        sha256: of all that its rows say, and of where their recordings lie.
        protocols: of its URLs, such as `s3`.
    """

    files: int
    sha256: str
    protocols: frozenset[str]


class Manifest:
    """A list of recordings.

    Args:
        source: a CSV (UTF-8) or Parquet file with a column `file` of paths, relative to that file, or URLs; or a
            folder, of which all recordings are taken.
        keep: further columns whose values are carried along.
        ffmpeg: take from a folder the recordings too that ffmpeg decodes.

    Attributes:
        left_out: files of a folder that are recordings of kinds that are not read, by suffix.

    Raises:
        ScoringError: there is no such file, or not these columns.
        AudioError: the folder holds no recordings.
    """

    def __init__(self, source: Path | str, keep: Sequence[str] = (), ffmpeg: bool = False) -> None:
        self.source = Path(source)
        self._files = find_recordings(self.source, ffmpeg) if self.source.is_dir() else None
        self.left_out: dict[str, int] = {} if ffmpeg else count_unsupported(self.source)
        if self._files is None and self.source.suffix.lower() not in (".csv", ".parquet"):
            raise ScoringError(
                f"{source} is no folder, no .csv and no .parquet. `emospec predict` judges single recordings"
            )
        if self._files is None and not self.source.is_file():
            raise ScoringError(f"{source}: there is no such file")
        self.base = Path.cwd() if self._files is not None else self.source.absolute().parent
        self.kept = self._fields(keep)

    def _fields(self, keep: Sequence[str]) -> tuple[pa.Field, ...]:
        schema = pa.schema([(FILE, pa.string())]) if self._files is not None else self._schema()
        names, known = schema.names, known_columns(schema.names)
        kept = list(dict.fromkeys(keep))
        places = [_places(known, FILE)]
        # A column to keep is meant as it is written, or else as a corpus's CSV knows it.
        places += [_places(names, column) or _places(known, column) for column in kept]
        for column, matches in zip([FILE, *kept], places, strict=True):
            if len(matches) != 1:
                found = ", ".join(names) or "none"
                raise ScoringError(
                    f"{self.source}: it must have one column {column!r}{did_you_mean(column, names)}; its columns: {found}"
                )
        self._columns = [names[k] for (k,) in places]
        fields = [_in_microseconds(schema.field(k)) for (k,) in places[1:]]
        return tuple(field.with_name(column) for column, field in zip(kept, fields, strict=True))

    def rows(self) -> Iterator[ManifestRow]:
        """All rows, in order.

        Raises:
            ScoringError: the file cannot be read, or a row names no recording.
        """
        if self._files is not None:
            yield from ((str(path),) for path in self._files)
            return
        whole = (
            row
            for batch in self._batches()
            for row in zip(*map(pa.Array.to_pylist, batch.columns), strict=True)
        )
        for number, row in enumerate(whole, start=1):
            if not isinstance(row[0], str) or not cell_text(row[0]):
                raise ScoringError(f"{self.source}: row {number} names no {FILE}. Take it out")
            yield row if self._is_parquet else (cell_text(row[0]), *row[1:])

    def census(self) -> Census:
        """Count the rows, and tell one manifest from another."""
        count, digest, protocols = 0, hashlib.sha256(), set()
        for row in self.rows():
            count += 1
            place = row[0] if is_url(row[0]) else os.path.join(self.base, row[0])
            digest.update(f"{row!r} {place!r}\n".encode())
            if is_url(row[0]):
                protocols.add(row[0].partition("://")[0])
        if not count:
            raise ScoringError(f"{self.source}: no row below the header")
        return Census(count, digest.hexdigest(), frozenset(protocols))

    def _schema(self) -> pa.Schema:
        try:
            if self._is_parquet:
                return parquet.read_schema(self.source)
            with self._csv([]) as reader:
                return pa.schema([(name, pa.string()) for name in reader.schema.names])
        except (pa.ArrowException, OSError) as error:
            raise ScoringError(f"{self.source} cannot be read ({error})") from error

    def _batches(self) -> Iterator[pa.RecordBatch]:
        names = self._columns
        try:
            if self._is_parquet:
                with parquet.ParquetFile(self.source) as file:
                    for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                        columns = [
                            column.cast(_in_microseconds(field).type, safe=False)
                            for field, column in zip(
                                batch.select(names).schema, batch.select(names), strict=True
                            )
                        ]
                        yield pa.RecordBatch.from_arrays(columns, names)
            else:
                with self._csv(names) as reader:
                    yield from reader
        except (pa.ArrowException, OSError) as error:
            raise ScoringError(f"{self.source} cannot be read ({error})") from error

    @property
    def _is_parquet(self) -> bool:
        return self.source.suffix.lower() == ".parquet"

    def _csv(self, names: Sequence[str]) -> csv.CSVStreamingReader:
        """Some columns, or all, as text: an identity of digits keeps its leading zeros."""
        with open(self.source, encoding="utf-8-sig", errors="replace") as file:
            before, header = header_of(file)
        if separator := other_separator(header):
            raise ScoringError(
                f"{self.source}: its columns are separated by {separator}. Write it with commas"
            )
        return csv.open_csv(
            self.source,
            csv.ReadOptions(block_size=_BLOCK_BYTES, skip_rows=before),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=names),
        )


def _places(names: Sequence[str], column: str) -> list[int]:
    return [k for k, name in enumerate(names) if name == column]


def _in_microseconds(field: pa.Field) -> pa.Field:
    """A column of times in nanoseconds, which Python's do not have, as one in microseconds."""
    kind = field.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return field.with_type(pa.timestamp("us", kind.tz))
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return field.with_type(pa.duration("us"))
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return field.with_type(pa.time64("us"))
    return field


def is_url(recording: str) -> bool:
    """Whether a recording is named by a URL, not by a path."""
    return "://" in recording


def location(base: Path, recording: str) -> str:
    """Return where a recording lies: a URL, or a path from the root."""
    return recording if is_url(recording) else os.path.join(base, portable_name(base, recording))
