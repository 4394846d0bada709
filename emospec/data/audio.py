"""A recording -> mono float32 waveform at 16 kHz, whole or in blocks, or one named error.

Knows nothing of labels or models. WAV, FLAC, AIFF, MP3, Ogg Vorbis and Opus through libsndfile,
which goes by content, not by suffix.
"""

import io
import os
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from emospec.data import containers, mp3
from emospec.data.waveform import SAMPLE_RATE, Resampler, Waveform, check_channels, check_rate
from emospec.errors import AudioError, ConfigError, LongAudioError
from emospec.files import as_text

# libsndfile opens more, without a word where one of them is truncated.
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "AIFF", "MP3", "OGG")
_READ_SAMPLES = 2**20  # of all channels, in one read: 4 MiB
# Where libsndfile decodes otherwise after a seek: a fraction of a frame off, or wrong near the end (Vorbis).
_NO_SEEK = ("MP3", "OGG")
_UNKNOWN_FRAMES = 2**62  # of a FLAC that does not say, libsndfile says 2^63 - 1
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
            its rate (1 to 384 kHz), channels (1 to 64) or the stretch asked for are out of range, or
            memory does not hold it.

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
    with _opened(recording) as (file, name):
        waveform = _decoded(file, name, *_stretch(file, name, start, end))
        return waveform, Source(file.samplerate, file.channels, file.subtype)


def _decoded(file: soundfile.SoundFile, name: str, first: int, count: int) -> Waveform:
    """A stretch of frames, whole, at 16 kHz."""
    try:
        return np.concatenate(list(_waveforms(file, name, first, count)))
    except MemoryError as error:
        seconds = count / file.samplerate
        raise AudioError(
            f"{name}: memory does not hold its {seconds:.0f} s at once. Cut it into shorter recordings"
        ) from error


def read_part(
    recording: Path | str | bytes,
    choose: Callable[[int], tuple[int, int]],
    longest_seconds: float = np.inf,
) -> tuple[Waveform, float, float]:
    """Read what is chosen of a recording when its length is known, opening it once.

    Args:
        recording: a file, or its bytes.
        choose: is given how many samples at 16 kHz the header declares, and says the first and the last
            (excluded) to read.
        longest_seconds: what the header may declare.

    Returns:
        The waveform (samples,), the seconds of the whole recording, and the second where the waveform starts.

    Raises:
        AudioError: as `read_audio`.
        LongAudioError: the header declares more than `longest_seconds`; nothing was decoded.
    """
    with _opened(recording, longest_seconds) as (file, name):
        samples = int(file.frames * SAMPLE_RATE / file.samplerate)
        start, end = choose(samples)
        if (start, end) == (0, samples):
            waveform = _decoded(file, name, 0, file.frames)
            return waveform, len(waveform) / SAMPLE_RATE, 0.0
        stretch = _stretch(file, name, start / SAMPLE_RATE, end / SAMPLE_RATE)
        return _decoded(file, name, *stretch), samples / SAMPLE_RATE, start / SAMPLE_RATE


def walk(root: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """All files under `root` with one of the suffixes (in any case), in a fixed order.

    Links are followed, to each folder once. Names that start with a dot are skipped: they are no recordings,
    though macOS gives some a `.wav`.

    Raises:
        AudioError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise AudioError(
            f"{printable(str(error.filename))}: the folder cannot be read ({error.strerror}). Name a folder without it, or get the right"
        )

    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        alike = (file for file in visible if file.suffix.lower() in suffixes)
        # No pipe; of a dead link the reader tells.
        found += [file for file in alike if file.is_file() or file.is_symlink()]
    return found


def find_recordings(place: Path) -> list[Path]:
    """A file as it is named, or all recordings below a folder, by suffix, in order of their paths.

    Raises:
        AudioError: the folder holds none, or it or one below it cannot be read.
    """
    try:
        if not place.is_dir():
            return [place]
    except OSError:  # a name too long, a folder closed to us: the reader says so of this one
        return [place]
    found = sorted(walk(place))
    if not found:
        raise AudioError(f"{place}: holds no recordings ({', '.join(SUFFIXES)})")
    return found


def read_blocks(
    recording: Path | str | bytes, block_seconds: float = 30.0, longest_seconds: float = np.inf
) -> Generator[Waveform, None, None]:
    """Read a recording of any length block by block, in memory that does not grow with its length.

    Joined, the blocks are what `read_audio` gives. The recording stays open until the last block is
    taken, or the generator is closed.

    Args:
        recording: a file, or its bytes.
        block_seconds: the length of a block, at least one sample at 16 kHz (1/16000 s).
        longest_seconds: what the header may declare.

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
    blocks = _blocks(recording, round(block_seconds * SAMPLE_RATE), longest_seconds)
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
    recording: Path | str | bytes, size: int, longest_seconds: float
) -> Generator[Waveform, None, None]:
    """An empty block once the header is known to be sound, then blocks of `size` samples."""
    with _opened(recording, longest_seconds) as (file, name):
        yield np.zeros(0, np.float32)
        held: list[Waveform] = []
        for piece in _waveforms(file, name, 0, file.frames):
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


