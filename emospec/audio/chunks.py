"""The chunks of a WAV or AIFF: where its samples lie, and headers that count too few, made to count all.

Reads headers, decodes nothing. A header may be older than its samples: a recorder that was killed, a pipe.
"""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from emospec.errors import AudioError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ANOTHER_BEHIND = (
    "another recording begins where it ends, and would not be decoded. Split them, or write them as one"
)
_MP3_TAG, _EXTENSIBLE_TAG = 0x0055, 0xFFFE
_RF64_UNKNOWN_BYTES = 2**62
_MAX_CHUNKS = 1000  # bounds the search in a hostile file
_READ_BYTES = 2**20
_MAX_NOTES_BYTES = 2**16
_BYTE_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
_SAMPLES = (b"data", b"SSND")
_RECORDINGS = (b"RIFF", b"RF64", b"RIFX", b"FORM", b"fLaC", b"OggS")
# fmt: off
_NOTES = (
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"inst", b"fact", b"PEAK", b"DISP", b"afsp",
)
# fmt: on
# MP3 tags that some programs put behind any recording.
_TAGS = (b"TAG", b"ID3", b"APETAGEX")
# Fewer bytes behind the samples are no chunk, and too short to be audible.
_MIN_BYTES_BEHIND = 8


@dataclass(frozen=True)
class SampleChunk:
    """The samples of a WAV or AIFF.

    Attributes:
        order: `<` or `>`, of the header's numbers.
        start: the byte where they begin.
        declared: how many bytes they are by the header.
        tag: the WAV format tag, such as 1 for PCM; 0 of an AIFF.
        long_size: the byte where an RF64 counts them, else 0.
    """

    order: str
    start: int
    declared: int
    tag: int
    long_size: int

    @property
    def is_unknown(self) -> bool:
        """Whether the writer did not know the length: it is near 2^31 or 2^32, or beyond 2^62."""
        return (
            0x7FFF_0000 <= self.declared <= 0x8000_0100
            or 0xFFFF_0000 <= self.declared <= 0xFFFF_FFFF
            or self.declared >= _RF64_UNKNOWN_BYTES
        )


def find_samples(stream: BinaryIO) -> SampleChunk | None:
    """Return the chunk of samples of a WAV or AIFF; None where it is neither, or holds none."""
    stream.seek(0)
    order = _BYTE_ORDERS.get(stream.read(4), "")
    tag = declared = long_size = 0
    for name, place, size in _chunks(stream, order, 12) if order else ():
        if name in _SAMPLES:
            return SampleChunk(order, place, declared if long_size else size, tag, long_size)
        if name == b"fmt ":
            tag = _format_tag(stream.read(min(size, 40)), order)
        # EBU Tech 3306: this chunk of an RF64 gives the samples' length in its bytes 8 to 16.
        if name == b"ds64":
            long_size, declared = place + 8, int.from_bytes(stream.read(16)[8:], "little")
    return None


def check_samples(stream: BinaryIO, name: str) -> int:
    """Return the byte where the samples of a WAV or AIFF end, 0 where it is neither; `name` is for errors.

    Where no chunk follows the declared samples, the header is older than they are: they go on to the end.

    Raises:
        AudioError: fewer are there than declared, or more in a second chunk, or another recording follows.
    """
    chunk, size = find_samples(stream), stream.seek(0, os.SEEK_END)
    if chunk is None:
        return 0
    if chunk.is_unknown:
        return size
    end = chunk.start + chunk.declared
    if end > size:
        raise AudioError(
            f"{name}: is truncated: {size - chunk.start} of {chunk.declared} bytes of samples are there. Copy it again"
        )
    # Some writers leave out the byte that makes a chunk even.
    for place in sorted({end, min(size, end + chunk.declared % 2)}, reverse=True):
        if (names := _names_behind(stream, chunk.order, place, size)) is None:
            continue
        if not names.isdisjoint(_RECORDINGS):
            raise AudioError(f"{name}: {ANOTHER_BEHIND}")
        if not names.isdisjoint(_SAMPLES):
            raise AudioError(
                f"{name}: its samples lie in two chunks or more, of which players read the first. Write it to a file again"
            )
        return end
    stream.seek(end)
    is_tagged = stream.read(8).startswith(_TAGS)
    if is_tagged or (chunk.declared > 0 and _is_zero(stream, end)):
        return end
    return _start_of_notes(stream, chunk.order, end, size)


