"""Variable-length batches: which utterances, in which order, and their frames.

Knows no network. Frames come from a store on disk that is computed once for a pack and a front
end, and memory-mapped by every run on it: no augmentation touches the waveform, so an utterance's
frames never change.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from emospec.data.buckets import buckets
from emospec.data.frames import frame_count
from emospec.data.pack import Pack
from emospec.errors import PackError
from emospec.learning.device import has_room, to_device
from emospec.learning.spectrogram import LogSpectrogram

Progress = Callable[[int, int], None]

STORE_VERSION = 2  # raise it when the front end's frames change
_FRAMES_AT_ONCE = 8192  # bounds the memory of a forward pass over many utterances


class FrameStore:
    """The frames of every utterance of a pack, in dB, before standardisation.

    Attributes:
        counts: (utterances,) frames of each.
    """

    def __init__(self, pack: Pack, frontend: LogSpectrogram, progress: Progress | None = None) -> None:
        """Open the store; compute it first where there is none.

        Raises:
            PackError: it cannot be written beside the pack.
        """
        self.bins = frontend.bins
        counts = frame_count(pack.entries.samples)
        self.counts: NDArray[np.int64] = np.minimum(counts, frontend.max_frames or counts.max())
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])
        name = f"frames-{frontend.kind}-{frontend.max_frames}-v{STORE_VERSION}-{pack.digest[:12]}.f32"
        path = pack.folder / name
        shape = (int(self._starts[-1]), self.bins)
        if not path.is_file():
            self._compute(pack, frontend, path, shape, progress)
        self._frames = np.memmap(path, "<f4", mode="r", shape=shape)
        self._device = torch.device("cpu")
        self._resident: Tensor | None = None

    def frames(self, index: int) -> NDArray[np.float32]:
        """(frames, bins) of utterance `index`, in dB."""
        return self._frames[self._starts[index] : self._starts[index + 1]]

    def keep_on(self, device: torch.device, resident: bool | None = None) -> None:
        """Make batches on a device from now on.

        Args:
            device: where.
            resident: hold all frames there; None does so where an accelerator has room for them.
        """
        self._device = device
        if has_room(device, self._frames.nbytes) if resident is None else resident:
            self._resident = torch.empty(self._frames.shape, device=device)
            for start in range(0, len(self._frames), _FRAMES_AT_ONCE):
                piece = np.array(self._frames[start : start + _FRAMES_AT_ONCE])
                self._resident[start : start + len(piece)] = torch.from_numpy(piece)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Padded frames (batch, time, bins) in dB, and their counts (batch,), which stay on the CPU.

        What lies past a count is of no meaning.
        """
        counts = torch.from_numpy(self.counts[np.asarray(indices)])
        if self._resident is None:
            frames = [torch.from_numpy(np.array(self.frames(i))) for i in indices]
            return to_device(pad_sequence(frames, batch_first=True), self._device), counts
        starts = torch.from_numpy(self._starts[np.asarray(indices)])
        rows = (starts[:, None] + torch.arange(int(counts.max()))).clamp(max=len(self._frames) - 1)
        return self._resident[to_device(rows, self._device)], counts

    def buckets(self, indices: Sequence[int]) -> Iterator[list[int]]:
        """The utterances in batches of like length, shortest first, of bounded size."""
        ordered = sorted(indices)
        for bucket in buckets([self.counts[i] for i in ordered], _FRAMES_AT_ONCE):
            yield [ordered[place] for place in bucket]

    def _compute(
        self,
        pack: Pack,
        frontend: LogSpectrogram,
        path: Path,
        shape: tuple[int, int],
        progress: Progress | None,
    ) -> None:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        done = 0
        try:
            frames = np.memmap(part, "<f4", mode="w+", shape=shape)
            for bucket in self.buckets(range(len(pack))):
                waveforms = [torch.from_numpy(pack.waveform(i)) for i in bucket]
                lengths = torch.tensor([len(w) for w in waveforms])
                with torch.inference_mode():
                    decibels, _ = frontend.decibels(pad_sequence(waveforms, batch_first=True), lengths)
                for i, values in zip(bucket, decibels.numpy(), strict=True):
                    frames[self._starts[i] : self._starts[i + 1]] = values[: self.counts[i]]
                done += len(bucket)
                if progress:
                    progress(done, len(pack))
            frames.flush()
            del frames
            os.replace(part, path)
        except OSError as error:
            raise PackError(
                f"{path}: the frames cannot be stored beside the pack ({error.strerror})"
            ) from error
        finally:
            part.unlink(missing_ok=True)


def batch_indices(step: int, utterances: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Which training utterances make the batch of one step.

    Every epoch is a seeded shuffle; batches are always full, the tail of an epoch joins the next.
    A function of the step alone, so that a resumed run sees the batches of an uninterrupted one.

    Args:
        step: from 0.
        utterances: how many there are to draw from.
        batch_size: utterances per batch.
        seed: seeds the shuffles.

    Returns:
        (batch_size,) positions in [0, utterances).
    """
    first = step * batch_size
    places = np.arange(first, first + batch_size)
    epochs = places // utterances
    return np.array(
        [_shuffle(seed, int(e), utterances)[p % utterances] for e, p in zip(epochs, places, strict=True)]
    )


@lru_cache(maxsize=2)  # a batch lies in one epoch, or in two
def _shuffle(seed: int, epoch: int, utterances: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(utterances)
