"""A recording -> mono float32 waveform at 16 kHz, or one named error.

Knows nothing of labels or models. WAV, FLAC, AIFF, MP3, Ogg Vorbis and Opus through libsndfile,
which goes by content, not by suffix; resampling by soxr.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emospec.errors import AudioError

SAMPLE_RATE = 16_000  # Hz, everywhere in emospec (Dai et al. 2019, section 3.1)
MIN_RATE, MAX_RATE = 1_000, 384_000  # Hz
MAX_CHANNELS = 64

Waveform = NDArray[np.float32]

# A header written before its length was known (a pipe) declares one of these; it is not a truncation.
_UNKNOWN_LENGTH_BYTES = 0x7FFF_0000
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_SEGMENT_TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class Source:
    """What a recording was before it was decoded.

    Attributes:
        sample_rate: Hz.
        channels: 1 to 64.
        subtype: libsndfile's name of the sample format, such as `PCM_16`.
    """

    sample_rate: int
    channels: int
    subtype: str

    @property
    def is_int16_mono_16k(self) -> bool:
        """Whether 16-bit integers hold the decoded waveform without loss."""
        return self.subtype == "PCM_16" and self.channels == 1 and self.sample_rate == SAMPLE_RATE


def read_audio(recording: Path | str | bytes, start: float = 0.0, end: float | None = None) -> Waveform:
    """Read a recording as mono float32 at 16 kHz.

    Args:
        recording: a file, or its bytes.
        start: where the stretch to read begins, in seconds.
        end: where it ends, in seconds; None means the recording's end.

    Returns:
        (samples,) nominally in [-1, 1]: the mean over channels, then resampled.

    Raises:
        AudioError: it is missing, empty, truncated, not audio, holds NaN or infinite samples, or
            its rate (1 to 384 kHz), channels (1 to 64) or the stretch asked for are out of range.

    Example:
        >>> soundfile.write("/tmp/tone.wav", np.zeros((8000, 2)), 8000)
        >>> read_audio("/tmp/tone.wav").shape
        (16000,)
    """
    return decode(recording, start, end)[0]


def decode(
    recording: Path | str | bytes, start: float = 0.0, end: float | None = None
) -> tuple[Waveform, Source]:
    """As `read_audio`, and what the recording was before."""
    name = "the recording" if isinstance(recording, bytes) else str(recording)
    try:
        samples, source = _read(recording, name, start, end)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".") or "its data cannot be decoded"
        raise AudioError(
            f"{name}: cannot be decoded as audio ({reason}). "
            "It is damaged, truncated or not WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus"
        ) from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from error
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples)))
        raise AudioError(f"{name}: holds {bad} samples that are NaN or infinite. Write it again without them")
    waveform = samples.mean(axis=1) if source.channels > 1 else samples[:, 0]
    if source.sample_rate != SAMPLE_RATE:
        waveform = soxr.resample(waveform, source.sample_rate, SAMPLE_RATE, quality="HQ")
    if not waveform.size:
        raise AudioError(f"{name}: is shorter than one sample at 16 kHz")
    return np.ascontiguousarray(waveform, np.float32), source


def _read(
    recording: Path | str | bytes, name: str, start: float, end: float | None
) -> tuple[NDArray[np.float32], Source]:
    """The samples (frames, channels) of a stretch, checked against what the header declares."""
    if isinstance(recording, bytes):
        if not recording:
            raise AudioError(f"{name}: is empty (0 bytes)")
        stream: str | io.BytesIO = io.BytesIO(recording)
    else:
        if not Path(recording).is_file():
            raise AudioError(f"{name}: there is no such file")
        if not Path(recording).stat().st_size:
            raise AudioError(f"{name}: is empty (0 bytes)")
        stream = str(recording)
    with soundfile.SoundFile(stream) as file:
        source = Source(file.samplerate, file.channels, file.subtype)
        _check_header(file, name)
        first, count = _stretch(file, name, start, end)
        if first:
            file.seek(first)
        samples = file.read(count, dtype="float32", always_2d=True)
        if len(samples) < count:
            raise AudioError(
                f"{name}: is truncated: {len(samples)} of {count} samples are there. Copy it again"
            )
    return samples, source


def _check_header(file: soundfile.SoundFile, name: str) -> None:
    if not MIN_RATE <= file.samplerate <= MAX_RATE:
        raise AudioError(
            f"{name}: its sample rate is {file.samplerate} Hz, allowed are {MIN_RATE} to {MAX_RATE} Hz"
        )
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise AudioError(f"{name}: has {file.channels} channels, allowed are 1 to {MAX_CHANNELS}")
    short = _SHORT_CHUNK.search(file.extra_info)
    if short and int(short[2]) < int(short[1]) < _UNKNOWN_LENGTH_BYTES:
        raise AudioError(
            f"{name}: is truncated: {short[2]} of {short[1]} bytes of samples are there. Copy it again"
        )
    if "ended unexpectedly" in file.extra_info:
        raise AudioError(f"{name}: is truncated: the stream ends before its last page. Copy it again")
    if not file.frames:
        raise AudioError(f"{name}: holds no samples (zero length)")


def _stretch(file: soundfile.SoundFile, name: str, start: float, end: float | None) -> tuple[int, int]:
    """First frame and number of frames of a stretch in seconds."""
    duration = file.frames / file.samplerate
    if start < 0 or start >= duration or (end is not None and end <= start):
        raise AudioError(f"{name}: the stretch {start} to {end} s is not in its {duration:.3f} s")
    if end is not None and end > duration + _SEGMENT_TOLERANCE_SECONDS:
        raise AudioError(f"{name}: the stretch ends at {end} s, the recording at {duration:.3f} s")
    first = round(start * file.samplerate)
    last = file.frames if end is None else min(round(end * file.samplerate), file.frames)
    if last <= first:
        raise AudioError(f"{name}: the stretch {start} to {end} s holds no sample")
    return first, last - first