def _waveforms(file: soundfile.SoundFile, name: str, first: int, count: int) -> Iterator[Waveform]:
    """A stretch of frames as successive mono pieces at 16 kHz."""
    resampler = Resampler(file.samplerate, name, first / file.samplerate)
    size = 0
    for samples in _frames(file, name, first, count):
        piece = resampler.push(samples)
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
    recording: Path | str | bytes, longest_seconds: float = np.inf
) -> Iterator[tuple[soundfile.SoundFile, str]]:
    """A recording whose header is sound, and its name in errors; what fails while it is open, named."""
    # A name need not be UTF-8, nor one line; a message is both.
    name = "the recording" if isinstance(recording, bytes) else printable(str(recording))
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(_stream(recording, name))
            if not stream.seek(0, os.SEEK_END):
                raise AudioError(f"{name}: is empty (0 bytes)")
            containers.check_whole(stream, name)
            # By descriptor: soundfile takes a name that ends in .raw for a headerless format.
            content = (
                containers.spliced(recording)
                if isinstance(recording, bytes)
                else stack.enter_context(open(recording, "rb", buffering=0)).fileno()
            )
            file = stack.enter_context(_SoundFile(content, closefd=False))
            uncounted = file.format == "MP3" and not mp3.says_its_length(stream)
            if file.format == "MP3" and mp3.has_another_behind(stream):
                raise AudioError(f"{name}: {containers.ANOTHER_BEHIND}")
            if mended := _mended(file, stream, uncounted):
                file = stack.enter_context(_SoundFile(mended))
            _check_header(file, name)
            if (uncounted and not mended) or file.frames >= _UNKNOWN_FRAMES:
                raise AudioError(
                    f"{name}: nothing in it says how long it is, and it may be cut. Write it to a file again"
                )
            if (seconds := file.frames / file.samplerate) > longest_seconds:
                raise LongAudioError(
                    f"{name}: is {seconds:.0f} s long, allowed are {longest_seconds:g} s. Cut it into shorter ones"
                )
            yield file, name
    except soundfile.LibsndfileError as error:
        raise _undecodable(name, error) from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from error


def printable(name: str) -> str:
    """A file's name as one line that any terminal takes: what is no UTF-8 or breaks a line is escaped."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in as_text(name))


def _undecodable(name: str, error: soundfile.LibsndfileError, where: str = "") -> AudioError:
    reason = error.error_string.strip().rstrip(".")
    # Of an MP3 that ends within its first frames, libsndfile says that there is no such file.
    if not reason or "does not exist" in reason:
        reason = "its data cannot be decoded"
    return AudioError(
        f"{name}: cannot be decoded as audio{where} ({reason}). "
        "It is damaged, truncated or not WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus"
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


def _mended(file: soundfile.SoundFile, stream: BinaryIO, uncounted: bool) -> BinaryIO | None:
    """The same recording made to declare its length, where it does not and its end can be found."""
    if uncounted:
        return mp3.counted(stream)
    return None if file.frames else containers.piped_wav(stream)


def _check_header(file: soundfile.SoundFile, name: str) -> None:
    if file.format not in FORMATS:
        raise AudioError(
            f"{name}: is {file.format}, not WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus. Convert it"
        )
    check_rate(file.samplerate, name)
    check_channels(file.channels, name)
    if not file.frames:
        raise AudioError(f"{name}: holds no samples (zero length)")


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
