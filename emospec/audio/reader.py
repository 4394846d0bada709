"""A recording -> mono float32 waveform at 16 kHz, whole or in blocks, or one named error.

Knows nothing of labels or models. WAV, FLAC, AIFF, MP3, Ogg Vorbis and Opus through libsndfile,
which goes by content, not by suffix; where it is asked for, any other kind through ffmpeg.
"""

import io
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from emospec.audio import chunks, containers, mp3
from emospec.audio.channels import ChannelMeter, check_channel
from emospec.audio.discovery import find_files, find_recordings, printable
from emospec.audio.ffmpeg import FfmpegFile, decoded_by_ffmpeg
from emospec.audio.kinds import HEAD_BYTES, SUFFIXES, UnsupportedKind, is_supported, unsupported_kind
from emospec.audio.splices import spliced
from emospec.audio.waveform import SAMPLE_RATE, Resampler, Waveform, check_channels, check_rate
from emospec.errors import AudioError, ConfigError, LongAudioError

__all__ = [
    "SUFFIXES",
    "Source",
    "decode",
    "find_files",
    "find_recordings",
    "printable",
    "read_audio",
    "read_blocks",
    "read_part",
]

# libsndfile opens more, without a word where one of them is truncated.
_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF", "MP3", "OGG")
_READ_SAMPLES = 2**20  # of all channels, in one read: 4 MiB
# Where libsndfile decodes otherwise after a seek: a fraction of a frame off, or wrong near the end (Vorbis).
_NO_SEEK = ("MP3", "OGG")
_UNKNOWN_FRAMES = 2**62  # of a FLAC that does not say, libsndfile says 2^63 - 1
_SEGMENT_TOLERANCE_SECONDS = 0.1


_ALLOWED = "WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus"


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


def read_audio(
    recording: Path | str | bytes,
    start: float = 0.0,
    end: float | None = None,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
) -> Waveform:
    """Read a recording as mono float32 at 16 kHz.

    Args:
        recording: a file, or its bytes.
        start: where the stretch to read begins, in seconds.
        end: where it ends, in seconds; None means the recording's end.
        channel: take this one, from 1; None takes the mean over all.
        ffmpeg: decode what is not read here by the program ffmpeg.

    Returns:
        (samples,) nominally in [-1, 1]: one channel or the mean, then resampled.

    Raises:
        AudioError: it is missing, empty, truncated, not audio, holds NaN or infinite samples, or
            its rate (1 to 384 kHz), channels (1 to 64), the channel or the stretch asked for are out of range, or
            memory does not hold it, or ffmpeg is asked for and cannot be found or cannot decode it.

    Example:
        >>> file = io.BytesIO()
        >>> soundfile.write(file, np.zeros((8000, 2)), 8000, format="WAV")
        >>> read_audio(file.getvalue()).shape
        (16000,)
    """
    return decode(recording, start, end, channel=channel, ffmpeg=ffmpeg)[0]


def decode(
    recording: Path | str | bytes,
    start: float = 0.0,
    end: float | None = None,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
) -> tuple[Waveform, Source]:
    """As `read_audio`, and what the recording was before."""
    with _opened(recording, channel=channel, ffmpeg=ffmpeg) as (file, name):
        waveform = _decoded(file, name, *_stretch(file, name, start, end), channel)
        return waveform, Source(file.samplerate, file.channels, file.subtype)


def _decoded(
    file: soundfile.SoundFile,
    name: str,
    first: int,
    count: int,
    channel: int | None,
    meter: ChannelMeter | None = None,
) -> Waveform:
    """A stretch of frames, whole, at 16 kHz."""
    try:
        return np.concatenate(list(_waveforms(file, name, first, count, channel, meter)))
    except MemoryError as error:
        seconds = count / file.samplerate
        raise AudioError(
            f"{name}: memory does not hold its {seconds:.0f} s at once. Cut it into shorter recordings"
        ) from error


def read_part(
    recording: Path | str | bytes,
    choose: Callable[[int], tuple[int, int]],
    longest_seconds: float = np.inf,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
    meter: ChannelMeter | None = None,
) -> tuple[Waveform, float, float]:
    """Read what is chosen of a recording when its length is known, opening it once.

    Args:
        recording: a file, or its bytes.
        choose: is given how many samples at 16 kHz the header declares, and says the first and the last
            (excluded) to read.
        longest_seconds: what the header may declare.
        channel, ffmpeg: as of `read_audio`.
        meter: measures the channels of what is read.

    Returns:
        The waveform (samples,), the seconds of the whole recording, and the second where the waveform starts.

    Raises:
        AudioError: as `read_audio`.
        LongAudioError: the header declares more than `longest_seconds`; nothing was decoded.
    """
    with _opened(recording, longest_seconds, channel=channel, ffmpeg=ffmpeg) as (file, name):
        samples = int(file.frames * SAMPLE_RATE / file.samplerate)
        start, end = choose(samples)
        if (start, end) == (0, samples):
            waveform = _decoded(file, name, 0, file.frames, channel, meter)
            return waveform, len(waveform) / SAMPLE_RATE, 0.0
        stretch = _stretch(file, name, start / SAMPLE_RATE, end / SAMPLE_RATE)
        return _decoded(file, name, *stretch, channel, meter), samples / SAMPLE_RATE, start / SAMPLE_RATE


