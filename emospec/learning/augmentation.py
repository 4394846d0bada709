"""Training utterances made different each time, on their frames in dB.

Stored frames stay what is read: powers are added (noise), smeared (a room) and filtered (a telephone), axes
are stretched (speed, pitch), stretches are hidden (masks). What is drawn depends on a generator alone.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emospec.audio.frames import HOP_SECONDS
from emospec.config import Augmentation
from emospec.learning.device import to_device
from emospec.learning.spectrogram import DYNAMIC_RANGE_DB, POWER_FLOOR

SNR_DB = (0.0, 30.0)
NOISE_DB_PER_OCTAVE = (-12.0, 0.0)  # from brown to white
BABBLE_SHARE, BABBLERS = 0.5, 3  # of noises that are other utterances of the batch; so many at once
ROOM_SECONDS = (0.1, 0.8)  # until a room's sound has fallen by 60 dB
ROOM_LEVEL = (0.02, 0.3)  # of a room's first frame, re the direct sound's power
TELEPHONE_HZ, TELEPHONE_DB = (300.0, 3400.0), -50.0  # its band, and what is left outside
MASK_FRAMES, MASK_TIME_SHARE, MASK_BIN_SHARE = 40, 0.2, 0.12  # the widest mask, and of time and bins


class Augmenter:
    """Augments batches of frames.

    Args:
        settings: how much of what.
        frequencies: (bins,) centre of each bin, in Hz, ascending.
    """

    def __init__(self, settings: Augmentation, frequencies: NDArray[np.float64]) -> None:
        self.settings = settings
        self.frequencies = frequencies

    @property
    def active(self) -> bool:
        """Whether anything happens at all."""
        return any(self.settings.model_dump().values())

    def __call__(self, decibels: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Other frames (batch, time, bins) in dB, and their counts (batch,).

        Args:
            decibels: (batch, time, bins); what lies past a count is of no meaning, before and after.
            counts: (batch,) frames of each, on the CPU.
            generator: the CPU's.
        """
        s, draw = self.settings, _Draw(len(decibels), decibels.device, generator)
        if s.speed or s.pitch:
            decibels, counts = self._stretch(decibels, counts, draw)
        if s.noise or s.reverberation or s.telephone:
            decibels = self._worsen(decibels, counts, draw)
        if s.gain_db:
            decibels = decibels + draw.between(-s.gain_db, s.gain_db)
        return decibels, counts

    def hide(self, frames: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
        """Standardised frames with stretches of time and of frequency at 0, the mean of training.

        SpecAugment without its time warping (Park et al. 2019, section 2).
        """
        if not self.settings.masks:
            return frames
        time, bins = frames.shape[1:]
        draw = _Draw(len(frames), torch.device("cpu"), generator)
        in_time = torch.zeros(len(frames), time, 1, dtype=torch.bool)
        in_bins = torch.zeros(len(frames), 1, bins, dtype=torch.bool)
        length = counts[:, None, None].float()
        for _ in range(self.settings.masks):
            in_time |= draw.stretch(
                torch.arange(time)[:, None], length, (MASK_TIME_SHARE * length).clamp(max=MASK_FRAMES)
            )
            in_bins |= draw.stretch(torch.arange(bins), torch.tensor(float(bins)), MASK_BIN_SHARE * bins)
        for hidden in (in_time, in_bins):
            frames = frames.masked_fill(to_device(hidden, frames.device), 0.0)
        return frames

    def _stretch(self, decibels: Tensor, counts: Tensor, draw: "_Draw") -> tuple[Tensor, Tensor]:
        """Bilinear between frames and bins: time by one factor, frequency in Hz by another."""
        speed, pitch = (
            1 + draw.on_cpu(-most, most)[:, 0, 0] for most in (self.settings.speed, self.settings.pitch)
        )
        stretched = (counts / speed).round().long().clamp(min=1)
        place = torch.minimum(
            torch.arange(int(stretched.max())) * speed[:, None], (counts - 1)[:, None].float()
        )
        numbers = np.arange(len(self.frequencies))
        moved = [np.interp(self.frequencies / p, self.frequencies, numbers) for p in pitch.tolist()]
        bins = torch.from_numpy(np.stack(moved)).float()
        shape = (len(counts), place.shape[1], len(numbers))
        grid = torch.stack(
            [
                (2 * bins / max(len(numbers) - 1, 1) - 1)[:, None].expand(shape),
                (2 * place / max(decibels.shape[1] - 1, 1) - 1)[..., None].expand(shape),
            ],
            dim=-1,
        )
        grid = to_device(grid, decibels.device)
        return functional.grid_sample(decibels[:, None], grid, align_corners=True)[:, 0], stretched

    def _worsen(self, decibels: Tensor, counts: Tensor, draw: "_Draw") -> Tensor:
        """Some of the utterances in a room, in noise, behind a telephone; nothing is computed on the others."""
        s = self.settings
        room, noise, telephone = (draw.chosen(share) for share in (s.reverberation, s.noise, s.telephone))
        worse = (room | noise | telephone).nonzero()[:, 0]
        if not len(worse):
            return decibels
        places, device = to_device(worse, decibels.device), decibels.device
        inside = to_device((torch.arange(decibels.shape[1]) < counts[worse, None])[..., None], device)
        power = torch.where(inside, torch.pow(10.0, decibels[places] / 10), 0.0)
        for chosen, change in ((room, self._reverberate), (noise, self._add_noise)):
            rows = chosen[worse].nonzero()[:, 0]
            if len(rows):
                changed = change(power, counts[worse], rows, draw.of(len(rows)))
                power = power.index_copy(0, to_device(rows, device), changed)
        found = 10 * torch.log10(power.clamp(min=POWER_FLOOR))
        low, high = TELEPHONE_HZ
        outside = torch.from_numpy((self.frequencies < low) | (self.frequencies > high))
        found = found + TELEPHONE_DB * to_device(telephone[worse, None, None] & outside, device)
        top = found.masked_fill(~inside, -torch.inf).amax(dim=(1, 2), keepdim=True)
        return decibels.index_copy(0, places, torch.maximum(found, top - DYNAMIC_RANGE_DB))

    def _add_noise(self, power: Tensor, counts: Tensor, rows: Tensor, draw: "_Draw") -> Tensor:
        """Some rows with noise of a random slope, or with other rows, at a random SNR."""
        own = power[to_device(rows, power.device)]
        inside = to_device(torch.arange(power.shape[1]) < counts[rows, None], power.device)[..., None]

        def mean(values: Tensor) -> Tensor:
            """Over an utterance's own frames."""
            of_own = (values * inside).sum(dim=(1, 2), keepdim=True)
            return of_own / (inside.sum(dim=1, keepdim=True) * values.shape[2])

        octaves = torch.from_numpy(np.log2(np.maximum(self.frequencies, 50.0) / 1000.0)).float()
        slope = draw.between(*NOISE_DB_PER_OCTAVE) * to_device(octaves, power.device)
        noise = torch.pow(10.0, slope / 10) * draw.exponential(own.shape)
        babble = draw.chosen(BABBLE_SHARE).nonzero()[:, 0]
        if len(babble) and len(power) > BABBLERS:  # else some would be their own company
            others = (rows[babble, None] + torch.arange(1, BABBLERS + 1)) % len(power)
            voices = power[to_device(others, power.device)].sum(dim=1)
            noise = noise.index_copy(0, to_device(babble, power.device), voices)
        level = torch.pow(10.0, -draw.between(*SNR_DB) / 10)
        return own + level * mean(own) / mean(noise).clamp(min=POWER_FLOOR) * noise

    def _reverberate(self, power: Tensor, _: Tensor, rows: Tensor, draw: "_Draw") -> Tensor:
        """Some rows with their own past in exponential decay: Polack's statistical room, without phases."""
        from scipy.fft import next_fast_len  # a quarter of a second of every training's start

        own = power[to_device(rows, power.device)]
        frames = round(ROOM_SECONDS[1] / HOP_SECONDS)
        seconds, level = draw.between(*ROOM_SECONDS), draw.between(*ROOM_LEVEL)
        behind = torch.arange(1, frames + 1, device=power.device) * HOP_SECONDS
        room = level * torch.pow(10.0, -6.0 * behind / seconds)
        room = functional.pad(room[:, 0], (1, 0))
        size = next_fast_len(power.shape[1] + frames, real=True)
        spectrum = torch.fft.rfft(room, size)[..., None] * torch.fft.rfft(own, size, dim=1)
        smeared: Tensor = torch.fft.irfft(spectrum, size, dim=1)[:, : power.shape[1]].clamp(min=0.0)
        return own + smeared


class _Draw:
    """Random numbers for a batch, one per utterance: (batch, 1, 1)."""

    def __init__(self, batch: int, device: torch.device, generator: torch.Generator) -> None:
        self.batch, self.device, self.generator = batch, device, generator

    def on_cpu(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.batch, 1, 1, generator=self.generator)

    def between(self, low: float, high: float) -> Tensor:
        return to_device(self.on_cpu(low, high), self.device)

    def chosen(self, share: float) -> Tensor:
        """(batch,) on the CPU: which."""
        return self.on_cpu(0.0, 1.0)[:, 0, 0] < share

    def of(self, batch: int) -> "_Draw":
        """For a part of the batch."""
        return _Draw(batch, self.device, self.generator)

    def stretch(self, axis: Tensor, length: Tensor, widest: Tensor | float) -> Tensor:
        """Where a stretch of random width and place lies on an axis."""
        width = self.on_cpu(0.0, 1.0) * widest
        start = self.on_cpu(0.0, 1.0) * (length - width)
        return (axis >= start) & (axis < start + width)

    def exponential(self, shape: torch.Size) -> Tensor:
        """As the power of Gaussian noise is distributed, one for every frame and bin."""
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        generator = torch.Generator(self.device).manual_seed(seed)
        # By the inverse of the distribution: four times as fast as torch's own on a CPU.
        uniform = torch.rand(shape, device=self.device, generator=generator)
        return uniform.neg_().log1p_().neg_()
