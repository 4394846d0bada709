"""Variable-length batches: which utterances, in which order, and their frames.

Knows no network. Frames come from a store on disk that is computed once for a pack and a front
end, and memory-mapped by every run on it: no augmentation touches the waveform, so an utterance's
frames never change. The store is in shards: of a corpus larger than memory some are read at a time,
from end to end, and utterances are shuffled among those.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from emospec.audio.buckets import buckets
from emospec.audio.frames import MIN_FRAMES, frame_count
from emospec.data.pack import Pack
from emospec.data.shards import SHARD_BYTES, Shards
from emospec.files import put_in_place, told_as_output
from emospec.learning.device import has_room, to_device
from emospec.learning.spectrogram import LogSpectrogram
from emospec.progress import Progress

STORE_VERSION = 4  # raise it when the front end's frames change
_READ_AT_ONCE = 2**22
# Frames of a forward pass over many utterances, times the bytes of a value. On a CPU its maps fit into what a training
# step freed, so that judging takes little memory of its own; an accelerator needs more to be busy.
_SIZE_AT_ONCE, _SIZE_ON_ACCELERATOR = 2**14, 2**17
_FRAMES_COPIED = 2**13


class FrameStore:
    """The frames of every utterance of a pack, in dB, before standardisation.

    Attributes:
        counts: (utterances,) frames of each.
    """

    def __init__(self, pack: Pack, frontend: LogSpectrogram, progress: Progress | None = None) -> None:
        """Open the store; compute it first where there is none.

        Raises:
            OutputError: it cannot be written beside the pack.
        """
        self.bins = frontend.bins
        counts = frame_count(pack.entries.samples)
        self.counts: NDArray[np.int64] = np.minimum(counts, frontend.max_frames or counts.max())
        name = f"frames-{frontend.kind}-{frontend.max_frames}-v{STORE_VERSION}-{pack.digest[:12]}"
        self._shards = Shards(pack.folder, name, "f32", np.dtype("<f4"), self.counts, self.bins)
        self._compute(pack, frontend, progress)
        self._device = torch.device("cpu")
        self._resident: Tensor | None = None
        self._reader = ThreadPoolExecutor(1, "read-ahead")

    def frames(self, index: int) -> NDArray[np.float32]:
        """(frames, bins) of utterance `index`, in dB."""
        return self._shards[index]

    def keep_on(self, device: torch.device, resident: bool | None = None) -> None:
        """Make batches on a device from now on.

        Args:
            device: where.
            resident: hold all frames there; None does so where an accelerator has room for them.
        """
        self._device = device
        total = int(self.counts.sum())
        self._starts = np.cumsum(self.counts) - self.counts
        if has_room(device, 4 * total * self.bins) if resident is None else resident:
            self._resident = torch.empty((total, self.bins), device=device)
            row = 0
            for shard in range(len(self._shards)):
                frames = self._shards.open(shard)
                for start in range(0, len(frames), _FRAMES_COPIED):
                    piece = np.array(frames[start : start + _FRAMES_COPIED])
                    self._resident[row : row + len(piece)] = torch.from_numpy(piece)
                    row += len(piece)

    def windows(self, train: NDArray[np.int64], size: float, seed: int) -> "Windows | None":
        """How training utterances are shuffled in windows of so many bytes of frames; None: all among all."""
        if not size:
            return None
        windows = Windows(self._shards.of[train], max(1, int(size // SHARD_BYTES)), seed)
        return windows if windows.more_than_one else None

    def read_ahead(self, shards: Iterable[int]) -> None:
        """Have shards read from end to end into the system's memory, beside what goes on."""
        for shard in () if self._resident is not None else shards:
            self._reader.submit(self._read, self._shards.path(shard))

    def _read(self, path: Path) -> None:
        buffer = bytearray(_READ_AT_ONCE)
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Padded frames (batch, time, bins) in dB, and their counts (batch,), which stay on the CPU.

        What lies past a count is of no meaning.
        """
        counts = torch.from_numpy(self.counts[np.asarray(indices)])
        if self._resident is None:
            frames = [torch.from_numpy(np.array(self.frames(i))) for i in indices]
            return to_device(pad_sequence(frames, batch_first=True), self._device), counts
        starts = torch.from_numpy(self._starts[np.asarray(indices)])
        rows = (starts[:, None] + torch.arange(int(counts.max()))).clamp(max=len(self._resident) - 1)
        return self._resident[to_device(rows, self._device)], counts

    def buckets(self, indices: Sequence[int], precision: torch.dtype) -> Iterator[list[int]]:
        """The utterances in batches of like length, of bounded size in a precision; shard by shard, shortest first."""
        ordered = np.sort(np.asarray(indices))
        size = _SIZE_AT_ONCE if self._device.type == "cpu" else _SIZE_ON_ACCELERATOR
        most = size // precision.itemsize
        for _, group in groupby(ordered.tolist(), key=lambda i: self._shards.of[i]):
            inside = list(group)
            for bucket in buckets(np.maximum(self.counts[inside], MIN_FRAMES), most):
                yield [inside[place] for place in bucket]

    def _compute(self, pack: Pack, frontend: LogSpectrogram, progress: Progress | None) -> None:
        """Make the shards that are missing."""
        for shard in range(len(self._shards)):
            path = self._shards.path(shard)
            if path.is_file() and path.stat().st_size == self._shards.size(shard):
                continue
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            try:
                with told_as_output(path):
                    rows = self._shards.create(shard, part)
                self._fill(shard, rows, pack, frontend, progress)
                del rows  # which writes what is left
                with told_as_output(path):
                    put_in_place(part, path)
            finally:
                part.unlink(missing_ok=True)

    def _fill(
        self,
        shard: int,
        rows: NDArray[np.float32],
        pack: Pack,
        frontend: LogSpectrogram,
        progress: Progress | None,
    ) -> None:
        first, last = self._shards.firsts[shard : shard + 2].tolist()
        row = 0
        for i in range(first, last):
            waveform = torch.from_numpy(pack.waveform(i))
            with torch.inference_mode():
                decibels, _ = frontend.decibels(waveform[None], torch.tensor([len(waveform)]))
            rows[row : row + self.counts[i]] = decibels[0].numpy()
            row += self.counts[i]
            if progress:
                progress(i + 1, len(pack))


class Windows:
    """Which utterances are drawn while which shards are read.

    Every epoch the shards are shuffled and cut into windows, and the utterances of each window are shuffled.
    All is a function of the seed.

    Args:
        shards: (utterances,) the shard of each training utterance.
        width: shards in a window.
        seed: seeds the shuffles.
    """

    def __init__(self, shards: NDArray[np.int64], width: int, seed: int) -> None:
        self._shards, self._width, self._seed = shards, width, seed
        self._used = np.unique(shards)
        self._told: set[tuple[int, int]] = set()
        self._epoch = lru_cache(maxsize=2)(self._shuffle_epoch)  # a batch lies in one epoch, or in two

    @property
    def more_than_one(self) -> bool:
        """Whether the shards are not all in one window."""
        return len(self._used) > self._width

    def shuffle(self, epoch: int) -> NDArray[np.int64]:
        """(utterances,) in the order in which an epoch sees them."""
        return self._epoch(epoch)[0]

    def entered(self, place: int) -> list[int]:
        """Shards to be read when a place of the stream of utterances is reached: its window's and the next's."""
        epoch, position = divmod(place, len(self._shards))
        _, ends, _ = self._epoch(epoch)
        window = int(np.searchsorted(ends, position, "right"))
        following = (epoch, window + 1) if window + 1 < len(ends) else (epoch + 1, 0)
        new = [one for one in ((epoch, window), following) if one not in self._told]
        self._told = {(epoch, window), following}
        return [int(shard) for e, w in new for shard in self._epoch(e)[2][w]]

    def _shuffle_epoch(
        self, epoch: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], list[NDArray[np.int64]]]:
        """The order, where in it each window ends, and each window's shards."""
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(self._used)
        windows = [order[k : k + self._width] for k in range(0, len(order), self._width)]
        inside = [rng.permutation(np.flatnonzero(np.isin(self._shards, window))) for window in windows]
        return np.concatenate(inside), np.cumsum([len(part) for part in inside]), windows


def batch_indices(
    step: int, utterances: int, batch_size: int, seed: int, windows: Windows | None = None
) -> NDArray[np.int64]:
    """Which training utterances make the batch of one step.

    Every epoch is a seeded shuffle; batches are always full, the tail of an epoch joins the next.
    A function of the step alone, so that a resumed run sees the batches of an uninterrupted one.

    Args:
        step: from 0.
        utterances: how many there are to draw from.
        batch_size: utterances per batch.
        seed: seeds the shuffles.
        windows: shuffle in windows; else all among all.

    Returns:
        (batch_size,) positions in [0, utterances).
    """
    first = step * batch_size
    places = np.arange(first, first + batch_size)
    orders = {
        epoch: windows.shuffle(epoch) if windows else _shuffle(seed, epoch, utterances)
        for epoch in set((places // utterances).tolist())
    }
    return np.array([orders[place // utterances][place % utterances] for place in places.tolist()])


@lru_cache(maxsize=2)  # a batch lies in one epoch, or in two
def _shuffle(seed: int, epoch: int, utterances: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(utterances)
