"""Samples in memory, arrays or tensors -> floats in [-1, 1], (samples,) or (samples, channels).

Imports no tensor library: a tensor is recognised by its methods.
"""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.audio.channels import ChannelMeter, check_channel
from emospec.audio.waveform import MAX_CHANNELS, Resampler, Waveform
from emospec.errors import AudioError

# Widths of integers that are samples. NumPy's default of 64 bits comes of arithmetic.
_FULL_SCALE_BITS = (8, 16, 32)
_LARGEST_OF_16_BITS = 2.0**-16  # of the full scale of 32 bits
_MAX_ROWS = 2  # that are channels; more are as likely a batch
_ALLOWED = "floats in [-1, 1] or integers of 8, 16 or 32 bits, of shape (samples,) or (samples, channels)"


def from_samples(
    samples: Any, sample_rate: int, channel: int | None = None, meter: ChannelMeter | None = None
) -> Waveform:
    """Return samples in memory as mono float32 at 16 kHz, as `read_audio` does those of a file.

    Args:
        samples: as of `as_samples`.
        sample_rate: Hz, 1 to 384 kHz.
        channel: the one to take, from 1; None takes the mean over all.
        meter: measures the channels.

    Raises:
        AudioError: there are none, or `as_samples` or `Resampler.push` does not take them.

    Example:
        >>> from_samples(np.zeros((8000, 2), np.int16), 8000).shape
        (16000,)
    """
    resampler = Resampler(sample_rate)
    floats = as_samples(samples, whole=True)
    if channel is not None:
        check_channel(channel, floats.shape[1] if floats.ndim == 2 else 1, "the recording")
        floats = floats[:, channel - 1] if floats.ndim == 2 else floats
    waveform = np.concatenate([resampler.push(floats), resampler.finish()])
    if meter is not None and floats.ndim == 2 and floats.shape[1] > 1:
        meter.push(floats.astype(np.float32, copy=False), sample_rate)
    if not waveform.size:
        raise AudioError("the recording holds no samples (zero length)")
    return waveform


def is_array_like(value: Any) -> bool:
    """Whether a value is an array, a tensor or a buffer of anything but bytes."""
    if isinstance(value, memoryview):
        return value.itemsize > 1
    return hasattr(value, "__array__") or isinstance(value, array)


def as_samples(value: Any, name: str = "the recording", whole: bool = False) -> NDArray[np.floating[Any]]:
    """Return the samples of an array or tensor as floats.

    Integers are divided by their full scale, as soundfile does: 32768 for 16 bits; unsigned ones are centred
    first. One or two rows of more than 64 columns are channels, as torchaudio has them.

    Args:
        value: a numpy array, a tensor, or an object with `__array__`.
        name: what an error calls the recording.
        whole: whether it is all of a recording: then 32-bit integers that fit into 16 bits are an error.

    Returns:
        (samples,) or (samples, channels), nominally in [-1, 1]; of floats it may be the array itself.

    Raises:
        AudioError: its type or shape is none of these, or it is masked.

    Example:
        >>> as_samples(np.array([-32768, 16384], np.int16)).tolist()
        [-1.0, 0.5]
        >>> as_samples(np.zeros((2, 16_000))).shape
        (16000, 2)
    """
    samples = _array_of(value, name)
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind not in "fiu" or (kind in "iu" and bits not in _FULL_SCALE_BITS):
        raise AudioError(f"{name}: its samples are {samples.dtype}, allowed are {_ALLOWED}. {_advice(kind)}")
    if samples.ndim not in (1, 2):
        raise AudioError(f"{name}: its samples are of shape {samples.shape}, allowed are {_ALLOWED}")
    samples = _scaled(samples)
    if whole and (kind, bits) == ("i", 32) and 0 < np.abs(samples).max(initial=0) <= _LARGEST_OF_16_BITS:
        raise AudioError(
            f"{name}: its samples are int32, and all fit into 16 bits: silence at full scale, or 16-bit values. "
            "Convert them to int16, or divide by their full scale"
        )
    if samples.ndim == 2 and samples.shape[0] <= _MAX_ROWS and samples.shape[1] > MAX_CHANNELS:
        return samples.T
    if samples.ndim == 2 and samples.shape[0] <= MAX_CHANNELS < samples.shape[1]:
        raise AudioError(
            f"{name}: its samples are of shape {samples.shape}: has {samples.shape[1]} channels, allowed are 1 to "
            f"{MAX_CHANNELS}. Recordings of a batch are given as a list; channels stand in columns"
        )
    return samples


def _array_of(value: Any, name: str) -> NDArray[Any]:
    if np.ma.is_masked(value):
        raise AudioError(f"{name}: some of its samples are masked. Fill them first")
    try:
        # NumPy takes a tensor of torch from the CPU, without gradients.
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            if str(value.dtype) == "torch.bfloat16":
                value = value.float()
        return np.asarray(value)
    # Each library raises its own errors.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise AudioError(
            f"{name}: a {type(value).__name__} that NumPy cannot take ({reason}). Make a NumPy array of it"
        ) from error


def _scaled(samples: NDArray[Any]) -> NDArray[np.floating[Any]]:
    if samples.dtype.kind == "f":
        return samples
    half = np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    centred = samples if samples.dtype.kind == "i" else samples.astype(np.float64) - half
    return np.asarray(centred / half)


def _advice(kind: str) -> str:
    """Return advice for samples of a NumPy kind that is not taken."""
    if kind in "iu":
        return "Convert 16-bit values to int16, or divide by the full scale"
    if kind in "OUS":
        return "Several recordings are given as a list"
    return "Convert them to float32"
