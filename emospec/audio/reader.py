"""A recording -> mono float32 waveform at 16 kHz, whole or in blocks, or one error that names it.

WAV, FLAC, AIFF, MP3, Ogg Vorbis and Opus are read by libsndfile, which goes by content, not by suffix; any other
kind by ffmpeg, where the caller allows it. Knows no label and no model.
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

from emospec.audio import chunks, containers
from emospec.audio.channels import ChannelMeter, check_channel
from emospec.audio.discovery import printable
from emospec.audio.ffmpeg import FfmpegFile, decoded_by_ffmpeg
from emospec.audio.kinds import HEAD_BYTES, UnsupportedKind, is_supported, unsupported_kind
from emospec.audio.waveform import SAMPLE_RATE, Resampler, Waveform, check_channels, check_rate
from emospec.errors import AudioError, ConfigError, LongAudioError

_ALLOWED = "WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus"
# libsndfile opens more formats, but does not complain where one of those is truncated.
_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF", "MP3", "OGG")
# Of all channels, in one read: 4 MiB.
_READ_SAMPLES = 2**20
# Formats that libsndfile decodes otherwise after a seek: a fraction of a frame off, or wrong near the end (Vorbis).
_NO_SEEK = ("MP3", "OGG")
# Of a FLAC that does not say, libsndfile says 2^63 - 1.
_UNKNOWN_FRAMES = 2**62
_SEGMENT_TOLERANCE_SECONDS = 0.1

# A file, or its bytes.
FileOrBytes = Path | str | bytes


@dataclass(frozen=True)
class Source:
    """The sample format of a recording before it was decoded; `subtype` is libsndfile's name, such as `PCM_16`."""

    sample_rate: int
    channels: int
    subtype: str

    @property
    def is_int16_mono_16k(self) -> bool:
        """Whether 16-bit integers hold the decoded waveform without loss."""
        return self.subtype == "PCM_16" and self.channels == 1 and self.sample_rate == SAMPLE_RATE


def read_audio(
    recording: FileOrBytes,
    start: float = 0.0,
    end: float | None = None,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
) -> Waveform:
    """Return a recording as mono float32 at 16 kHz, (samples,) nominally in [-1, 1].

    Args:
        recording: a file, or its bytes.
        start: where the segment to read begins, in seconds.
        end: where it ends, in seconds; None is the recording's end.
        channel: the one to take, from 1; None takes the mean over all.
        ffmpeg: decode other kinds by the program ffmpeg.

    Raises:
        AudioError: it is missing, truncated, not audio, or holds NaN or infinite samples; its rate (1 to 384 kHz), its
            channels (1 to 64), the channel or the segment are out of range; memory does not hold it; or ffmpeg fails.

    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros((8000, 2)), 8000, format="WAV")
    >>> read_audio(file.getvalue()).shape
    (16000,)
    """
    return decode(recording, start, end, channel=channel, ffmpeg=ffmpeg)[0]


def decode(
    recording: FileOrBytes,
    start: float = 0.0,
    end: float | None = None,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
) -> tuple[Waveform, Source]:
    """Return what `read_audio` does, and the recording's sample format."""
    with _opened(recording, channel=channel, ffmpeg=ffmpeg) as opened:
        waveform = opened.waveform(*opened.frame_range(start, end))
        return waveform, Source(opened.file.samplerate, opened.file.channels, opened.file.subtype)


def read_part(
    recording: FileOrBytes,
    choose: Callable[[int], tuple[int, int]],
    longest_seconds: float = np.inf,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
    meter: ChannelMeter | None = None,
) -> tuple[Waveform, float, float]:
    """Read the part of a recording that is chosen once its length is known, opening it once.

    Args, beside those of `read_audio`:
        choose: takes the number of samples at 16 kHz that the header declares; returns the first one to read, and
            the one behind the last.
        longest_seconds: the most that the header may declare; more raises LongAudioError.
        meter: measures the channels of what is read.

    Returns:
        The waveform (samples,), the seconds of the whole recording, and the second where the waveform starts.
    """
    with _opened(recording, longest_seconds, channel=channel, ffmpeg=ffmpeg, meter=meter) as opened:
        samples = int(opened.file.frames * SAMPLE_RATE / opened.file.samplerate)
        start, end = choose(samples)
        if (start, end) == (0, samples):
            waveform = opened.waveform(0, opened.file.frames)
            return waveform, len(waveform) / SAMPLE_RATE, 0.0
        waveform = opened.waveform(*opened.frame_range(start / SAMPLE_RATE, end / SAMPLE_RATE))
        return waveform, samples / SAMPLE_RATE, start / SAMPLE_RATE


