"""What a waveform is: mono, float32, 16 kHz; and samples of another rate, or of several channels, made one.

Knows no files. Resampling is soxr's.
"""

import math
from numbers import Real
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from emospec.errors import AudioError

SAMPLE_RATE = 16_000  # Hz, everywhere in emospec (Dai et al. 2019)
MIN_RATE, MAX_RATE = 1_000, 384_000  # Hz
MAX_CHANNELS = 64

Waveform = NDArray[np.float32]

# A float recording of unscaled 32-bit integers reaches it. Far above, the power of a spectrum overflows.
LARGEST_SAMPLE = 2.0**31


class Resampler:
    """Mono at 16 kHz from samples that arrive in pieces of any size.

    The mean over channels, then soxr's HQ; what is at 16 kHz passes through untouched. The waveforms of
    all calls, joined, equal `soxr.resample` of the whole in length, and in value within 1e-6 of its
    largest sample (bit for bit with soxr 1.1). What came out lags what was pushed by up to 1,852
    samples at 16 kHz (116 ms) from 8 kHz up, by 15,600 (1 s) from 1 kHz: soxr works in blocks.

    Args:
        sample_rate: of what is pushed, 1 to 384 kHz.
        name: what an error calls the recording.
        start: where its first sample lies in the recording, in seconds; an error counts from there.

    Raises:
        AudioError: the rate is out of range.

    Example:
        >>> resampler = Resampler(8000)
        >>> parts = [resampler.push(np.zeros((4000, 2), np.float32)), resampler.finish()]
        >>> np.concatenate(parts).shape
        (8000,)
    """

    def __init__(self, sample_rate: int, name: str = "the recording", start: float = 0.0) -> None:
        check_rate(sample_rate, name)
        sample_rate = int(sample_rate)
        self._rate, self._name, self._start = sample_rate, name, start
        self._pushed = 0
        self._stream: Any = None
        if sample_rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def push(self, samples: NDArray[np.floating]) -> Waveform:
        """Take the next samples, and give what is ready.

        Args:
            samples: (samples,) or (samples, channels), nominally in [-1, 1].

        Returns:
            (ready,): at 16 kHz mono it may be the very array that was pushed.

        Raises:
            AudioError: samples are NaN, infinite, beyond 2^31 or no floats, or channels are not 1 to 64.
                The samples are not taken then.
        """
        if samples.ndim not in (1, 2) or not np.issubdtype(samples.dtype, np.floating):
            raise AudioError(
                f"{self._name}: its samples are {samples.dtype} of shape {samples.shape}, allowed are floats "
                "in [-1, 1] of shape (samples,) or (samples, channels)"
            )
        if samples.ndim == 2:
            check_channels(samples.shape[1], self._name)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            pushed = samples.astype(np.float32, copy=False)
        _check_sound(pushed, self._rate, self._name, self._start + self._pushed / self._rate)
        self._pushed += len(pushed)
        if pushed.ndim == 2:
            pushed = pushed.mean(axis=1) if pushed.shape[1] > 1 else pushed[:, 0]
        if self._stream is not None and pushed.size:
            pushed = self._stream.resample_chunk(pushed)
        return np.ascontiguousarray(pushed)

    def finish(self) -> Waveform:
        """Give the tail (samples,), and be ready for another recording of the same rate."""
        self._pushed, tail = 0, np.zeros(0, np.float32)
        if self._stream is not None:
            tail = self._stream.resample_chunk(tail, last=True)
            self._stream.clear()
        return tail


def check_rate(rate: int, name: str) -> None:
    """Refuse a sample rate that is no whole number or out of range; `name` is what the error calls the recording."""
    if not isinstance(rate, Real) or (math.isfinite(rate) and rate != int(rate)):
        raise AudioError(f"{name}: its sample rate is {rate!r}, allowed are whole numbers of Hz")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"{name}: its sample rate is {rate} Hz, allowed are {MIN_RATE} to {MAX_RATE} Hz")


def check_channels(channels: int, name: str) -> None:
    """Refuse a number of channels out of range, or none."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{name}: has {channels} channels, allowed are 1 to {MAX_CHANNELS}")


def _check_sound(samples: NDArray[np.floating], rate: int, name: str, start: float) -> None:
    """Refuse samples that are no sound; the first of them lies at `start` seconds."""
    good = np.abs(samples) <= LARGEST_SAMPLE  # NaN compares false
    if not good.all():
        bad = np.argwhere(~good)
        raise AudioError(
            f"{name}: holds {len(bad)} samples that are NaN, infinite or beyond 2^31 in the "
            f"{len(samples) / rate:.3g} s from {start:.3f} s, the first at {start + bad[0, 0] / rate:.3f} s. "
            "Write it again without them"
        )
