"""Augmentation of training utterances, on their frames in dB, drawn anew at each step.

Powers are added (noise), smeared (a room) and filtered (a telephone), axes are stretched (speed, pitch), spans are
hidden (masks). Stored frames stay as they are; all randomness comes from a generator.
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

_SNR_DB = (0.0, 30.0)
# From brown to white.
_NOISE_DB_PER_OCTAVE = (-12.0, 0.0)
# The share of noises that are other utterances of the batch, and how many of these sound at once.
_BABBLE_SHARE, _BABBLERS = 0.5, 3
# Seconds until a room's sound has fallen by 60 dB, and its first frame's power over the direct sound's.
_ROOM_SECONDS, _ROOM_LEVEL = (0.1, 0.8), (0.02, 0.3)
# A telephone's band, and the gain outside it.
_TELEPHONE_HZ, _TELEPHONE_DB = (300.0, 3400.0), -50.0
# The widest mask: frames, share of the utterance's frames, share of the bins.
_MASK_FRAMES, _MASK_TIME_SHARE, _MASK_BIN_SHARE = 40, 0.2, 0.12


class Augmenter:
    """Augments batches of frames, whose bins have their centres at `frequencies` (bins,), in Hz, ascending."""

    def __init__(self, settings: Augmentation, frequencies: NDArray[np.float64]) -> None:
        self.settings, self.frequencies = settings, frequencies
        self.active = any(settings.model_dump().values())

    def __call__(self, decibels: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return augmented frames (batch, time, bins) in dB, and their counts (batch,), which are on the CPU.

        What lies past a count has no meaning, before and after. The generator is the CPU's.
        """
        s, draw = self.settings, _Draw(len(decibels), decibels.device, generator)
        if s.speed or s.pitch:
            decibels, counts = self._stretch(decibels, counts, draw)
        if s.noise or s.reverberation or s.telephone:
            decibels = self._degrade(decibels, counts, draw)
        if s.gain_db:
            decibels = decibels + draw.between(-s.gain_db, s.gain_db)
        return decibels, counts

    def mask(self, frames: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
        """Return standardised frames with spans of time and of frequency at 0, the mean of training."""
        # SpecAugment without its time warping (Park et al. 2019, section 2).
        if not self.settings.masks:
            return frames
        time, bins = frames.shape[1:]
        draw = _Draw(len(frames), torch.device("cpu"), generator)
        in_time, in_bins = (
            torch.zeros(len(frames), *size, dtype=torch.bool) for size in ((time, 1), (1, bins))
        )
        length = counts[:, None, None].float()
        widest = (_MASK_TIME_SHARE * length).clamp(max=_MASK_FRAMES)
        for _ in range(self.settings.masks):
            in_time |= draw.span(torch.arange(time)[:, None], length, widest)
            in_bins |= draw.span(torch.arange(bins), torch.tensor(float(bins)), _MASK_BIN_SHARE * bins)
        for hidden in (in_time, in_bins):
            frames = frames.masked_fill(to_device(hidden, frames.device), 0.0)
        return frames

    def _stretch(self, decibels: Tensor, counts: Tensor, draw: "_Draw") -> tuple[Tensor, Tensor]:
        """Change time by one factor and frequency in Hz by another, bilinear between frames and bins."""
        limits = (self.settings.speed, self.settings.pitch)
        speed, pitch = (1 + draw.on_cpu(-most, most)[:, 0, 0] for most in limits)
        stretched = (counts / speed).round().long().clamp(min=1)
        # The frame and the bin before the change that each one after it shows.
        place = torch.minimum(
            torch.arange(int(stretched.max())) * speed[:, None], (counts - 1)[:, None].float()
        )
        numbers = np.arange(len(self.frequencies))
        moved = [np.interp(self.frequencies / p, self.frequencies, numbers) for p in pitch.tolist()]
        bins = torch.from_numpy(np.stack(moved)).float()
        shape = (len(counts), place.shape[1], len(numbers))
        # grid_sample takes places from -1, the first, to 1, the last; x is the bin, y the frame.
        x = (2 * bins / max(len(numbers) - 1, 1) - 1)[:, None].expand(shape)
        y = (2 * place / max(decibels.shape[1] - 1, 1) - 1)[..., None].expand(shape)
        grid = to_device(torch.stack([x, y], dim=-1), decibels.device)
        return functional.grid_sample(decibels[:, None], grid, align_corners=True)[:, 0], stretched

    def _degrade(self, decibels: Tensor, counts: Tensor, draw: "_Draw") -> Tensor:
        """Put some of the utterances in a room, in noise, behind a telephone; compute nothing on the others."""
        s = self.settings
        room, noise, telephone = (draw.chosen(share) for share in (s.reverberation, s.noise, s.telephone))
        degraded = (room | noise | telephone).nonzero()[:, 0]
        if not len(degraded):
            return decibels
        places, device = to_device(degraded, decibels.device), decibels.device
        mask = to_device((torch.arange(decibels.shape[1]) < counts[degraded, None])[..., None], device)
        power = torch.where(mask, torch.pow(10.0, decibels[places] / 10), 0.0)
        for chosen, change in ((room, self._reverberate), (noise, self._add_noise)):
            rows = chosen[degraded].nonzero()[:, 0]
            if len(rows):
                changed = change(power, counts[degraded], rows, draw.of(len(rows)))
                power = power.index_copy(0, to_device(rows, device), changed)
        # A telephone attenuates outside its band; then the dynamic range is limited as the front end does.
        result = 10 * torch.log10(power.clamp(min=POWER_FLOOR))
        low, high = _TELEPHONE_HZ
        outside = torch.from_numpy((self.frequencies < low) | (self.frequencies > high))
        result = result + _TELEPHONE_DB * to_device(telephone[degraded, None, None] & outside, device)
        top = result.masked_fill(~mask, -torch.inf).amax(dim=(1, 2), keepdim=True)
        return decibels.index_copy(0, places, torch.maximum(result, top - DYNAMIC_RANGE_DB))

    def _add_noise(self, power: Tensor, counts: Tensor, rows: Tensor, draw: "_Draw") -> Tensor:
        """Return some rows with noise of a random slope, or with other rows, at a random SNR."""
        clean = power[to_device(rows, power.device)]
        mask = to_device(torch.arange(power.shape[1]) < counts[rows, None], power.device)[..., None]

        def mean(values: Tensor) -> Tensor:
            total = (values * mask).sum(dim=(1, 2), keepdim=True)
            return total / (mask.sum(dim=1, keepdim=True) * values.shape[2])

        # A slope in dB per octave from 1000 Hz, times exponential power: Gaussian noise of a colour.
        octaves = torch.from_numpy(np.log2(np.maximum(self.frequencies, 50.0) / 1000.0)).float()
        slope = draw.between(*_NOISE_DB_PER_OCTAVE) * to_device(octaves, power.device)
        noise = torch.pow(10.0, slope / 10) * draw.exponential(clean.shape)
        babble = draw.chosen(_BABBLE_SHARE).nonzero()[:, 0]
        # In a smaller batch an utterance would be its own babble.
        if len(babble) and len(power) > _BABBLERS:
            others = (rows[babble, None] + torch.arange(1, _BABBLERS + 1)) % len(power)
            voices = power[to_device(others, power.device)].sum(dim=1)
            noise = noise.index_copy(0, to_device(babble, power.device), voices)
        # Over each utterance's own frames, clean power / noise power = SNR.
        level = torch.pow(10.0, -draw.between(*_SNR_DB) / 10)
        return clean + level * mean(clean) / mean(noise).clamp(min=POWER_FLOOR) * noise

    def _reverberate(self, power: Tensor, _: Tensor, rows: Tensor, draw: "_Draw") -> Tensor:
        """Return some rows with their own past in exponential decay: Polack's statistical room, without phases."""
        # Imported here: it would take a quarter of a second of every training's start.
        from scipy.fft import next_fast_len

        clean = power[to_device(rows, power.device)]
        frames = round(_ROOM_SECONDS[1] / HOP_SECONDS)
        seconds, level = draw.between(*_ROOM_SECONDS), draw.between(*_ROOM_LEVEL)
        behind = torch.arange(1, frames + 1, device=power.device) * HOP_SECONDS
        # The first lag, the frame itself, stays clean: it is added at the end.
        room = functional.pad((level * torch.pow(10.0, -6.0 * behind / seconds))[:, 0], (1, 0))
        size = next_fast_len(power.shape[1] + frames, real=True)
        spectrum = torch.fft.rfft(room, size)[..., None] * torch.fft.rfft(clean, size, dim=1)
        smeared: Tensor = torch.fft.irfft(spectrum, size, dim=1)[:, : power.shape[1]].clamp(min=0.0)
        return clean + smeared


class _Draw:
    """Random numbers for a batch, one per utterance: (batch, 1, 1)."""

    def __init__(self, batch: int, device: torch.device, generator: torch.Generator) -> None:
        self.batch, self.device, self.generator = batch, device, generator

    def on_cpu(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.batch, 1, 1, generator=self.generator)

    def between(self, low: float, high: float) -> Tensor:
        return to_device(self.on_cpu(low, high), self.device)

    def chosen(self, share: float) -> Tensor:
        return self.on_cpu(0.0, 1.0)[:, 0, 0] < share

    def of(self, batch: int) -> "_Draw":
        return _Draw(batch, self.device, self.generator)

    def span(self, axis: Tensor, length: Tensor, widest: Tensor | float) -> Tensor:
        """Return the mask of a span of random width and place on an axis."""
        width = self.on_cpu(0.0, 1.0) * widest
        start = self.on_cpu(0.0, 1.0) * (length - width)
        return (axis >= start) & (axis < start + width)

    def exponential(self, shape: torch.Size) -> Tensor:
        # The power of Gaussian noise is distributed exponentially.
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        generator = torch.Generator(self.device).manual_seed(seed)
        # By the inverse of the distribution: four times as fast as torch's own on a CPU.
        uniform = torch.rand(shape, device=self.device, generator=generator)
        return uniform.neg_().log1p_().neg_()
