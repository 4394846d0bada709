"""The waveform: mono, float32, 16 kHz; resampling and the mean over channels make it. Knows no files."""

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
    """A converter to mono at 16 kHz, of samples that arrive in blocks of any size.

    The mean over channels, then soxr's HQ; samples at 16 kHz pass through untouched. The waveforms of
    all calls, joined, equal `soxr.resample` of the whole in length, and in value within 1e-6 of its
    largest sample (bit for bit with soxr 1.1). The output lags the input by up to 1,852 samples at 16 kHz
    (116 ms) from 8 kHz up, by 15,600 (1 s) from 1 kHz: soxr works in blocks.

    Args:
        sample_rate: of the input in Hz, 1,000 to 384,000.
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
        """Take the next samples, and return those that are ready.

        Args:
            samples: (samples,) or (samples, channels), nominally in [-1, 1].

        Returns:
            (ready,): at 16 kHz mono it may be the array that was pushed.

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
        # A value beyond float32 becomes infinite, which the check below finds.
        with np.errstate(over="ignore"):
            pushed = samples.astype(np.float32, copy=False)
        _check_sound(pushed, self._rate, self._name, self._start + self._pushed / self._rate)
        self._pushed += len(pushed)
        if pushed.ndim == 2:
            pushed = pushed.mean(axis=1) if pushed.shape[1] > 1 else pushed[:, 0]
        if self._stream is not None and pushed.size:
            pushed = self._stream.resample_chunk(pushed)
        return np.ascontiguousarray(pushed)

    def finish(self) -> Waveform:
        """Return the tail (samples,), and be ready for another recording of the same rate."""
        self._pushed, tail = 0, np.zeros(0, np.float32)
        if self._stream is not None:
            tail = self._stream.resample_chunk(tail, last=True)
            self._stream.clear()
        return tail


def check_rate(rate: int, name: str) -> None:
    """Raise AudioError if a sample rate is no whole number or out of range; `name` is the recording's in the error."""
    if not isinstance(rate, Real) or (math.isfinite(rate) and rate != int(rate)):
        raise AudioError(f"{name}: its sample rate is {rate!r}, allowed are whole numbers of Hz")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(f"{name}: its sample rate is {rate} Hz, allowed are {MIN_RATE} to {MAX_RATE} Hz")


def check_channels(channels: int, name: str) -> None:
    """Raise AudioError if a number of channels is out of range."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{name}: has {channels} channels, allowed are 1 to {MAX_CHANNELS}")


def _check_sound(samples: NDArray[np.floating], rate: int, name: str, start: float) -> None:
    """Raise AudioError if samples are NaN, infinite or too large; the first of them lies at `start` seconds."""
    # NaN compares false.
    good = np.abs(samples) <= LARGEST_SAMPLE
    if not good.all():
        bad = np.argwhere(~good)
        raise AudioError(
            f"{name}: holds {len(bad)} samples that are NaN, infinite or beyond 2^31 in the "
            f"{len(samples) / rate:.3g} s from {start:.3f} s, the first at {start + bad[0, 0] / rate:.3f} s. "
            "Write it again without them"
        )
