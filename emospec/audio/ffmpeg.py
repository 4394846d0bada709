"""Recordings of any kind, decoded by the program ffmpeg, which reads the one file that it is given.

Knows nothing of what is read without it. The samples come through a pipe: nothing is written to disk.
"""

import io
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, BinaryIO

import numpy as np
from numpy.typing import NDArray

from emospec.errors import AudioError, LongAudioError

PROGRAM = "ffmpeg"
_LONGEST_SECONDS = 1e6  # some eleven days: no recording, but a file that makes ffmpeg go on for ever
# Demuxers of one file each. Playlists and the like (hls, concat, dash, sdp) would open others.
_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,live_flv,loas,"
    "matroska,webm,mov,mp3,mpc,mpc8,mpeg,mpegts,nistsphere,ogg,rm,shn,sox,tak,tta,voc,w64,wav,wv,xwma"
)
_HELD_BYTES = 64 * 2**20  # of samples; a longer recording is decoded twice, to be counted and to be read
_READ_BYTES = 2**20
_SAMPLE_BYTES = 4  # float32
_HEADER = struct.Struct("<HHI")  # format tag, channels, Hz
_MOST_ERROR_SIGNS = 200


def check_ffmpeg() -> None:
    """Refuse to go on where there is no ffmpeg on the PATH."""
    if shutil.which(PROGRAM) is None:
        raise AudioError(
            "ffmpeg is not on the PATH. Install it, or convert recordings elsewhere to WAV or FLAC and leave out --ffmpeg"
        )


class FfmpegFile:
    """The first audio stream of a recording, read from beginning to end, once.

    Attributes:
        samplerate: Hz.
        channels: of the stream.
        frames: samples of each channel; counted by decoding.
        format, subtype: as of `soundfile.SoundFile`, whose part it plays.
    """

    format, subtype = "FFMPEG", "FLOAT"

    def __init__(self, source: IO[bytes], name: str, longest_seconds: float) -> None:
        self._source, self._name = source, name
        with self._decoding() as (samples, ended):
            frame_bytes = self.channels * _SAMPLE_BYTES
            most = min(longest_seconds, _LONGEST_SECONDS) * self.samplerate * frame_bytes
            held, size = io.BytesIO(), 0
            while piece := samples.read(_READ_BYTES):
                size += len(piece)
                if size > most:
                    raise LongAudioError(
                        f"{name}: is longer than the {min(longest_seconds, _LONGEST_SECONDS):g} s that are allowed. Cut it into shorter ones"
                    )
                if size <= _HELD_BYTES:
                    held.write(piece)
            ended()
        self.frames = size // frame_bytes
        if not self.frames:
            raise AudioError(f"{name}: holds no samples (zero length)")
        self._stack = ExitStack()
        held.seek(0)
        self._samples: IO[bytes] = held
        if size > _HELD_BYTES:
            self._samples, _ = self._stack.enter_context(self._decoding())

    def close(self) -> None:
        """End ffmpeg, where it is still decoding."""
        self._stack.close()

    def seekable(self) -> bool:
        """No: it is read from its beginning."""
        return False

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> NDArray[np.float32]:
        """Return the next (frames, channels) samples, fewer at the end."""
        content = _read_exactly(self._samples, frames * self.channels * _SAMPLE_BYTES)
        whole = len(content) // (self.channels * _SAMPLE_BYTES) * self.channels
        return np.frombuffer(content, np.float32, whole).reshape(-1, self.channels)

    @contextmanager
    def _decoding(self) -> Iterator[tuple[IO[bytes], "_Ended"]]:
        """The samples as they are decoded, and what to call at their end; ffmpeg is ended with the block."""
        with _in_memory() as errors:
            process = subprocess.Popen(
                _command(self._source.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=[self._source.fileno()],
            )
            samples: IO[bytes] = process.stdout  # type: ignore[assignment]  # it is a pipe
            ended = _Ended(process, errors, self._name)
            try:
                self._read_header(samples, ended)
                yield samples, ended
            finally:
                process.kill()
                samples.close()
                process.wait()

    def _read_header(self, samples: IO[bytes], ended: "_Ended") -> None:
        """Read a WAV's header up to its samples."""
        if len(_read_exactly(samples, 12)) < 12:
            ended()
            raise AudioError(f"{self._name}: ffmpeg finds no sound in it")
        while len(head := _read_exactly(samples, 8)) == 8 and head[:4] != b"data":
            content = _read_exactly(samples, int.from_bytes(head[4:], "little"))
            if head[:4] == b"fmt ":
                _, self.channels, self.samplerate = _HEADER.unpack(content[: _HEADER.size])


class _Ended:
    """Raises what ffmpeg complained of, once its samples have ended: it goes on where a recording is damaged."""

    def __init__(self, process: "subprocess.Popen[bytes]", errors: IO[bytes], name: str) -> None:
        self._process, self._errors, self._name = process, errors, name

    def __call__(self) -> None:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read(2**16).decode("utf-8", "replace").splitlines()
        said = " ".join("".join(filter(str.isprintable, lines[0])).split()) if lines else ""
        # Its own name for what it reads, and the part of it that speaks.
        said = (
            said.split("/dev/fd/")[-1].split(": ", 1)[-1] if "/dev/fd/" in said else said.split("] ", 1)[-1]
        )
        if code or said:
            reason = said[:_MOST_ERROR_SIGNS].rstrip(". ") or f"exit code {code}"
            raise AudioError(
                f"{self._name}: cannot be decoded by ffmpeg ({reason}). It is truncated, damaged or holds no sound"
            )


@contextmanager
def decoded_by_ffmpeg(stream: BinaryIO, name: str, longest_seconds: float) -> Iterator[FfmpegFile]:
    """A recording that ffmpeg decodes, while it is open.

    Args:
        stream: its bytes, a file or in memory.
        name: of the recording, in errors.
        longest_seconds: a longer one is refused, and not decoded any further.

    Raises:
        AudioError: there is no ffmpeg, or it finds no sound, or complains of damage.
        LongAudioError: the recording is too long.
    """
    check_ffmpeg()
    with ExitStack() as stack:
        source: IO[bytes] = stream
        if isinstance(stream, io.BytesIO):
            # ffmpeg needs to go back and forth in some kinds, which a pipe cannot.
            source = stack.enter_context(_in_memory())
            source.write(stream.getbuffer())
            source.flush()
        file = FfmpegFile(source, name, longest_seconds)
        stack.callback(file.close)
        yield file


def _command(descriptor: int) -> list[str]:
    """Return the command: from a descriptor to a WAV of 32-bit floats on standard output."""
    reading = [
        "-protocol_whitelist",
        "file",
        "-format_whitelist",
        _FORMATS,
        "-i",
        f"file:/dev/fd/{descriptor}",
    ]
    writing = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1", "-c:a", "pcm_f32le", "-bitexact"]
    quiet = ["-nostdin", "-hide_banner", "-v", "error", "-threads", "1"]
    return [PROGRAM, *quiet, *reading, *writing, "-f", "wav", "pipe:1"]


def _in_memory() -> IO[bytes]:
    """A file with a descriptor and without a name; in memory, where the system can."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("emospec"), "w+b")
    return tempfile.TemporaryFile()


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Return so many bytes, fewer at the end."""
    pieces = []
    while size and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
