"""The front end: waveforms -> log-Mel or log-STFT frames in dB, and their standardisation.

As Dai et al. 2019 and the authors' poster define it. Its statistics are buffers, saved with the weights. Reads no
files.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emospec.audio.frames import HOP_SAMPLES, MIN_FRAMES, central_frames, frame_count
from emospec.audio.waveform import SAMPLE_RATE
from emospec.learning.device import to_device

Kind = Literal["log-mel", "log-stft"]

# A periodic Hamming window of 40 ms; Mel bands from 0 to 8000 Hz.
WINDOW_SAMPLES, DFT_LENGTH, MEL_BANDS = 640, 1024, 128
STFT_BINS = DFT_LENGTH // 2 + 1
# The least power that is taken to dB; what is added to the log-STFT's power; the range below an utterance's maximum.
POWER_FLOOR, STFT_OFFSET, DYNAMIC_RANGE_DB = 1e-10, 1e-8, 80.0
# 14 s.
MAX_FRAMES = 1400

# Frames whose spectra stay near a core's cache, with few calls; bands of a product with the filters.
_FRAMES_AT_ONCE, _BANDS_AT_ONCE = 1024, 16


class FrontendConfig(TypedDict):
    """The arguments of a `LogSpectrogram`, as `config.json` of a model holds them."""

    kind: Kind
    max_frames: int
    own_mean: bool


def mel_from_hz(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return Slaney's mel scale (Auditory Toolbox, 1998): linear to 1000 Hz, logarithmic above.

    m = 3 f / 200 for f < 1000 Hz; m = 15 + 27 ln(f / 1000) / ln 6.4 from there.

    >>> mel_from_hz(np.array([0.0, 1000.0, 6400.0])).round(6).tolist()
    [0.0, 15.0, 42.0]
    """
    hz = np.asarray(hz, np.float64)
    return np.where(hz < 1000, 3 * hz / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def hz_from_mel(mel: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the inverse of `mel_from_hz`."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def mel_filters(bands: int = MEL_BANDS) -> NDArray[np.float32]:
    """Return triangular filters (STFT bins, bands) on Slaney's scale from 0 Hz to the Nyquist frequency.

    With edges f_0 < ... < f_{bands+1} equally spaced in mel, band b rises from f_b to f_{b+1}, falls to f_{b+2},
    and is scaled by 2 / (f_{b+2} - f_b) so that every band has area 1 (per Hz).
    """
    edges = hz_from_mel(np.linspace(0.0, float(mel_from_hz(SAMPLE_RATE / 2)), bands + 2))
    bins = np.arange(STFT_BINS) * SAMPLE_RATE / DFT_LENGTH
    rise = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rise, fall))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


@cache
def _mel_blocks() -> tuple[tuple[slice, slice], ...]:
    """Return groups of bands, each with the rows of `filters` that it reads: an eighth of the whole product."""
    filters = mel_filters().repeat(2, axis=0)
    columns = [slice(first, first + _BANDS_AT_ONCE) for first in range(0, MEL_BANDS, _BANDS_AT_ONCE)]
    rows = [np.flatnonzero(filters[:, bands].any(axis=1)) for bands in columns]
    return tuple(zip(columns, (slice(int(r[0]), int(r[-1]) + 1) for r in rows), strict=True))


def _to_decibels(power: Tensor) -> float:
    """Take powers to dB, 10 log10, in place; return the loudest."""
    scale = 10 * math.log10(2)
    if power.device.type != "cpu":
        return float(power.log2_().mul_(scale).amax())
    # On a CPU, numpy is faster than torch.
    values = power.numpy()
    np.log2(values, out=values)
    values *= scale
    return float(values.max())


