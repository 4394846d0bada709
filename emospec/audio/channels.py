"""The channels of a recording: the choice of one, and warnings about their mean.

Two microphones in one room record the same sound, somewhat shifted and scaled: their mean is good. It mixes two people on
a channel each (a call), and channels of opposite polarity cancel.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from emospec.errors import AudioError

_BLOCK_SECONDS = 0.05
# Level of the loudest block, re full scale, below which there is no sound to choose a channel for.
_QUIET_DB = -50.0
# Levels further below a channel's loudest block count as silence.
_FLOOR_DB = 35.0
# The second channel may lie so far below the first; a softer one is lost in the mean.
_BOTH_DB = 20.0
# Power of the sum over the sum of powers: 2 of two equal channels, 1 of independent ones, 0 of opposite ones. At 0.2
# the mean has a tenth of the power of equal channels, and consists of what they do not share.
_CANCELLED_SHARE = 0.2
# Correlation of waveforms, and of levels over time, from which on two channels are of one source.
_ALIKE = 0.6
# Standard deviation of the levels over time below which they say nothing of their source.
_STEADY_DB = 2.0


def check_channel(channel: int | None, channels: int, name: str) -> None:
    """Raise AudioError if a recording does not have a channel (from 1); None is the mean of all."""
    if channel is None:
        return
    if not isinstance(channel, (int, np.integer)) or isinstance(channel, bool):
        raise AudioError(f"{name}: channel is {channel!r}, allowed is a whole number from 1, or None")
    if not 1 <= channel <= channels:
        have = "1 channel" if channels == 1 else f"{channels} channels"
        raise AudioError(f"{name}: has {have}, so there is no channel {channel}. Choose 1 to {channels}")


class ChannelMeter:
    """A measurement of a recording's channels, block by block while it is read."""

    def __init__(self) -> None:
        self._products: list[NDArray[np.floating]] = []
        self._rest: NDArray[np.float32] | None = None
        self._size = 1

    @property
    def has_channels(self) -> bool:
        """Whether anything was measured: a recording of one channel is not."""
        return bool(self._products) or self._rest is not None

    def push(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        """Take the next (samples, channels)."""
        self._size = max(1, round(_BLOCK_SECONDS * sample_rate))
        if self._rest is not None:
            samples = np.concatenate([self._rest, samples])
        whole = len(samples) // self._size * self._size
        blocks = samples[:whole].reshape(-1, self._size, samples.shape[1])
        self._products.append(blocks.transpose(0, 2, 1) @ blocks / self._size)
        self._rest = samples[whole:]

    def warnings(self, start: float, end: float) -> Iterator[str]:
        """Yield warnings about the mean over channels in a span, in seconds of the samples pushed."""
        if not self._products:
            return
        # (blocks, channels, channels): mean products of each block; powers are on the diagonal.
        first, last = int(start / _BLOCK_SECONDS), int(np.ceil(min(end, 1e9) / _BLOCK_SECONDS))
        products = np.concatenate(self._products)[first:last]
        channels = products.shape[1]
        if not len(products) or channels < 2:
            return
        powers = products.diagonal(axis1=1, axis2=2).astype(np.float64)
        if 10 * np.log10(powers.max() + 1e-12) < _QUIET_DB:
            return
        choose = f"choose one by --channel (1 to {channels})"
        if products.sum(dtype=np.float64) <= _CANCELLED_SHARE * powers.sum():
            yield f"its channels cancel each other when they are averaged: {choose}"
        elif _are_of_two_sources(products.astype(np.float64), powers):
            yield f"its channels differ, as of two speakers on a channel each, and are mixed in the mean: {choose}"


def _are_of_two_sources(products: NDArray[np.float64], powers: NDArray[np.float64]) -> bool:
    """Whether the two loudest channels share neither waveform nor the course of their levels."""
    second, first = np.argsort(powers.sum(axis=0))[-2:]
    total = powers.sum(axis=0)
    if 10 * np.log10((total[second] + 1e-12) / total[first]) < -_BOTH_DB:
        return False
    correlation = products[:, first, second].sum() / np.sqrt(total[first] * total[second])
    return abs(correlation) < _ALIKE and _level_correlation(powers[:, [first, second]]) < _ALIKE


def _level_correlation(powers: NDArray[np.float64]) -> float:
    """Correlation of two channels' levels in dB over time, 0 where one of them is steady."""
    levels = 10 * np.log10(powers + 1e-12)
    levels = np.maximum(levels, levels.max(axis=0) - _FLOOR_DB)
    if levels.std(axis=0).min() < _STEADY_DB:
        return 0.0
    return float(np.corrcoef(levels.T)[0, 1])
