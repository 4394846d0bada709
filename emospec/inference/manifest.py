"""The recordings of bulk scoring: the rows of a CSV or Parquet file, or the files of a folder, in order.

Rows are read as they are needed, so that millions of them need no memory. Knows no model.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from emospec.audio.discovery import count_unsupported, find_recordings
from emospec.errors import ScoringError, did_you_mean
from emospec.table_cells import FILE, cell_text, header_of, known_columns, other_separator, portable_name

# Arrow reads some thirty blocks of a CSV ahead.
_BATCH_ROWS, _BLOCK_BYTES = 4096, 2**18

ManifestRow = tuple[Any, ...]
"""The name of a recording, then the values of the columns that are kept."""


class Manifest:
    """A list of recordings; `left_out` counts those of a folder that are not read, by suffix.

    Args:
        source: a CSV (UTF-8) or Parquet file with a column `file` of paths, relative to that file, or URLs; or a
            folder, of which all recordings are used.
        keep: columns to carry along, by their names in the file, or by those of `known_columns`.
        ffmpeg: include the recordings of a folder that only ffmpeg decodes.
    """

    def __init__(self, source: Path | str, keep: Sequence[str] = (), ffmpeg: bool = False) -> None:
        self.source = Path(source)
        self._files = find_recordings(self.source, ffmpeg) if self.source.is_dir() else None
        self.left_out: dict[str, int] = {} if ffmpeg else count_unsupported(self.source)
        suffix = self.source.suffix.lower()
        if self._files is None and suffix not in (".csv", ".parquet"):
            mistake = f"{source} is no folder, no .csv and no .parquet"
            raise ScoringError(f"{mistake}. `emospec predict` takes single recordings")
        if self._files is None and not self.source.is_file():
            raise ScoringError(f"{source}: there is no such file")
        self._is_parquet = suffix == ".parquet"
        self.base = Path.cwd() if self._files is not None else self.source.absolute().parent
        self.kept = self._fields(keep)

    def _fields(self, keep: Sequence[str]) -> tuple[pa.Field, ...]:
        schema = pa.schema([(FILE, pa.string())]) if self._files is not None else self._schema()
        names, known = schema.names, known_columns(schema.names)
        kept = list(dict.fromkeys(keep))
        # A kept column may be named as the file names it, or as it is known.
        places = [_places(known, FILE)]
        places += [_places(names, column) or _places(known, column) for column in kept]
        for column, matches in zip([FILE, *kept], places, strict=True):
            if len(matches) != 1:
                expected = f"it must have one column {column!r}{did_you_mean(column, names)}"
                raise ScoringError(f"{self.source}: {expected}; its columns: {', '.join(names) or 'none'}")
        self._columns = [names[k] for (k,) in places]
        fields = [_in_microseconds(schema.field(k)) for (k,) in places[1:]]
        return tuple(field.with_name(column) for column, field in zip(kept, fields, strict=True))

    def rows(self) -> Iterator[ManifestRow]:
        """Yield all rows, in order."""
        if self._files is not None:
            yield from ((str(path),) for path in self._files)
            return
        columns = (map(pa.Array.to_pylist, batch.columns) for batch in self._batches())
        rows = chain.from_iterable(zip(*lists, strict=True) for lists in columns)
        for number, row in enumerate(rows, start=1):
            if not isinstance(row[0], str) or not cell_text(row[0]):
                raise ScoringError(f"{self.source}: row {number} names no {FILE}. Take it out")
            yield row if self._is_parquet else (cell_text(row[0]), *row[1:])

    def count_and_hash(self) -> tuple[int, str]:
        """Return the number of rows, and the SHA-256 of their values and the places of their recordings."""
        count, digest, protocols = 0, hashlib.sha256(), set()
        for row in self.rows():
            count += 1
            place = row[0] if is_url(row[0]) else os.path.join(self.base, row[0])
            digest.update(f"{row!r} {place!r}\n".encode())
            if is_url(row[0]):
                protocols.add(row[0].partition("://")[0])
        if not count:
            raise ScoringError(f"{self.source}: no row below the header")
        # A URL that nothing here reads fails now, not in the middle of the work.
        try:
            for protocol in sorted(protocols):
                import fsspec

                fsspec.get_filesystem_class(protocol)
        except (ImportError, ValueError) as error:
            raise ScoringError(f"the manifest holds URLs that cannot be read here: {error}") from error
        return count, digest.hexdigest()

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
                        chosen = batch.select(names)
                        types = [_in_microseconds(field).type for field in chosen.schema]
                        columns = [c.cast(t, safe=False) for c, t in zip(chosen, types, strict=True)]
                        yield pa.RecordBatch.from_arrays(columns, names)
            else:
                with self._csv(names) as reader:
                    yield from reader
        except (pa.ArrowException, OSError) as error:
            raise ScoringError(f"{self.source} cannot be read ({error})") from error

    def _csv(self, names: Sequence[str]) -> csv.CSVStreamingReader:
        """Open some columns, or all."""
        with open(self.source, encoding="utf-8-sig", errors="replace") as file:
            before, header = header_of(file)
        if separator := other_separator(header):
            raise ScoringError(
                f"{self.source}: its columns are separated by {separator}. Write it with commas"
            )
        # All cells are text: a number as identity keeps its leading zeros.
        cells = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=names)
        read = csv.ReadOptions(block_size=_BLOCK_BYTES, skip_rows=before)
        return csv.open_csv(self.source, read, csv.ParseOptions(newlines_in_values=True), cells)


def _places(names: Sequence[str], column: str) -> list[int]:
    return [k for k, name in enumerate(names) if name == column]


def _in_microseconds(field: pa.Field) -> pa.Field:
    # Python's times have no nanoseconds.
    kind = field.type
    if getattr(kind, "unit", "") != "ns":
        return field
    if pa.types.is_timestamp(kind):
        return field.with_type(pa.timestamp("us", kind.tz))
    return field.with_type(pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us"))


def is_url(recording: str) -> bool:
    """Whether the name of a recording is a URL, not a path."""
    return "://" in recording


def location(base: Path, recording: str) -> str:
    """Return the place of a recording: a URL, or a path from the root."""
    return recording if is_url(recording) else os.path.join(base, portable_name(base, recording))