def read_blocks(
    recording: FileOrBytes,
    block_seconds: float = 30.0,
    longest_seconds: float = np.inf,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
) -> Generator[Waveform, None, None]:
    """Read a recording of any length block by block, in memory that does not grow with its length.

    Joined, the blocks are what `read_audio` gives. The recording stays open until the last block is taken, or the
    generator is closed. The call itself raises the errors that the header shows. Samples that end early, cannot be
    decoded, are NaN or infinite raise when they are reached, or up to 2^20 samples (of all channels) before.

    Args, beside those of `read_audio`:
        block_seconds: the length of a block, at least one sample at 16 kHz (1/16000 s); the last one is shorter.
        longest_seconds: the most that the header may declare; more raises LongAudioError.

    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.zeros(20_000), 8000, format="WAV")
    >>> [block.shape for block in read_blocks(file.getvalue(), 1.0)]
    [(16000,), (16000,), (8000,)]
    """
    if not 1 <= block_seconds * SAMPLE_RATE < np.inf:
        raise ConfigError(f"block_seconds is {block_seconds} s, allowed is 1/{SAMPLE_RATE} s and more")
    size = round(block_seconds * SAMPLE_RATE)

    def read() -> Generator[Waveform, None, None]:
        with _opened(recording, longest_seconds, channel=channel, ffmpeg=ffmpeg) as opened:
            yield np.zeros(0, np.float32)
            held: list[Waveform] = []
            for part in opened.waveforms(0, opened.file.frames):
                held.append(part)
                if sum(map(len, held)) < size:
                    continue
                joined = np.concatenate(held)
                whole = len(joined) // size * size
                for place in range(0, whole, size):
                    yield joined[place : place + size]
                held = [joined[whole:]]
            if (rest := np.concatenate(held)).size:
                yield rest

    blocks = read()
    # The first is empty: it comes once the header is checked.
    next(blocks)
    return blocks


class _SoundFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    def seek(self, frames: int, whence: int = os.SEEK_SET) -> int:
        # soundfile seeks to where it is after each read, which starts libsndfile's decoder anew. The samples that follow in an Opus
        # are then wrong by up to a full scale, in an MP3 by 1e-4.
        if self.format in _NO_SEEK and whence == os.SEEK_SET and frames == self.tell():
            return frames
        return int(super().seek(frames, whence))