def with_full_header(stream: BinaryIO, end: int) -> BinaryIO | None:
    """Return the same WAV or AIFF with a header that counts the samples up to a byte; None where it does already."""
    chunk = find_samples(stream)
    if chunk is None or end == chunk.start + chunk.declared:
        return None
    stream.seek(0)
    head = bytearray(stream.read(chunk.start))
    if chunk.long_size:
        head[chunk.long_size : chunk.long_size + 8] = struct.pack("<Q", end - chunk.start)
    # Given too large a size, libsndfile reads to the end. Given too small a one, it adds a block to GSM.
    size = 0xFFFF_FFFF if chunk.long_size else min(end - chunk.start, 0xFFFF_FFFF)
    head[-4:] = struct.pack(f"{chunk.order}I", size)
    return splice(bytes(head), stream, chunk.start, end)


def mp3_within(stream: BinaryIO, end: int) -> BinaryIO | None:
    """Return the MP3 that a WAV holds, which ends at a byte; None where it holds another format."""
    chunk = find_samples(stream)
    if chunk is None or chunk.tag != _MP3_TAG:
        return None
    return splice(b"", stream, chunk.start, end)


def splice(head: bytes, stream: BinaryIO | None = None, start: int = 0, end: int = 0) -> BinaryIO:
    """Return a stream of other first bytes and then a part of a stream, without a copy of it.

    Args:
        head: the bytes to begin with.
        stream: what the others are read from, if any; no one else may use it meanwhile.
        start, end: the part's first byte in the stream, and the byte behind its last.
    """
    return io.BufferedReader(_Splice(head, stream, start, end))


class _Splice(io.RawIOBase):
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
        # In a damaged header libsndfile seeks before the beginning. BytesIO raises then, which soundfile prints.
        self._place = max(0, offset + {os.SEEK_CUR: self._place, os.SEEK_END: self._size}.get(whence, 0))
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        content = self._head[self._place : self._place + len(view)]
        if not content and self._stream:
            self._stream.seek(self._shift + self._place)
            content = self._stream.read(max(0, min(len(view), self._size - self._place)))
        view[: len(content)] = content
        self._place += len(content)
        return len(content)


def _chunks(stream: BinaryIO, order: str, place: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, the byte where its content begins, and its length; the stream stands at its content."""
    for _ in range(_MAX_CHUNKS):
        stream.seek(place)
        head = stream.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack(f"{order}4sI", head)
        yield name, place + 8, size
        place += 8 + size + size % 2


def _names_behind(stream: BinaryIO, order: str, place: int, size: int) -> set[bytes] | None:
    """Return the names of the chunks from a byte to the end; None where something else stands there."""
    if size - place < _MIN_BYTES_BEHIND:
        return set()
    names: set[bytes] = set()
    for name, start, length in _chunks(stream, order, place):
        if name in _RECORDINGS:
            return names | {name}
        # A chunk of notes counts even where it is cut.
        if name in _NOTES:
            names.add(name)
            continue
        if not (name.isascii() and name.decode("ascii").isprintable()) or start + length > size + 1:
            # Padding may follow a chunk. Where the first is no chunk, none of it is.
            return names or None
        if length or name not in _SAMPLES:
            names.add(name)
    return names


def _start_of_notes(stream: BinaryIO, order: str, place: int, size: int) -> int:
    """Return the byte where chunks of notes begin that end a recording, else its size; none lies before `place`."""
    first = max(place, size - _MAX_NOTES_BYTES)
    stream.seek(first)
    tail = stream.read()
    at = tail.find(b"LIST")
    while at >= 0:
        if _names_behind(stream, order, first + at, size):
            return first + at
        at = tail.find(b"LIST", at + 1)
    return size


def _format_tag(content: bytes, order: str) -> int:
    """Return the format tag in a `fmt ` chunk: of the extensible kind it is how the sub-format begins."""
    if len(content) < 2:
        return 0
    (tag,) = struct.unpack(f"{order}H", content[:2])
    if tag == _EXTENSIBLE_TAG and len(content) >= 26:
        (tag,) = struct.unpack(f"{order}H", content[24:26])
    return int(tag)


def _is_zero(stream: BinaryIO, place: int) -> bool:
    """Whether nothing but zeros follows a byte."""
    stream.seek(place)
    return not any(any(block) for block in iter(lambda: stream.read(_READ_BYTES), b""))
