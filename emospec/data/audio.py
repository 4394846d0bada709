"""A recording -> mono float32 waveform at 16 kHz, or one named error.

Knows nothing of labels or models. WAV, FLAC, AIFF, MP3, Ogg Vorbis and Opus through libsndfile,
which goes by content, not by suffix; resampling by soxr.
"""

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emospec.data import mp3
from emospec.errors import AudioError

SAMPLE_RATE = 16_000  # Hz, everywhere in emospec (Dai et al. 2019)
MIN_RATE, MAX_RATE = 1_000, 384_000  # Hz
MAX_CHANNELS = 64

Waveform = NDArray[np.float32]

# libsndfile opens more, without a word where one of them is truncated.
FORMATS = ("WAV", "WAVEX", "FLAC", "AIFF", "MP3", "OGG")
# A float recording of unscaled 32-bit integers reaches it. Far above, the power of a spectrum overflows.
LARGEST_SAMPLE = 2.0**31

# A header written before its length was known (a pipe) declares at least this; it is not a truncation.
_UNKNOWN_LENGTH_BYTES = 0x7FFF_0000
_UNKNOWN_FRAMES = 2**62  # of a FLAC that does not say, libsndfile says 2^63 - 1
_LONGEST_OGG_PAGE_BYTES = 65_307
_MOST_CHUNKS = 1000  # before the samples; bounds the search in a hostile file
_SEGMENT_TOLERANCE_SECONDS = 0.1


# By which a folder's recordings are found; a file that is named goes by its content.
SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".aifc", ".mp3", ".ogg", ".oga", ".opus")


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
        >>> file = io.BytesIO()
        >>> soundfile.write(file, np.zeros((8000, 2)), 8000, format="WAV")
        >>> read_audio(file.getvalue()).shape
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
        raise AudioError(
            f"{name}: cannot be decoded as audio ({_reason(error)}). "
            "It is damaged, truncated or not WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus"
        ) from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from error
    return _as_waveform(samples, source.sample_rate, name), source


def find_recordings(place: Path) -> list[Path]:
    """A file as it is named, or all recordings below a folder, by suffix, in order of their paths.

    Raises:
        AudioError: the folder holds none.
    """
    if not place.is_dir():
        return [place]
    found = sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise AudioError(f"{place}: holds no recordings ({', '.join(SUFFIXES)})")
    return found


def from_samples(samples: NDArray[Any], sample_rate: int) -> Waveform:
    """Samples in memory as mono float32 at 16 kHz, as `read_audio` gives those of a file.

    Args:
        samples: (samples,) or (samples, channels): floats, nominally in [-1, 1], or integers of full scale.
        sample_rate: Hz.

    Raises:
        AudioError: see `read_audio`; or the shape or type is none of these.

    Example:
        >>> from_samples(np.zeros((8000, 2), np.int16), 8000).shape
        (16000,)
    """
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fi":
        raise AudioError(
            f"samples must be floats or signed integers, (samples,) or (samples, channels); "
            f"found {samples.dtype} of shape {samples.shape}"
        )
    if not samples.size:
        raise AudioError("there are no samples")
    values = samples.reshape(len(samples), -1).astype(np.float32)
    if samples.dtype.kind == "i":
        values /= -float(np.iinfo(samples.dtype).min)
    _check_source(int(sample_rate), values.shape[1], "the recording")
    return _as_waveform(values, int(sample_rate), "the recording")


def _as_waveform(samples: NDArray[np.float32], sample_rate: int, name: str) -> Waveform:
    """(samples, channels) at any rate -> mono at 16 kHz."""
    # NaN compares false.
    if bad := int(np.count_nonzero(~(np.abs(samples) <= LARGEST_SAMPLE))):
        raise AudioError(
            f"{name}: holds {bad} samples that are NaN, infinite or beyond 2^31. Write it again without them"
        )
    waveform = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if sample_rate != SAMPLE_RATE:
        waveform = soxr.resample(waveform, sample_rate, SAMPLE_RATE, quality="HQ")
    if not waveform.size:
        raise AudioError(f"{name}: is shorter than one sample at 16 kHz")
    return np.ascontiguousarray(waveform, np.float32)


def _reason(error: soundfile.LibsndfileError) -> str:
    reason: str = error.error_string.strip().rstrip(".")
    # Of an MP3 that ends within its first frames, libsndfile says that there is no such file.
    return "its data cannot be decoded" if not reason or "does not exist" in reason else reason


def _open(recording: Path | str | bytes, name: str) -> BinaryIO:
    if isinstance(recording, bytes):
        return io.BytesIO(recording)
    if not Path(recording).is_file():
        raise AudioError(f"{name}: {'is a folder' if Path(recording).is_dir() else 'there is no such file'}")
    return open(recording, "rb")


