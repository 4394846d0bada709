"""The part of a long recording that has its sound, where its middle is silent. Knows no model."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.inference.quality import SILENT_DB, centred, decibels, peak_of
from emospec.inference.windows import Window

# 0.1 s each; so many are kept around sound.
_STEP_SAMPLES, _MARGIN_STEPS = 1600, 2
# Speech rarely has so low a peak, re full scale; room noise is so far below speech.
_FAINT_DB, _BELOW_LOUDEST_DB = -40.0, 40.0


def may_be_quiet(waveform: Waveform, span: Window) -> bool:
    """Whether a span of (samples,) at 16 kHz is so quiet that the whole recording is worth a look."""
    part = waveform[span.start : span.end]
    return decibels(peak_of(part)) < _FAINT_DB or is_quiet(part, waveform)


def is_quiet(waveform: Waveform, other: Waveform) -> bool:
    """Whether a waveform is silent, or its loudest second 40 dB below that of another."""
    if decibels(peak_of(waveform)) < SILENT_DB:
        return True
    return _loudest_second(waveform) < _loudest_second(other) * 10 ** (-_BELOW_LOUDEST_DB / 10)


def loudest_part(blocks: Iterable[Waveform], longest: int) -> Window | None:
    """Return the part of a recording with most sound, without the silence at its ends, in bounded memory.

    A step of 0.1 s has sound where its power is at most 40 dB below that of the loudest. Of all parts of
    `longest` samples, the one with most such steps is best; of several the one with most energy, then the first.

    Args:
        blocks: the recording, (samples,) each, 16 kHz.
        longest: of the part, in samples; a second or more.

    Returns:
        None where all of the recording is silent.
    """
    powers, peak, samples = _steps(blocks)
    if decibels(peak) < SILENT_DB:
        return None
    loud = powers >= powers.max() * 10 ** (-_BELOW_LOUDEST_DB / 10)
    size = max(1, min(longest // _STEP_SAMPLES, len(powers)))
    counts, energies = _moving_sums(loud.astype(np.int64), size), _moving_sums(powers, size)
    first = int(np.argmax(np.where(counts == counts.max(), energies, -1.0)))
    sounding = first + np.flatnonzero(loud[first : first + size])
    start = max(0, int(sounding[0]) - _MARGIN_STEPS)
    end = min(len(powers), int(sounding[-1]) + 1 + _MARGIN_STEPS)
    if end - start > size:
        start, end = first, first + size
    return Window(start * _STEP_SAMPLES, min(samples, end * _STEP_SAMPLES))


def _steps(blocks: Iterable[Waveform]) -> tuple[NDArray[np.float64], float, int]:
    """Return the mean power of each step, the last one padded; the largest sample; the number of samples."""
    powers, peak, samples, rest = [np.zeros(0)], 0.0, 0, np.zeros(0, np.float32)
    for block in blocks:
        samples, peak = samples + len(block), max(peak, peak_of(block))
        held = np.concatenate([rest, block])
        whole = len(held) // _STEP_SAMPLES * _STEP_SAMPLES
        powers.append(_powers(held[:whole]))
        rest = held[whole:]
    if len(rest):
        powers.append(_powers(np.pad(rest, (0, _STEP_SAMPLES - len(rest)), mode="edge")))
    return np.concatenate(powers), peak, samples


def _powers(waveform: Waveform) -> NDArray[np.float64]:
    """Return the mean power of each step, about its mean."""
    return np.asarray(waveform.reshape(-1, _STEP_SAMPLES).var(axis=1, dtype=np.float64))


def _moving_sums(values: NDArray[np.generic], size: int) -> NDArray[np.float64]:
    """Return the sums of `size` neighbours, from each place."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return np.asarray(total[size:] - total[:-size])


def _loudest_second(waveform: Waveform) -> float:
    """Return the highest mean power of a second."""
    seconds = np.pad(centred(waveform), (0, -len(waveform) % SAMPLE_RATE)).reshape(-1, SAMPLE_RATE)
    return float(np.square(seconds, dtype=np.float64).mean(axis=1).max(initial=0.0))