@dataclass(frozen=True)
class _OpenRecording:
    """A recording whose header is checked. A segment of it is given by its first frame and its number of frames."""

    file: soundfile.SoundFile | FfmpegFile
    name: str
    channel: int | None
    meter: ChannelMeter | None

    def waveform(self, first: int, count: int) -> Waveform:
        """Return a segment at 16 kHz."""
        try:
            return np.concatenate(list(self.waveforms(first, count)))
        except MemoryError as error:
            length = f"{count / self.file.samplerate:.0f} s"
            reason = f"memory does not hold its {length} at once. Cut it into shorter recordings"
            raise AudioError(f"{self.name}: {reason}") from error

    def waveforms(self, first: int, count: int) -> Iterator[Waveform]:
        """Yield a segment as successive mono parts at 16 kHz."""
        resampler = Resampler(self.file.samplerate, self.name, first / self.file.samplerate)
        size = 0
        for samples in self._frames(first, count):
            part = resampler.push(samples if self.channel is None else samples[:, self.channel - 1])
            # After the resampler, which raises where samples are NaN or infinite.
            if self.meter and self.channel is None and self.file.channels > 1:
                self.meter.push(samples, self.file.samplerate)
            size += len(part)
            yield part
        tail = resampler.finish()
        if not size + len(tail):
            raise AudioError(f"{self.name}: is shorter than one sample at 16 kHz")
        yield tail

    def _frames(self, first: int, count: int) -> Iterator[NDArray[np.float32]]:
        """Yield a segment as successive (frames, channels)."""
        file, rate = self.file, self.file.samplerate
        place = first if file.seekable() and file.format not in _NO_SEEK else 0
        # GSM 6.10 cannot seek. Others seek to the beginning too: an MP3's last bits depend on it, and packs hold them.
        if file.seekable():
            soundfile.SoundFile.seek(file, place)
        last, size = first + count, _READ_SAMPLES // file.channels
        while place < last:
            wanted = min(size, last - place)
            try:
                samples = file.read(wanted, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise _undecodable(self.name, error, f" after {place / rate:.3f} s") from error
            yield samples[max(0, first - place) :]
            place += len(samples)
            # Another read of a damaged MP3 would give what follows the damage.
            if len(samples) < wanted:
                raise AudioError(
                    f"{self.name}: is truncated: {max(0, place - first)} of {count} samples are there, "
                    f"to {place / rate:.3f} s. Copy it again"
                )

    def frame_range(self, start: float, end: float | None) -> tuple[int, int]:
        """Return the first frame and the number of frames of a segment in seconds."""
        name, rate, frames = self.name, self.file.samplerate, self.file.frames
        duration = frames / rate
        if not 0 <= start < duration or (end is not None and not end > start):
            raise AudioError(f"{name}: the segment {start} to {end} s is not in its {duration:.3f} s")
        if end is not None and end > duration + _SEGMENT_TOLERANCE_SECONDS:
            raise AudioError(f"{name}: the segment ends at {end} s, the recording at {duration:.3f} s")
        first = round(start * rate)
        last = frames if end is None else min(round(end * rate), frames)
        if last <= first:
            raise AudioError(f"{name}: the segment {start} to {end} s holds no sample")
        return first, last - first


@contextmanager
def _opened(
    recording: FileOrBytes,
    longest_seconds: float = np.inf,
    *,
    channel: int | None = None,
    ffmpeg: bool = False,
    meter: ChannelMeter | None = None,
) -> Iterator[_OpenRecording]:
    """Open a recording and check its header. Errors of the system or libsndfile, while it is open, name it."""
    # A file's name may hold line breaks or be no UTF-8; a message may not.
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
                raise _unsupported(name, kind)
            else:
                file = _open_by_libsndfile(stack, recording, stream, name)
            check_rate(file.samplerate, name)
            check_channels(file.channels, name)
            check_channel(channel, file.channels, name)
            if (seconds := file.frames / file.samplerate) > longest_seconds:
                allowed = f"{longest_seconds:g} s. Cut it into shorter ones"
                raise LongAudioError(f"{name}: is {seconds:.0f} s long, allowed are {allowed}")
            yield _OpenRecording(file, name, channel, meter)
    except soundfile.LibsndfileError as error:
        raise _undecodable(name, error) from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from error


def _open_by_libsndfile(
    stack: ExitStack, recording: FileOrBytes, stream: BinaryIO, name: str
) -> soundfile.SoundFile:
    """Open a recording that libsndfile reads; one whose header counts too few samples is repaired in memory."""
    end = containers.check_whole(stream, name)
    body = chunks.mp3_within(stream, end) or chunks.with_full_header(stream, end)
    stream = body or stream
    if body is not None:
        # A second view of the body: the reads of it below would move libsndfile's place.
        content: BinaryIO | int = chunks.splice(b"", body, 0, body.seek(0, os.SEEK_END))
    elif isinstance(recording, bytes):
        content = chunks.splice(recording)
    else:
        # By descriptor: soundfile takes a name that ends in .raw for a headerless format.
        content = stack.enter_context(open(recording, "rb", buffering=0)).fileno()  # noqa: SIM115
    file = stack.enter_context(_SoundFile(content, closefd=False))
    is_uncounted = file.format == "MP3" and not containers.mp3_is_counted(stream)
    if file.format == "MP3" and containers.mp3_has_another_behind(stream):
        raise AudioError(f"{name}: {chunks.ANOTHER_BEHIND}")
    if counted := containers.counted_mp3(stream) if is_uncounted else None:
        file = stack.enter_context(_SoundFile(counted))
    if file.format not in _FORMATS or file.subtype.startswith("DWVW"):
        raise AudioError(f"{name}: is {file.format} of {file.subtype}, not {_ALLOWED}. Convert it")
    if not file.frames:
        raise AudioError(f"{name}: holds no samples (zero length)")
    if (is_uncounted and not counted) or file.frames >= _UNKNOWN_FRAMES:
        reason = "nothing in it says how long it is, and it may be cut. Write it to a file again"
        raise AudioError(f"{name}: {reason}")
    return file


def _unsupported(name: str, kind: UnsupportedKind) -> AudioError:
    if kind.has_sound:
        advice = "ffmpeg -i FILE FILE.wav; or start emospec with --ffmpeg (in Python ffmpeg=True)"
        return AudioError(f"{name}: is {kind.name}, not {_ALLOWED}. Convert it: {advice}")
    if kind.advice:
        return AudioError(f"{name}: is {kind.name}. {kind.advice}")
    return AudioError(f"{name}: cannot be decoded as audio: it is {kind.name}. Name a recording")


def _undecodable(name: str, error: soundfile.LibsndfileError, where: str = "") -> AudioError:
    reason = error.error_string.strip().rstrip(".")
    # libsndfile says of an MP3 that ends within its first frames that there is no such file.
    if not reason or "does not exist" in reason:
        reason = "its data cannot be decoded"
    advice = f"It is damaged, truncated or not {_ALLOWED}"
    return AudioError(f"{name}: cannot be decoded as audio{where} ({reason}). {advice}")


def _stream(recording: FileOrBytes, name: str) -> BinaryIO:
    if isinstance(recording, bytes):
        return io.BytesIO(recording)
    path = Path(recording)
    if path.is_dir():
        raise AudioError(f"{name}: is a folder")
    if not path.is_file():
        reason = "is a pipe or a device. Write it to a file" if path.exists() else "there is no such file"
        raise AudioError(f"{name}: {reason}")
    return open(recording, "rb")