def read_blocks(
    recording: Path | str | bytes,
    block_seconds: float = 30.0,
    longest_seconds: float = np.inf,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
) -> Generator[Waveform, None, None]:
    """Read a recording of any length block by block, in memory that does not grow with its length.

    Joined, the blocks are what `read_audio` gives. The recording stays open until the last block is
    taken, or the generator is closed.

    Args:
        recording: a file, or its bytes.
        block_seconds: the length of a block, at least one sample at 16 kHz (1/16000 s).
        longest_seconds: what the header may declare.
        channel, ffmpeg: as of `read_audio`.

    Returns:
        The blocks in turn, each (round(16000 * block_seconds),), the last one shorter.

    Raises:
        AudioError: as `read_audio`. What the header tells is raised by the call itself; where the
            samples end early, cannot be decoded or are NaN or infinite, when they are reached, or up to
            2^20 samples (of all channels) before.
        LongAudioError: the header declares more than `longest_seconds`; the call itself raises it.
        ConfigError: `block_seconds` is out of range.

    Example:
        >>> file = io.BytesIO()
        >>> soundfile.write(file, np.zeros(20_000), 8000, format="WAV")
        >>> [block.shape for block in read_blocks(file.getvalue(), 1.0)]
        [(16000,), (16000,), (8000,)]
    """
    if not 1 <= block_seconds * SAMPLE_RATE < np.inf:
        raise ConfigError(f"block_seconds is {block_seconds} s, allowed is 1/{SAMPLE_RATE} s and more")
    blocks = _blocks(recording, round(block_seconds * SAMPLE_RATE), longest_seconds, channel, ffmpeg)
    next(blocks)
    return blocks


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    def seek(self, frames: int, whence: int = os.SEEK_SET) -> int:
        """Go to a frame, unless there already.

        soundfile does so after each read, and it starts libsndfile's decoder anew: what follows in an Opus
        is wrong then by up to a full scale, in an MP3 by 1e-4.
        """
        if self.format in _NO_SEEK and whence == os.SEEK_SET and frames == self.tell():
            return frames
        return int(super().seek(frames, whence))


def _blocks(
    recording: Path | str | bytes, size: int, longest_seconds: float, channel: int | None, ffmpeg: bool
) -> Generator[Waveform, None, None]:
    """An empty block once the header is known to be sound, then blocks of `size` samples."""
    with _opened(recording, longest_seconds, channel=channel, ffmpeg=ffmpeg) as (file, name):
        yield np.zeros(0, np.float32)
        held: list[Waveform] = []
        for piece in _waveforms(file, name, 0, file.frames, channel):
            held.append(piece)
            if sum(map(len, held)) < size:
                continue
            joined = np.concatenate(held)
            whole = len(joined) // size * size
            for place in range(0, whole, size):
                yield joined[place : place + size]
            held = [joined[whole:]]
        if (rest := np.concatenate(held)).size:
            yield rest


def _waveforms(
    file: soundfile.SoundFile,
    name: str,
    first: int,
    count: int,
    channel: int | None,
    meter: ChannelMeter | None = None,
) -> Iterator[Waveform]:
    """A stretch of frames as successive mono pieces at 16 kHz."""
    resampler = Resampler(file.samplerate, name, first / file.samplerate)
    size = 0
    for samples in _frames(file, name, first, count):
        piece = resampler.push(samples if channel is None else samples[:, channel - 1])
        if meter and channel is None and file.channels > 1:  # what the resampler took is sound
            meter.push(samples, file.samplerate)
        size += len(piece)
        yield piece
    tail = resampler.finish()
    if not size + len(tail):
        raise AudioError(f"{name}: is shorter than one sample at 16 kHz")
    yield tail


