"""Quality warnings of a recording in words: level, clipping, bandwidth, length. Knows no model."""

from collections.abc import Iterator

import numpy as np

from emospec.audio.frames import HOP_SAMPLES, MIN_FRAMES
from emospec.audio.waveform import SAMPLE_RATE, Waveform

# A peak below this, re full scale, is silence.
SILENT_DB = -60.0
_LEAST_AMPLITUDE = 1e-10
_CLIPPED_LEVEL, _CLIPPED_SHARE, _UNSCALED_PEAK = 0.99, 0.001, 2.0
# Speech has far more than -50 dB of its energy above 4 kHz, but not behind a telephone's filter.
_BAND_HZ, _BAND_DB = 4000.0, -50.0
# The network's shortest input, 0.48 s.
_SHORT_SECONDS = (MIN_FRAMES - 1) * HOP_SAMPLES / SAMPLE_RATE
_FAR_LONGER = 2.0


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
    peak = peak_of(waveform)
    if decibels(peak) < SILENT_DB:
        yield f"nearly silent: its peak is {decibels(peak):.0f} dB re full scale"
    else:
        # Resampling rings past full scale; far beyond it the samples are unscaled integers.
        largest = float(np.abs(waveform).max())
        full_scale = largest if largest > _UNSCALED_PEAK else 1.0
        clipped = float(np.mean(np.abs(waveform) >= _CLIPPED_LEVEL * full_scale))
        if clipped >= _CLIPPED_SHARE:
            yield f"clipped: {100 * clipped:.1f} % of its samples are at full scale"
        if _high_band_db(waveform) < _BAND_DB:
            yield "nothing above 4 kHz, as from a telephone: the model learned from the full band"
    if seconds < _SHORT_SECONDS:
        yield f"too short: {seconds:.2f} s; below {_SHORT_SECONDS} s it is padded with silence"
    if span[1] - span[0] < seconds - 0.02:
        part = "long: judged by its central part"
        if moved:
            part = "long and silent in the middle: judged by its part with most sound"
        start, end = span
        yield f"{seconds:.1f} s {part}, {start:.1f} to {end:.1f} s; `emospec timeline` judges all of it"
    elif seconds > _FAR_LONGER * usual_seconds:
        yield f"far longer than training: {seconds:.1f} s, where 99 % there are within {usual_seconds:.1f} s"


def peak_of(waveform: Waveform) -> float:
    """Return the largest deviation of (samples,) from their mean, 0 of none."""
    return float(np.abs(centred(waveform)).max(initial=0.0))


def centred(waveform: Waveform) -> Waveform:
    """Return (samples,) less their mean: the constant that sound cards add is no sound."""
    return waveform - np.float32(waveform.mean(dtype=np.float64)) if waveform.size else waveform


def decibels(amplitude: float) -> float:
    """Return an amplitude in dB re full scale, at least -200."""
    return float(20 * np.log10(max(amplitude, _LEAST_AMPLITUDE)))


def _high_band_db(waveform: Waveform) -> float:
    """Return the energy above 4 kHz over all energy, in dB."""
    # Padded to a power of two: a length with large prime factors takes far longer.
    size = 1 << (len(waveform) - 1).bit_length()
    power = np.square(np.abs(np.fft.rfft(waveform, size)))
    edge = int(np.ceil(_BAND_HZ * size / SAMPLE_RATE))
    return float(10 * np.log10(max(float(power[edge:].sum()) / max(float(power.sum()), 1e-30), 1e-10)))
