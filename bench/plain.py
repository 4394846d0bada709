"""The method written naively: what a first working version does.

float32, channels first, frames by librosa one file at a time, every batch padded to its longest,
ReLU before pooling, Adam tensor by tensor. `Ways` turns on one fast path after another, to see
what each is worth.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

MAX_FRAMES = 1400


@dataclass(frozen=True)
class Ways:
    """Which fast paths are on."""

    allocator: bool = False
    channels_last: bool = False
    bfloat16: bool = False
    pool_first: bool = False
    fused_adam: bool = False


def log_mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames, 128) in dB of one waveform at 16 kHz, cropped to the central 14 s."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=16000,
        n_fft=1024,
        win_length=640,
        hop_length=160,
        window="hamming",
        pad_mode="constant",
    )
    return _central(librosa.power_to_db(power, top_db=80))


def log_stft(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames, 513) in dB of one waveform at 16 kHz, cropped to the central 14 s."""
    import librosa

    spectrum = librosa.stft(
        y=waveform, n_fft=1024, win_length=640, hop_length=160, window="hamming", pad_mode="constant"
    )
    return _central(librosa.power_to_db(np.abs(spectrum) ** 2 + 1e-8, top_db=80))


def _central(decibels: NDArray[np.float32]) -> NDArray[np.float32]:
    first = max(decibels.shape[1] - MAX_FRAMES, 0) // 2
    return np.ascontiguousarray(decibels[:, first : first + MAX_FRAMES].T)


def decode(file: Path) -> NDArray[np.float32]:
    """One recording as mono float32 at 16 kHz."""
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, 16000)


class PlainNetwork(nn.Module):
    """CNN -> bidirectional GRU -> z -> logits over a padded batch."""

    def __init__(self, bins: int, classes: int, ways: Ways) -> None:
        super().__init__()
        self.ways = ways
        channels = [1, 48, 64, 80, 96]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 7 if a == 1 else 3, stride=2 if a == 1 else 1)
            for a, b in itertools.pairwise(channels)
        )
        height = (bins - 7) // 2 + 1
        for _ in range(3):
            height = (height - 4) // 2 + 1
        self.gru = nn.GRU(height * 96, 128, batch_first=True, bidirectional=True)
        self.fc1, self.prelu, self.fc2 = nn.Linear(256, 64), nn.PReLU(64, 0.0), nn.Linear(64, classes)
        if ways.channels_last:
            self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Z (batch, 64) and logits from frames (batch, time, bins) and their counts (batch,)."""
        maps, lengths = frames[:, None], (counts - 7) // 2 + 1
        if self.ways.channels_last:
            maps = maps.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.ways.bfloat16):
            maps = self.convolutions[0](maps).relu()
            for convolution in list(self.convolutions)[1:]:
                maps = convolution(maps)
                if self.ways.pool_first:
                    maps = torch.max_pool2d(maps, 2).relu()
                else:
                    maps = torch.max_pool2d(maps.relu(), 2)
                lengths = (lengths - 4) // 2 + 1
        steps = maps.to(frames.dtype).permute(0, 2, 3, 1).flatten(2)
        _, last = self.gru(pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False))
        z = self.prelu(self.fc1(torch.cat([last[0], last[1]], dim=1)))
        return z, self.fc2(z)


class PlainTraining:
    """Training steps over utterances in memory."""

    def __init__(self, frames: Sequence[Tensor], targets: Tensor, classes: int, ways: Ways) -> None:
        every = torch.cat(list(frames))
        mean, deviation = every.mean(dim=0), every.std(dim=0, correction=0)
        self.frames = [(f - mean) / deviation for f in frames]
        self.targets = targets
        self.counts = torch.bincount(targets, minlength=classes)
        self.network = PlainNetwork(every.shape[1], classes, ways)
        self.centers = torch.zeros(classes, 64)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), 3e-4, foreach=False, fused=ways.fused_adam
        )

    def step(self, indices: Sequence[int]) -> None:
        """One batch: losses, gradients, Adam, centres."""
        batch = [self.frames[i] for i in indices]
        targets = self.targets[torch.as_tensor(indices)]
        z, logits = self.network(pad_sequence(batch, batch_first=True), torch.tensor([len(f) for f in batch]))
        weights = self.counts.max() / (self.counts + 0.5)
        w = weights[targets]
        softmax_loss = (w * nn.functional.cross_entropy(logits, targets, reduction="none")).sum() / w.sum()
        center_loss = (w * (z - self.centers[targets]).square().sum(dim=1)).sum() / w.sum()
        self.optimizer.zero_grad()
        (softmax_loss + 0.3 * center_loss).backward()
        self.optimizer.step()
        for j in range(len(self.centers)):
            if (targets == j).any():
                self.centers[j] = 0.5 * self.centers[j] + 0.5 * z[targets == j].mean(dim=0).detach()
