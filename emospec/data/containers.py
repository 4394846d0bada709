"""How long a WAV, AIFF or Ogg says it is, and whether all of it is there.

Reads headers and marks, decodes nothing. A header written before there were samples (a pipe) is made to declare them.
"""

import io
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

from emospec.errors import AudioError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_RF64_UNKNOWN_BYTES = 2**62
_LONGEST_OGG_PAGE_BYTES = 65_307
_READ_BYTES = 2**20
# A FLAC's mark, and the head of its first block, which is the last or not (RFC 9639, sections 6 and 8.1).
_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
ANOTHER_BEHIND = (
    "another recording begins where it ends, and would not be heard. Split them, or write them as one"
)
_MOST_CHUNKS = 1000  # before the samples; bounds the search in a hostile file


def spliced(head: bytes, stream: BinaryIO | None = None, start: int = 0, end: int = 0) -> BinaryIO:
    """A stretch of a stream behind other first bytes, without a copy of it.

    Args:
        head: the bytes to begin with.
        stream: what the others are read from, if any; no one else may use it meanwhile.
        start: where in the stream the others begin.
        end: where they end.
    """
    return io.BufferedReader(_Spliced(head, stream, start, end))


def check_whole(stream: BinaryIO, name: str) -> None:
    """Refuse a WAV, AIFF or Ogg whose end is missing; decoding tells it of FLAC and MP3.

    And an Ogg or FLAC behind which another begins: decoders end with the first.
    """
    size = stream.seek(0, os.SEEK_END)
    if chunk := _samples_chunk(stream):
        declared, found = chunk[1], size - chunk[0]
        if found < declared and not _is_unknown(declared):
            raise AudioError(
                f"{name}: is truncated: {found} of {declared} bytes of samples are there. Copy it again"
            )
    start = tag_bytes(stream)
    stream.seek(start)
    kind = stream.read(4)
    if kind == b"fLaC" and _holds(stream, _FLAC_STARTS):
        raise AudioError(f"{name}: {ANOTHER_BEHIND}")
    if kind == b"OggS":
        streams = _ogg_streams(stream, start)
        stream.seek(max(0, size - 2 * _LONGEST_OGG_PAGE_BYTES))
        tail = stream.read()
        # RFC 3533: flags at byte 5, of which 4 marks the last page; segments counted at 26, their lengths at 27.
        page = tail[tail.rfind(b"OggS") :].ljust(27, b"\0")
        if not page[5] & 4 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
            raise AudioError(f"{name}: is truncated: the stream ends before its last page. Copy it again")
        if page[14:18] not in streams:
            raise AudioError(f"{name}: {ANOTHER_BEHIND}")


def tag_bytes(stream: BinaryIO, place: int = 0) -> int:
    """Length of the ID3v2 tag at a place, 0 without one."""
    stream.seek(place)
    head = stream.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def piped_wav(stream: BinaryIO) -> BinaryIO | None:
    """A WAV whose header was written before there were samples, made to declare those that follow it."""
    chunk = _samples_chunk(stream)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(chunk[0] if chunk else 0)
    if not chunk or chunk[1] or head[:4] != b"RIFF" or len(head) == size:
        return None
    # Else what follows is another chunk, of a WAV that is truly empty.
    riff_bytes = int.from_bytes(head[4:8], "little")
    if not (riff_bytes + 8 <= len(head) or _is_unknown(riff_bytes)):
        return None
    return spliced(head[:-4] + b"\xff\xff\xff\xff", stream, len(head), size)


def _ogg_streams(stream: BinaryIO, place: int) -> set[bytes]:
    """The numbers of the streams that an Ogg, from a place on, begins with: of each the first page stands before all others."""
    streams: set[bytes] = set()
    for _ in range(_MOST_CHUNKS):
        stream.seek(place)
        page = stream.read(27 + 255)
        if len(page) < 27 or page[:4] != b"OggS" or not page[5] & 2:
            break
        streams.add(page[14:18])
        place += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return streams


def _holds(stream: BinaryIO, words: tuple[bytes, ...]) -> bool:
    """Whether one of some words of equal length stands in what follows."""
    before = b""
    while piece := stream.read(_READ_BYTES):
        joined = before + piece
        if any(word in joined for word in words):
            return True
        before = joined[1 - len(words[0]) :]
    return False


def _is_unknown(declared_bytes: int) -> bool:
    """Whether a length is what writers put that do not know it: near 2^31 or 2^32, none at all in 64 bits."""
    return (
        0x7FFF_0000 <= declared_bytes <= 0x8000_0100
        or 0xFFFF_0000 <= declared_bytes <= 0xFFFF_FFFF
        or declared_bytes >= _RF64_UNKNOWN_BYTES
    )


def _samples_chunk(stream: BinaryIO) -> tuple[int, int] | None:
    """Where the samples of a WAV or AIFF begin, and how many bytes they are by the header."""
    stream.seek(0)
    order = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}.get(stream.read(4))
    stream.seek(12)
    long_size = None
    for _ in range(_MOST_CHUNKS if order else 0):
        head = stream.read(8)
        if len(head) < 8:
            break
        name, size = struct.unpack(f"{order}4sI", head)
        place = stream.tell()
        if name in (b"data", b"SSND"):
            return place, size if long_size is None else long_size
        # EBU Tech 3306: of an RF64, this chunk gives the samples' length in its bytes 8 to 16.
        if name == b"ds64":
            long_size = int.from_bytes(stream.read(16)[8:], "little")
        stream.seek(place + size + size % 2)
    return None


class _Spliced(io.RawIOBase):
    def __init__(self, head: bytes, stream: BinaryIO | None, start: int, end: int) -> None:
        self._head, self._stream = head, stream
        self._shift = start - len(head)
        self._size = len(head) + end - start
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        # Before the beginning, libsndfile seeks in a damaged header. BytesIO raises then, which soundfile prints.
        self._place = max(0, offset + {os.SEEK_CUR: self._place, os.SEEK_END: self._size}.get(whence, 0))
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        part = self._head[self._place : self._place + len(view)]
        if not part and self._stream:
            self._stream.seek(self._shift + self._place)
            part = self._stream.read(max(0, min(len(view), self._size - self._place)))
        view[: len(part)] = part
        self._place += len(part)
        return len(part)