class LogSpectrogram(nn.Module):
    """The front end as a module: padded waveforms -> standardised frames.

    An utterance gives the same frames alone and in any padded batch: centred frames see zeros beyond both ends, and
    what lies past its samples or frames counts nowhere.

    Args:
        kind: `log-mel` (128 bands) or `log-stft` (513 bins).
        max_frames: longer utterances keep their central frames; 0 keeps all.
        own_mean: take each utterance's own mean per bin from its frames, before statistics and standardisation.
    """

    # (bins,) statistics over training frames; 0 and 1 until fitted.
    mean: Tensor
    deviation: Tensor

    def __init__(self, kind: Kind, max_frames: int = MAX_FRAMES, own_mean: bool = False) -> None:
        super().__init__()
        self.kind, self.max_frames, self.own_mean = kind, max_frames, own_mean
        self.bins = MEL_BANDS if kind == "log-mel" else STFT_BINS
        self.register_buffer("mean", torch.zeros(self.bins))
        self.register_buffer("deviation", torch.ones(self.bins))
        window = torch.hamming_window(WINDOW_SAMPLES, periodic=True, dtype=torch.float64).float()
        margin = (DFT_LENGTH - WINDOW_SAMPLES) // 2
        self.register_buffer("window", functional.pad(window, (margin, margin)), persistent=False)
        self.register_buffer("half_offset", torch.tensor(STFT_OFFSET / 2), persistent=False)
        # One row for each bin's real part and one for its imaginary part.
        filters = mel_filters().repeat(2, axis=0)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardised frames (batch, time, bins), and their counts (batch,) from 49 to `max_frames`.

        Of padded waveforms (batch, samples) at 16 kHz, and the samples of each, `lengths` (batch,), at least 1.
        """
        return self.standardise(*self.decibels(waveforms, lengths))

    def decibels(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames in dB (batch, time, bins), zero past an utterance's own, and their counts (batch,).

        With P the power (plus 1e-8 for the log-STFT, or its Mel bands): D = 10 log10(max(P, 1e-10));
        frames = max(D, max over the utterance's T frames of D - 80); then the central `max_frames`.
        """
        counts = frame_count(lengths)
        decibels = waveforms.new_empty(len(waveforms), frame_count(waveforms.shape[1]), self.bins)
        for samples, rows, length in zip(waveforms, decibels, lengths.tolist(), strict=True):
            count = frame_count(length)
            # Part by part: one pass over a long utterance would leave the cache at every operation.
            loudest = max(
                self._part(samples[:length], first, rows[first : min(first + _FRAMES_AT_ONCE, count)])
                for first in range(0, count, _FRAMES_AT_ONCE)
            )
            rows[:count].clamp_(min=loudest - DYNAMIC_RANGE_DB)
            rows[count:] = 0.0
        return self._crop(decibels, counts)

    def _part(self, samples: Tensor, first: int, out: Tensor) -> float:
        """Write frames of an utterance in dB, from number `first` on, to `out`; return the loudest value."""
        start = first * HOP_SAMPLES - DFT_LENGTH // 2
        stop = start + (len(out) - 1) * HOP_SAMPLES + DFT_LENGTH
        part = samples[max(start, 0) : stop]
        if start < 0 or stop > len(samples):
            part = functional.pad(part, (max(-start, 0), max(stop - len(samples), 0)))
        windowed = part.unfold(0, DFT_LENGTH, HOP_SAMPLES) * self.get_buffer("window")
        spectrum = torch.view_as_real(torch.fft.rfft(windowed))
        if self.kind == "log-stft":
            # Half of the offset on each square, in the same pass.
            squares = torch.addcmul(self.get_buffer("half_offset"), spectrum, spectrum, out=spectrum)
            torch.add(squares[..., 0], squares[..., 1], out=out)
        else:
            squares = spectrum.square_().flatten(1)
            # Real and imaginary parts are added up in the product with the filters.
            for bands, parts in _mel_blocks():
                torch.mm(squares[:, parts], self.get_buffer("filters")[parts, bands], out=out[:, bands])
            out.clamp_(min=POWER_FLOOR)
        return _to_decibels(out)

    def _crop(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        if not self.max_frames or frames.shape[1] <= self.max_frames:
            return frames, counts
        starts = central_frames(counts, self.max_frames).start.tolist()
        central = [rows[start : start + self.max_frames] for rows, start in zip(frames, starts, strict=True)]
        return torch.stack(central), counts.clamp(max=self.max_frames)

    def standardise(self, decibels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return z-scores per bin, zero past each utterance's own frames and at least 49 frames, and the counts."""
        short = MIN_FRAMES - decibels.shape[1]
        if short > 0:
            decibels = functional.pad(decibels, (0, 0, 0, short))
        # Made on the CPU: an accelerator would have to be waited for.
        mask = torch.arange(decibels.shape[1]) < counts.cpu()[:, None]
        mask = to_device(mask[..., None], decibels.device)
        if self.own_mean:
            total = torch.where(mask, decibels, 0.0).sum(dim=1, keepdim=True)
            decibels = decibels - total / mask.sum(dim=1, keepdim=True)
        standard = (decibels - self.mean).div_(self.deviation)
        return standard.masked_fill_(~mask, 0.0), counts.clamp(min=MIN_FRAMES)

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """The centre of each bin (bins,), in Hz."""
        if self.kind == "log-stft":
            return np.arange(STFT_BINS) * SAMPLE_RATE / DFT_LENGTH
        return hz_from_mel(np.linspace(0.0, float(mel_from_hz(SAMPLE_RATE / 2)), MEL_BANDS + 2))[1:-1]

    def config(self) -> FrontendConfig:
        """Return the arguments that make a front end like this one."""
        return {"kind": self.kind, "max_frames": self.max_frames, "own_mean": self.own_mean}

    def fit(self, utterances: Iterable[NDArray[np.float32]]) -> None:
        """Set mean and (population) deviation per bin from frames in dB (frames, bins) of training utterances."""
        # In float64: sums over a corpus.
        count, total, squares = 0, np.zeros(self.bins), np.zeros(self.bins)
        for frames in utterances:
            exact = np.asarray(frames, np.float64)
            if self.own_mean:
                exact = exact - exact.mean(axis=0)
            count += len(exact)
            total += exact.sum(axis=0)
            squares += np.square(exact).sum(axis=0)
        mean = total / count
        variance = np.maximum(squares / count - mean**2, 0.0)
        # A bin that never changes (digital silence throughout) stays at zero instead of dividing by zero.
        self.deviation.copy_(torch.from_numpy(np.where(variance > 1e-8, np.sqrt(variance), 1.0)))
        self.mean.copy_(torch.from_numpy(mean))
