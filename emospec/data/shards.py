"""Arrays end to end in files of bounded size, memory-mapped: a pack's waveforms, and the frames made of them."""

import os
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

SHARD_BYTES = 2**28  # 256 MiB: 2.3 hours of 16-bit waveforms, 1.5 hours of log-Mel frames
_OPEN_AT_ONCE = 64  # shards; each takes a file descriptor


def shard_name(stem: str, shard: int, suffix: str) -> str:
    """Return the file name of a shard."""
    return f"{stem}-{shard:05d}.{suffix}"


def first_items(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the (shards,) first items: a shard ends before the item that would exceed `SHARD_BYTES`.

    Args:
        sizes: (items,) in bytes; an item that is larger alone is a shard of its own.

    >>> first_items(np.array([2**27, 2**27, 1, 2**29, 1])).tolist()
    [0, 2, 3, 4]
    """
    firsts, ends = [0] if len(sizes) else [], np.cumsum(sizes)
    while firsts:
        # The first item that ends beyond the limit begins the next shard.
        before = ends[firsts[-1]] - sizes[firsts[-1]]
        end = max(int(np.searchsorted(ends, before + SHARD_BYTES, "right")), firsts[-1] + 1)
        if end >= len(sizes):
            break
        firsts.append(end)
    return np.array(firsts, np.int64)


class ShardWriter:
    """A writer of arrays one after the other, into a new file wherever `first_items` begins one."""

    def __init__(self, folder: Path, stem: str, suffix: str) -> None:
        self._folder, self._names = folder, (stem, suffix)
        self._shard, self._bytes = -1, 0
        self._file: IO[bytes] | None = None

    def write(self, array: NDArray[Any]) -> None:
        """Append an item."""
        if self._file is None or self._bytes + array.nbytes > SHARD_BYTES:
            self.close()
            self._shard, self._bytes = self._shard + 1, 0
            self._file = open(self._folder / shard_name(self._names[0], self._shard, self._names[1]), "wb")  # noqa: SIM115
        self._bytes += self._file.write(array.data)

    def close(self) -> None:
        """End the last file."""
        if self._file:
            self._file.close()


class Shards:
    """Items in shards: item i is some rows of the file of its shard.

    Args:
        folder, stem, suffix: of the files.
        dtype: of a value.
        lengths: (items,) rows of each.
        width: values in a row; 0 where a row is a single value.

    Attributes:
        of: (items,) the shard of each.
        firsts: (shards + 1,) the first item of each, and the number of items.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        suffix: str,
        dtype: np.dtype[Any],
        lengths: NDArray[np.int64],
        width: int = 0,
    ) -> None:
        self._folder, self._names, self._dtype = folder, (stem, suffix), dtype
        self._row = (width,) if width else ()
        self._row_bytes = dtype.itemsize * (width or 1)
        firsts = first_items(lengths * self._row_bytes)
        self.firsts = np.append(firsts, len(lengths))
        self.of = np.searchsorted(firsts, np.arange(len(lengths)), "right") - 1
        self._ends = np.concatenate([[0], np.cumsum(lengths)])
        self._map = lru_cache(_OPEN_AT_ONCE)(self.open)

    def __len__(self) -> int:
        return len(self.firsts) - 1

    def __getitem__(self, item: int) -> NDArray[Any]:
        """Return the rows of an item, as they lie in the file."""
        shard = int(self.of[item])
        before = self._ends[self.firsts[shard]]
        return self._map(shard)[self._ends[item] - before : self._ends[item + 1] - before]

    def path(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self._folder / shard_name(self._names[0], shard, self._names[1])

    def rows(self, shard: int) -> int:
        """Return the number of rows of a shard."""
        return int(self._ends[self.firsts[shard + 1]] - self._ends[self.firsts[shard]])

    def size(self, shard: int) -> int:
        """Return the size of a shard in bytes."""
        return self.rows(shard) * self._row_bytes

    def open(self, shard: int) -> NDArray[Any]:
        """Return all rows of a shard, memory-mapped."""
        return np.memmap(self.path(shard), self._dtype, "r", shape=(self.rows(shard), *self._row))

    def create(self, shard: int, path: Path) -> NDArray[Any]:
        """Return a new, writable file for the rows of a shard; OSError where there is no room for it."""
        with open(path, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                # A hole that turns out to have no room behind it would kill the process.
                os.posix_fallocate(file.fileno(), 0, self.size(shard))
            else:
                file.truncate(self.size(shard))
        return np.memmap(path, self._dtype, "r+", shape=(self.rows(shard), *self._row))
