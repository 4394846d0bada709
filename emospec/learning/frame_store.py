"""The frames of a pack's utterances: computed once, stored beside the pack, memory-mapped by every run on it.

No augmentation touches the waveform, so an utterance's frames never change. The store is in shards: of a corpus
larger than memory some are read at a time, from end to end. Knows no network.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from emospec.files import fsync_and_rename, output_errors
from emospec.learning.device import has_room, to_device
from emospec.learning.sampling import ShardWindows
from emospec.learning.spectrogram import LogSpectrogram
from emospec.progress import Progress

# Raise it when the front end's frames change.
_STORE_VERSION = 4
_READ_AT_ONCE = 2**22
# Frames of a forward pass over many utterances, times the bytes of a value. On a CPU its maps fit into what a training
# step freed, so that an evaluation takes little memory of its own; an accelerator needs more to be busy.
_SIZE_AT_ONCE, _SIZE_ON_ACCELERATOR = 2**14, 2**17
_FRAMES_COPIED = 2**13


class FrameStore:
    """The frames of every utterance of a pack, in dB, before standardisation.

    Missing shards are written beside the pack (OutputError where they cannot be); `progress` is called with utterances
    done and all utterances. `bins` are those of each frame, `counts` (utterances,) the frames of each.
    """

    def __init__(self, pack: Pack, frontend: LogSpectrogram, progress: Progress | None = None) -> None:
        self.bins = frontend.bins
        counts = frame_count(pack.entries.samples)
        self.counts: NDArray[np.int64] = np.minimum(counts, frontend.max_frames or counts.max())
        name = f"frames-{frontend.kind}-{frontend.max_frames}-v{_STORE_VERSION}-{pack.digest[:12]}"
        float32 = np.dtype("<f4")
        self._shards = Shards(pack.folder, name, "f32", float32, lengths=self.counts, width=self.bins)
        for shard in range(len(self._shards)):
            path = self._shards.path(shard)
            if not path.is_file() or path.stat().st_size != self._shards.size(shard):
                self._write_shard(shard, path, pack, frontend, progress=progress)
        self._device = torch.device("cpu")
        self._resident: Tensor | None = None
        self._reader = ThreadPoolExecutor(1, "read-ahead")

    def frames(self, index: int) -> NDArray[np.float32]:
        """Return the frames (frames, bins) of one utterance, in dB."""
        return self._shards[index]

    def keep_on(self, device: torch.device, resident: bool | None = None) -> None:
        """Make batches on a device from now on, holding all frames there; None: where an accelerator has room."""
        self._device = device
        total = int(self.counts.sum())
        self._starts = np.cumsum(self.counts) - self.counts
        if has_room(device, 4 * total * self.bins) if resident is None else resident:
            self._resident, row = torch.empty((total, self.bins), device=device), 0
            for shard in range(len(self._shards)):
                frames = self._shards.open(shard)
                for start in range(0, len(frames), _FRAMES_COPIED):
                    part = np.array(frames[start : start + _FRAMES_COPIED])
                    self._resident[row : row + len(part)] = torch.from_numpy(part)
                    row += len(part)

    def windows(self, train: NDArray[np.int64], size: float, seed: int) -> ShardWindows | None:
        """Return how training utterances are shuffled in windows of `size` bytes of frames; None is all among all."""
        if not size:
            return None
        windows = ShardWindows(self._shards.of[train], max(1, int(size // SHARD_BYTES)), seed)
        return windows if windows.more_than_one else None

    def read_ahead(self, shards: Iterable[int]) -> None:
        """Read shards from end to end into the system's memory, beside other work."""
        for shard in () if self._resident is not None else shards:
            self._reader.submit(_read_through, self._shards.path(shard))

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return frames (batch, time, bins) in dB, arbitrary past their counts (batch,), which stay on the CPU."""
        counts = torch.from_numpy(self.counts[np.asarray(indices)])
        if self._resident is None:
            frames = [torch.from_numpy(np.array(self.frames(i))) for i in indices]
            return to_device(pad_sequence(frames, batch_first=True), self._device), counts
        starts = torch.from_numpy(self._starts[np.asarray(indices)])
        rows = (starts[:, None] + torch.arange(int(counts.max()))).clamp(max=len(self._resident) - 1)
        return self._resident[to_device(rows, self._device)], counts

    def buckets(self, indices: Sequence[int], precision: torch.dtype) -> Iterator[list[int]]:
        """Yield the utterances in batches of like length and bounded size, shard by shard, shortest first."""
        size = _SIZE_AT_ONCE if self._device.type == "cpu" else _SIZE_ON_ACCELERATOR
        for _, group in groupby(sorted(indices), key=lambda i: self._shards.of[i]):
            of_shard = list(group)
            lengths = np.maximum(self.counts[of_shard], MIN_FRAMES)
            for bucket in buckets(lengths, size // precision.itemsize):
                yield [of_shard[place] for place in bucket]

    def _write_shard(
        self, shard: int, path: Path, pack: Pack, frontend: LogSpectrogram, progress: Progress | None
    ) -> None:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with output_errors(path):
                rows = self._shards.create(shard, part)
            row = 0
            for i in range(*self._shards.firsts[shard : shard + 2].tolist()):
                waveform = torch.from_numpy(pack.waveform(i))
                with torch.inference_mode():
                    decibels, _ = frontend.decibels(waveform[None], torch.tensor([len(waveform)]))
                rows[row : row + self.counts[i]] = decibels[0].numpy()
                row += self.counts[i]
                if progress:
                    progress(i + 1, len(pack))
            # The mapping writes what is left as it ends.
            del rows
            with output_errors(path):
                fsync_and_rename(part, path)
        finally:
            part.unlink(missing_ok=True)


def _read_through(path: Path) -> None:
    buffer = bytearray(_READ_AT_ONCE)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