def _frames(file: soundfile.SoundFile, name: str, first: int, count: int) -> Iterator[NDArray[np.float32]]:
    """A stretch of frames as successive (frames, channels)."""
    place = first if file.seekable() and file.format not in _NO_SEEK else 0
    if file.seekable():  # GSM 6.10 is not
        # To the beginning too: the last bits of an MP3 depend on it, and packs hold them.
        soundfile.SoundFile.seek(file, place)
    last, size = first + count, _READ_SAMPLES // file.channels
    while place < last:
        wanted = min(size, last - place)
        try:
            samples = file.read(wanted, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise _undecodable(name, error, f" after {place / file.samplerate:.3f} s") from error
        yield samples[max(0, first - place) :]
        place += len(samples)
        # Of damaged MP3, another read would give what follows the damage.
        if len(samples) < wanted:
            raise AudioError(
                f"{name}: is truncated: {max(0, place - first)} of {count} samples are there, "
                f"to {place / file.samplerate:.3f} s. Copy it again"
            )


@contextmanager
def _opened(
    recording: Path | str | bytes,
    longest_seconds: float = np.inf,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
) -> Iterator[tuple[soundfile.SoundFile | FfmpegFile, str]]:
    """A recording whose header is sound, and its name in errors; what fails while it is open, named."""
    # A name need not be UTF-8, nor one line; a message is both.
    name = "the recording" if isinstance(recording, bytes) else printable(str(recording)) or "''"
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(_stream(recording, name))
            if not stream.seek(0, os.SEEK_END):
                raise AudioError(f"{name}: is empty (0 bytes)")
            stream.seek(0)
            head = stream.read(HEAD_BYTES)
            kind = unsupported_kind(head)
            if ffmpeg and not is_supported(head) and (kind is None or kind.has_sound):
                containers.check_declared(stream, name)
                file = stack.enter_context(decoded_by_ffmpeg(stream, name, longest_seconds))
            elif kind is not None:
                raise _of_another_kind(name, kind)
            else:
                file = _open_here(stack, recording, stream, name)
            check_rate(file.samplerate, name)
            check_channels(file.channels, name)
            check_channel(channel, file.channels, name)
            if (seconds := file.frames / file.samplerate) > longest_seconds:
                raise LongAudioError(
                    f"{name}: is {seconds:.0f} s long, allowed are {longest_seconds:g} s. Cut it into shorter ones"
                )
            yield file, name
    except soundfile.LibsndfileError as error:
        raise _undecodable(name, error) from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from error


def _open_here(
    stack: ExitStack, recording: Path | str | bytes, stream: BinaryIO, name: str
) -> soundfile.SoundFile:
    """Open a recording of a kind that libsndfile reads, as it declares itself or mended to declare all of it."""
    end = containers.check_whole(stream, name)
    body = chunks.mp3_within(stream, end) or chunks.counting_all(stream, end)
    stream = body or stream
    if body is not None:
        # A view of its own: what is read of the body below would move libsndfile's place in it.
        content: BinaryIO | int = spliced(b"", body, 0, body.seek(0, os.SEEK_END))
    elif isinstance(recording, bytes):
        content = spliced(recording)
    else:
        # By descriptor: soundfile takes a name that ends in .raw for a headerless format.
        content = stack.enter_context(open(recording, "rb", buffering=0)).fileno()  # noqa: SIM115
    file = stack.enter_context(_SoundFile(content, closefd=False))
    uncounted = file.format == "MP3" and not mp3.says_its_length(stream)
    if file.format == "MP3" and mp3.has_another_behind(stream):
        raise AudioError(f"{name}: {chunks.ANOTHER_BEHIND}")
    counted = mp3.counted(stream) if uncounted else None
    if counted:
        file = stack.enter_context(_SoundFile(counted))
    if file.format not in _FORMATS or file.subtype.startswith("DWVW"):
        raise AudioError(f"{name}: is {file.format} of {file.subtype}, not {_ALLOWED}. Convert it")
    if not file.frames:
        raise AudioError(f"{name}: holds no samples (zero length)")
    if (uncounted and not counted) or file.frames >= _UNKNOWN_FRAMES:
        raise AudioError(
            f"{name}: nothing in it says how long it is, and it may be cut. Write it to a file again"
        )
    return file


def _of_another_kind(name: str, kind: UnsupportedKind) -> AudioError:
    if not kind.has_sound:
        if kind.advice:
            return AudioError(f"{name}: is {kind.name}. {kind.advice}")
        return AudioError(f"{name}: cannot be decoded as audio: it is {kind.name}. Name a recording")
    return AudioError(
        f"{name}: is {kind.name}, not {_ALLOWED}. Convert it: ffmpeg -i FILE FILE.wav; or start emospec with --ffmpeg (in Python ffmpeg=True)"
    )


def _undecodable(name: str, error: soundfile.LibsndfileError, where: str = "") -> AudioError:
    reason = error.error_string.strip().rstrip(".")
    # Of an MP3 that ends within its first frames, libsndfile says that there is no such file.
    if not reason or "does not exist" in reason:
        reason = "its data cannot be decoded"
    return AudioError(
        f"{name}: cannot be decoded as audio{where} ({reason}). It is damaged, truncated or not {_ALLOWED}"
    )


def _stream(recording: Path | str | bytes, name: str) -> BinaryIO:
    if isinstance(recording, bytes):
        return io.BytesIO(recording)
    path = Path(recording)
    if path.is_dir():
        raise AudioError(f"{name}: is a folder")
    if not path.is_file():
        found = "is a pipe or a device. Write it to a file" if path.exists() else "there is no such file"
        raise AudioError(f"{name}: {found}")
    return open(recording, "rb")


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
