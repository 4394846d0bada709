"""Quality of a recording: warnings of level, clipping, bandwidth and length, and the part with most sound.

Knows no model.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from emospec.audio.frames import HOP_SAMPLES, MIN_FRAMES
from emospec.audio.waveform import SAMPLE_RATE, Waveform
from emospec.inference.windows import Window

# A peak below this, re full scale, is silence.
_SILENT_DB = -60.0
_LEAST_AMPLITUDE = 1e-10
_CLIPPED_LEVEL, _CLIPPED_SHARE, _UNSCALED_PEAK = 0.99, 0.001, 2.0
# Speech has far more than -50 dB of its energy above 4 kHz, but not behind a telephone's filter.
_BAND_HZ, _BAND_DB = 4000.0, -50.0
# The network's shortest input, 0.48 s.
_SHORT_SECONDS = (MIN_FRAMES - 1) * HOP_SAMPLES / SAMPLE_RATE
_FAR_LONGER = 2.0
# 0.1 s each; so many are kept around sound.
_STEP_SAMPLES, _MARGIN_STEPS = 1600, 2
# Speech rarely has so low a peak, re full scale; room noise is so far below speech.
_FAINT_DB, _BELOW_LOUDEST_DB = -40.0, 40.0


def quality_warnings(
    waveform: Waveform, seconds: float, span: tuple[float, float], usual_seconds: float, moved: bool = False
) -> Iterator[str]:
    """Yield what may make a model's answer worse than its scores promise.

    Args:
        waveform: (samples,) that the model uses, 16 kHz.
        seconds: of the whole recording.
        span: start and end of the waveform in it, in seconds.
        usual_seconds: 99 % of the training utterances are no longer.
        moved: the span is not the recording's middle, which is silent.
    """
    peak = _peak(waveform)
    if _decibels(peak) < _SILENT_DB:
        yield f"nearly silent: its peak is {_decibels(peak):.0f} dB re full scale"
    else:
        # Resampling rings past full scale; far beyond it the samples are unscaled integers.
        largest = float(np.abs(waveform).max())
        full_scale = largest if largest > _UNSCALED_PEAK else 1.0
        clipped = float(np.mean(np.abs(waveform) >= _CLIPPED_LEVEL * full_scale))
        if clipped >= _CLIPPED_SHARE:
            yield f"clipped: {100 * clipped:.1f} % of its samples are at full scale"
        # A power of two: a length with large prime factors takes far longer.
        size = 1 << (len(waveform) - 1).bit_length()
        power = np.square(np.abs(np.fft.rfft(waveform, size)))
        high = float(power[int(np.ceil(_BAND_HZ * size / SAMPLE_RATE)) :].sum())
        if 10 * np.log10(max(high / max(float(power.sum()), 1e-30), 1e-10)) < _BAND_DB:
            yield "nothing above 4 kHz, as from a telephone: the model learned from the full band"
    if seconds < _SHORT_SECONDS:
        yield f"too short: {seconds:.2f} s; below {_SHORT_SECONDS} s it is padded with silence"
    start, end = span
    # Frames of 10 ms leave out up to 0.02 s of a recording that is used whole.
    if end - start < seconds - 0.02:
        part = "long: judged by its central part"
        if moved:
            part = "long and silent in the middle: judged by its part with most sound"
        yield f"{seconds:.1f} s {part}, {start:.1f} to {end:.1f} s; `emospec timeline` judges all of it"
    elif seconds > _FAR_LONGER * usual_seconds:
        yield f"far longer than training: {seconds:.1f} s, where 99 % there are within {usual_seconds:.1f} s"


def _peak(waveform: Waveform) -> float:
    return float(np.abs(_centred(waveform)).max(initial=0.0))


def _centred(waveform: Waveform) -> Waveform:
    # The constant that sound cards add is no sound.
    return waveform - np.float32(waveform.mean(dtype=np.float64)) if waveform.size else waveform


def _decibels(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, _LEAST_AMPLITUDE)))


def may_be_quiet(waveform: Waveform, span: Window) -> bool:
    """Whether a span of (samples,) at 16 kHz is so quiet that the whole recording is worth a look."""
    part = waveform[span.start : span.end]
    return _decibels(_peak(part)) < _FAINT_DB or is_quiet(part, waveform)


def is_quiet(waveform: Waveform, other: Waveform) -> bool:
    """Whether a waveform is silent, or its loudest second 40 dB below that of another."""
    if _decibels(_peak(waveform)) < _SILENT_DB:
        return True
    return _loudest_second(waveform) < _loudest_second(other) * 10 ** (-_BELOW_LOUDEST_DB / 10)


def loudest_part(blocks: Iterable[Waveform], longest: int) -> Window | None:
    """Return the part of a recording with most sound, without the silence at its ends; None where all is silent.

    Args:
        blocks: the recording, (samples,) each, 16 kHz.
        longest: of the part, in samples; a second or more.
    """
    powers, peak, samples = _steps(blocks)
    if _decibels(peak) < _SILENT_DB:
        return None
    # A step of 0.1 s has sound where its power is at most 40 dB below that of the loudest. Of all parts of `size`
    # steps, the one with most such steps is best; of several the one with most energy, then the first.
    loud = powers >= powers.max() * 10 ** (-_BELOW_LOUDEST_DB / 10)
    size = max(1, min(longest // _STEP_SAMPLES, len(powers)))
    counts, energies = _moving_sums(loud.astype(np.int64), size), _moving_sums(powers, size)
    first = int(np.argmax(np.where(counts == counts.max(), energies, -1.0)))
    # Trim the silence at both ends, but for a margin.
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
        samples, peak = samples + len(block), max(peak, _peak(block))
        held = np.concatenate([rest, block])
        whole = len(held) // _STEP_SAMPLES * _STEP_SAMPLES
        powers.append(_powers(held[:whole]))
        rest = held[whole:]
    if len(rest):
        powers.append(_powers(np.pad(rest, (0, _STEP_SAMPLES - len(rest)), mode="edge")))
    return np.concatenate(powers), peak, samples


def _powers(waveform: Waveform) -> NDArray[np.float64]:
    return np.asarray(waveform.reshape(-1, _STEP_SAMPLES).var(axis=1, dtype=np.float64))


def _moving_sums(values: NDArray[np.generic], size: int) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return np.asarray(total[size:] - total[:-size])


def _loudest_second(waveform: Waveform) -> float:
    seconds = np.pad(_centred(waveform), (0, -len(waveform) % SAMPLE_RATE)).reshape(-1, SAMPLE_RATE)
    return float(np.square(seconds, dtype=np.float64).mean(axis=1).max(initial=0.0))
