"""Recordings of any kind, decoded by the program ffmpeg, which may read only the file that it is given.

The samples come through a pipe: nothing is written to disk.
"""

import io
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray

from emospec.errors import AudioError, LongAudioError

# Eleven days: no recording, but a file that makes ffmpeg go on for ever.
_LONGEST_SECONDS = 1e6
# Demuxers of one file each. Playlists and the like (hls, concat, dash, sdp) would open others.
_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,live_flv,loas,"
    "matroska,webm,mov,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,ogg,rm,shn,sox,tak,tta,voc,w64,wav,wv,xwma"
)
# Samples kept in memory; a longer recording is decoded twice, to be counted and to be read.
_HELD_BYTES = 64 * 2**20
_READ_BYTES = 2**20
_SAMPLE_BYTES = 4  # float32
_HEADER = struct.Struct("<HHI")  # format tag, channels, Hz
_MAX_ERROR_LENGTH = 200


def check_ffmpeg() -> None:
    """Raise AudioError if there is no ffmpeg on the PATH."""
    if shutil.which("ffmpeg") is None:
        raise AudioError(
            "ffmpeg is not on the PATH. Install it, or convert recordings elsewhere to WAV or FLAC and leave out --ffmpeg"
        )


class FfmpegFile:
    """The first audio stream of a recording, read from beginning to end, once.

    Attributes:
        samplerate: Hz.
        channels: of the stream.
        frames: samples of each channel; counted by decoding.
        format, subtype: as of `soundfile.SoundFile`, in whose place it is read.
    """

    format, subtype = "FFMPEG", "FLOAT"

    def __init__(self, source: IO[bytes], name: str, longest_seconds: float) -> None:
        self._source, self._name = source, name
        with self._decoding() as (samples, check_end):
            frame_bytes = self.channels * _SAMPLE_BYTES
            longest_seconds = min(longest_seconds, _LONGEST_SECONDS)
            held, size = io.BytesIO(), 0
            while block := samples.read(_READ_BYTES):
                size += len(block)
                if size > longest_seconds * self.samplerate * frame_bytes:
                    raise LongAudioError(
                        f"{name}: is longer than the {longest_seconds:g} s that are allowed. Cut it into shorter ones"
                    )
                if size <= _HELD_BYTES:
                    held.write(block)
            check_end()
        self.frames = size // frame_bytes
        if not self.frames:
            raise AudioError(f"{name}: holds no samples (zero length)")
        self._stack = ExitStack()
        held.seek(0)
        self._samples: IO[bytes] = held
        if size > _HELD_BYTES:
            self._samples, _ = self._stack.enter_context(self._decoding())

    def close(self) -> None:
        """Stop ffmpeg if it is still decoding."""
        self._stack.close()

    def seekable(self) -> bool:
        """Return False: it is read from its beginning."""
        return False

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> NDArray[np.float32]:
        """Return the next (frames, channels) samples, fewer at the end."""
        content = _read_exactly(self._samples, frames * self.channels * _SAMPLE_BYTES)
        whole = len(content) // (self.channels * _SAMPLE_BYTES) * self.channels
        return np.frombuffer(content, np.float32, whole).reshape(-1, self.channels)

    @contextmanager
    def _decoding(self) -> Iterator[tuple[IO[bytes], Callable[[], None]]]:
        """Yield a stream of the samples, and a function that raises ffmpeg's errors at its end; then stop ffmpeg."""
        with _in_memory() as errors:
            process = subprocess.Popen(
                _command(self._source.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=[self._source.fileno()],
            )
            samples: IO[bytes] = process.stdout  # type: ignore[assignment]  # it is a pipe
            check_end = partial(_check_end, process, errors, self._name)
            try:
                self._read_header(samples, check_end)
                yield samples, check_end
            finally:
                process.kill()
                samples.close()
                process.wait()

    def _read_header(self, samples: IO[bytes], check_end: Callable[[], None]) -> None:
        """Read a WAV's header up to its samples."""
        if len(_read_exactly(samples, 12)) < 12:
            check_end()
            raise AudioError(f"{self._name}: ffmpeg finds no sound in it")
        while len(head := _read_exactly(samples, 8)) == 8 and head[:4] != b"data":
            content = _read_exactly(samples, int.from_bytes(head[4:], "little"))
            if head[:4] == b"fmt ":
                _, self.channels, self.samplerate = _HEADER.unpack(content[: _HEADER.size])


def _check_end(process: "subprocess.Popen[bytes]", errors: IO[bytes], name: str) -> None:
    """Raise AudioError if ffmpeg complained: it goes on where a recording is damaged."""
    code = process.wait()
    errors.seek(0)
    lines = errors.read(2**16).decode("utf-8", "replace").splitlines()
    message = " ".join("".join(filter(str.isprintable, lines[0])).split()) if lines else ""
    # Drop ffmpeg's name for the file, or for the part of it that complains.
    if "/dev/fd/" in message:
        message = message.split("/dev/fd/")[-1].split(": ", 1)[-1]
    else:
        message = message.split("] ", 1)[-1]
    if code or message:
        reason = message[:_MAX_ERROR_LENGTH].rstrip(". ") or f"exit code {code}"
        raise AudioError(
            f"{name}: cannot be decoded by ffmpeg ({reason}). It is truncated, damaged or holds no sound"
        )


@contextmanager
def decoded_by_ffmpeg(stream: BinaryIO, name: str, longest_seconds: float) -> Iterator[FfmpegFile]:
    """Open a recording that ffmpeg decodes.

    Args:
        stream: its bytes, a file or in memory.
        name: of the recording, in errors.
        longest_seconds: decoding stops with an error beyond it.

    Raises:
        AudioError: there is no ffmpeg, or it finds no sound, or complains of damage.
        LongAudioError: the recording is too long.
    """
    check_ffmpeg()
    with ExitStack() as stack:
        source: IO[bytes] = stream
        if isinstance(stream, io.BytesIO):
            # ffmpeg must seek in some kinds, which a pipe cannot.
            source = stack.enter_context(_in_memory())
            source.write(stream.getbuffer())
            source.flush()
        file = FfmpegFile(source, name, longest_seconds)
        stack.callback(file.close)
        yield file


def _command(descriptor: int) -> list[str]:
    """Return the command: from a descriptor to a WAV of 32-bit floats on standard output."""
    source = f"file:/dev/fd/{descriptor}"
    reading = ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS, "-i", source]
    writing = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-c:a", "pcm_f32le", "-bitexact"]
    quiet = ["-nostdin", "-hide_banner", "-v", "error", "-threads", "1"]
    return ["ffmpeg", *quiet, *reading, *writing, "-f", "wav", "pipe:1"]


def _in_memory() -> IO[bytes]:
    """Return a file with a descriptor and without a name; in memory, where the system can."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("emospec"), "w+b")
    return tempfile.TemporaryFile()


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Return so many bytes, fewer at the end."""
    content = bytearray()
    while len(content) < size and (block := stream.read(size - len(content))):
        content += block
    return bytes(content)