def _read(
    recording: Path | str | bytes, name: str, start: float, end: float | None
) -> tuple[NDArray[np.float32], Source]:
    """The samples (frames, channels) of a stretch, checked against what the header declares."""
    with _open(recording, name) as stream:
        if not stream.seek(0, os.SEEK_END):
            raise AudioError(f"{name}: is empty (0 bytes)")
        _check_whole(stream, name)
        # The name as bytes, because it need not be UTF-8.
        content = io.BytesIO(recording) if isinstance(recording, bytes) else os.fsencode(recording)
        with soundfile.SoundFile(content) as file:
            if not file.frames and (mended := _piped_wav(stream)):
                return _read(mended, name, start, end)
            source = Source(file.samplerate, file.channels, file.subtype)
            _check_header(file, name)
            uncounted = file.format == "MP3" and not mp3.says_its_length(stream)
            if uncounted and (mended := mp3.counted(stream)):
                return _read(mended, name, start, end)
            if uncounted or file.frames >= _UNKNOWN_FRAMES:
                raise AudioError(
                    f"{name}: nothing in it says how long it is, and it may be cut. Write it to a file again"
                )
            first, count = _stretch(file, name, start, end)
            # libsndfile's seek in an MP3 is a fraction of a frame off: decode from the start.
            skipped = first if file.format == "MP3" else 0
            file.seek(first - skipped)
            try:
                samples = file.read(skipped + count, dtype="float32", always_2d=True)[skipped:]
            except MemoryError as error:
                raise AudioError(
                    f"{name}: declares {file.frames} samples, more than memory holds. It is damaged"
                ) from error
            if len(samples) < count:
                raise AudioError(
                    f"{name}: is truncated: {len(samples)} of {count} samples are there. Copy it again"
                )
    return samples, source


def _check_header(file: soundfile.SoundFile, name: str) -> None:
    if file.format not in FORMATS:
        raise AudioError(
            f"{name}: is {file.format}, not WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus. Convert it"
        )
    _check_source(file.samplerate, file.channels, name)
    if not file.frames:
        raise AudioError(f"{name}: holds no samples (zero length)")


def _check_source(sample_rate: int, channels: int, name: str) -> None:
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise AudioError(
            f"{name}: its sample rate is {sample_rate} Hz, allowed are {MIN_RATE} to {MAX_RATE} Hz"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{name}: has {channels} channels, allowed are 1 to {MAX_CHANNELS}")


def _check_whole(stream: BinaryIO, name: str) -> None:
    """Refuse a WAV, AIFF or Ogg whose end is missing; decoding tells it of FLAC and MP3."""
    size = stream.seek(0, os.SEEK_END)
    if chunk := _samples_chunk(stream):
        declared, found = chunk[1], size - chunk[0]
        if found < declared < _UNKNOWN_LENGTH_BYTES:
            raise AudioError(
                f"{name}: is truncated: {found} of {declared} bytes of samples are there. Copy it again"
            )
    stream.seek(0)
    if stream.read(4) == b"OggS":
        stream.seek(max(0, size - 2 * _LONGEST_OGG_PAGE_BYTES))
        tail = stream.read()
        # RFC 3533: flags at byte 5, of which 4 marks the last page; segments counted at 26, their lengths at 27.
        page = tail[tail.rfind(b"OggS") :].ljust(27, b"\0")
        if not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
            raise AudioError(f"{name}: is truncated: the stream ends before its last page. Copy it again")


def _samples_chunk(stream: BinaryIO) -> tuple[int, int] | None:
    """Where the samples of a WAV or AIFF begin, and how many bytes they are by the header."""
    stream.seek(0)
    order = {b"RIFF": "<", b"RIFX": ">", b"FORM": ">"}.get(stream.read(4))
    stream.seek(12)
    for _ in range(_MOST_CHUNKS if order else 0):
        head = stream.read(8)
        if len(head) < 8:
            break
        name, size = struct.unpack(f"{order}4sI", head)
        if name in (b"data", b"SSND"):
            return stream.tell(), size
        stream.seek(size + size % 2, os.SEEK_CUR)
    return None


def _piped_wav(stream: BinaryIO) -> bytes | None:
    """A WAV whose header was written before there were samples, made to declare those that follow it."""
    chunk = _samples_chunk(stream)
    stream.seek(0)
    content = stream.read()
    if not chunk or chunk[1] or content[:4] != b"RIFF" or len(content) == chunk[0]:
        return None
    # Else what follows is another chunk, of a WAV that is truly empty.
    riff_bytes = int.from_bytes(content[4:8], "little")
    if not (riff_bytes + 8 <= chunk[0] or riff_bytes >= _UNKNOWN_LENGTH_BYTES):
        return None
    return content[: chunk[0] - 4] + b"\xff\xff\xff\xff" + content[chunk[0] :]


def _stretch(file: soundfile.SoundFile, name: str, start: float, end: float | None) -> tuple[int, int]:
    """First frame and number of frames of a stretch in seconds."""
    duration = file.frames / file.samplerate
    if not 0 <= start < duration or (end is not None and not end > start):
        raise AudioError(f"{name}: the stretch {start} to {end} s is not in its {duration:.3f} s")
    if end is not None and end > duration + _SEGMENT_TOLERANCE_SECONDS:
        raise AudioError(f"{name}: the stretch ends at {end} s, the recording at {duration:.3f} s")
    first = round(start * file.samplerate)
    last = file.frames if end is None else min(round(end * file.samplerate), file.frames)
    if last <= first:
        raise AudioError(f"{name}: the stretch {start} to {end} s holds no sample")
    return first, last - first
