"""Where the samples of a WAV or AIFF lie, by its chunks; headers that count too few are made to count all.

Reads headers, decodes nothing. A header may be older than its samples: a recorder that was killed, a pipe.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from emospec.audio.splices import spliced
from emospec.errors import AudioError

MP3_TAG = 0x0055
ANOTHER_BEHIND = (
    "another recording begins where it ends, and would not be heard. Split them, or write them as one"
)
_EXTENSIBLE_TAG = 0xFFFE
_RF64_UNKNOWN_BYTES = 2**62
_MOST_CHUNKS = 1000  # bounds the search in a hostile file
_READ_BYTES = 2**20
_MOST_NOTES_BYTES = 2**16
_ORDERS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}
_SAMPLES = (b"data", b"SSND")
_RECORDINGS = (b"RIFF", b"RF64", b"RIFX", b"FORM", b"fLaC", b"OggS")
_NOTES = (
    b"LIST",
    b"id3 ",
    b"ID3 ",
    b"bext",
    b"iXML",
    b"cue ",
    b"smpl",
    b"inst",
    b"fact",
    b"PEAK",
    b"DISP",
    b"afsp",
)
_TAGS = (b"TAG", b"ID3", b"APETAGEX")  # tags of MP3, that some programs put behind any recording
_LEAST_BYTES = 8  # behind the samples: fewer are no chunk, and less sound than anybody hears


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
        """Whether the length is one that writers put who do not know it: near 2^31 or 2^32, or of 64 bits none at all."""
        return (
            0x7FFF_0000 <= self.declared <= 0x8000_0100
            or 0xFFFF_0000 <= self.declared <= 0xFFFF_FFFF
            or self.declared >= _RF64_UNKNOWN_BYTES
        )


def find_samples(stream: BinaryIO) -> SampleChunk | None:
    """Return the chunk of samples of a WAV or AIFF; None where it is neither, or holds none."""
    stream.seek(0)
    order = _ORDERS.get(stream.read(4), "")
    tag = declared = long_size = 0
    for name, place, size in _chunks(stream, order, 12) if order else ():
        if name in _SAMPLES:
            return SampleChunk(order, place, declared if long_size else size, tag, long_size)
        if name == b"fmt ":
            tag = _format_tag(stream.read(min(size, 40)), order)
        # EBU Tech 3306: of an RF64, this chunk gives the samples' length in its bytes 8 to 16.
        if name == b"ds64":
            long_size, declared = place + 8, int.from_bytes(stream.read(16)[8:], "little")
    return None


def check_samples(stream: BinaryIO, name: str) -> int:
    """Return the byte where the samples of a WAV or AIFF end, 0 where it is neither; `name` is for errors.

    Where what follows the declared samples is no chunk, the header is older than they are: they go on to the end.

    Raises:
        AudioError: fewer are there than declared, or more in a second chunk, or another recording follows.
    """
    chunk, size = find_samples(stream), stream.seek(0, os.SEEK_END)
    if chunk is None:
        return 0
    end = chunk.start + chunk.declared
    if chunk.is_unknown:
        return size
    if end > size:
        raise AudioError(
            f"{name}: is truncated: {size - chunk.start} of {chunk.declared} bytes of samples are there. Copy it again"
        )
    # The byte that makes a chunk even is left out by some writers.
    for place in sorted({end, min(size, end + chunk.declared % 2)}, reverse=True):
        if (names := _names_behind(stream, chunk.order, place, size)) is not None:
            if any(behind in _RECORDINGS for behind in names):
                raise AudioError(f"{name}: {ANOTHER_BEHIND}")
            if any(behind in _SAMPLES for behind in names):
                raise AudioError(
                    f"{name}: its samples lie in two chunks or more, of which players read the first. Write it to a file again"
                )
            return end
    is_padding = chunk.declared > 0 and _is_zero(stream, end)
    if is_padding or _starts_with(stream, end, _TAGS):
        return end
    return _start_of_notes(stream, chunk.order, end, size)


def counting_all(stream: BinaryIO, end: int) -> BinaryIO | None:
    """Return the same WAV or AIFF with a header that counts the samples up to a byte; None where it does already."""
    chunk = find_samples(stream)
    if chunk is None or end == chunk.start + chunk.declared:
        return None
    stream.seek(0)
    head = bytearray(stream.read(chunk.start))
    if chunk.long_size:
        head[chunk.long_size : chunk.long_size + 8] = struct.pack("<Q", end - chunk.start)
    # Of more, libsndfile reads to the end. Never of less: it would add a block to GSM.
    size = 0xFFFF_FFFF if chunk.long_size else min(end - chunk.start, 0xFFFF_FFFF)
    head[-4:] = struct.pack(f"{chunk.order}I", size)
    return spliced(bytes(head), stream, chunk.start, end)


def mp3_within(stream: BinaryIO, end: int) -> BinaryIO | None:
    """Return the MP3 that a WAV holds, which ends at a byte; None where it holds another format."""
    chunk = find_samples(stream)
    if chunk is None or chunk.tag != MP3_TAG:
        return None
    return spliced(b"", stream, chunk.start, end)


def _chunks(stream: BinaryIO, order: str, place: int) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's name, the byte where its content begins, and its length; the stream stands at its content."""
    for _ in range(_MOST_CHUNKS):
        stream.seek(place)
        head = stream.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack(f"{order}4sI", head)
        yield name, place + 8, size
        place += 8 + size + size % 2


def _names_behind(stream: BinaryIO, order: str, place: int, size: int) -> set[bytes] | None:
    """The names of the chunks from a byte to the end; None where what stands there is something else."""
    if size - place < _LEAST_BYTES:
        return set()
    names: set[bytes] = set()
    for name, start, length in _chunks(stream, order, place):
        if name in _RECORDINGS:
            return names | {name}
        if name in _NOTES:  # even where it is cut
            names.add(name)
            continue
        if not (name.isascii() and name.decode("ascii").isprintable()) or start + length > size + 1:
            # Padding may follow a chunk; a first one that is none makes all of it something else.
            return names or None
        if length or name not in _SAMPLES:
            names.add(name)
    return names


def _start_of_notes(stream: BinaryIO, order: str, place: int, size: int) -> int:
    """Return the byte where chunks of notes begin that end a recording, else its size; none lies before `place`."""
    first = max(place, size - _MOST_NOTES_BYTES)
    stream.seek(first)
    tail = stream.read()
    at = tail.find(b"LIST")
    while at >= 0:
        if _names_behind(stream, order, first + at, size):
            return first + at
        at = tail.find(b"LIST", at + 1)
    return size


def _format_tag(content: bytes, order: str) -> int:
    """The format tag in a `fmt ` chunk: of the extensible kind it is how the sub-format begins."""
    if len(content) < 2:
        return 0
    (tag,) = struct.unpack(f"{order}H", content[:2])
    if tag == _EXTENSIBLE_TAG and len(content) >= 26:
        (tag,) = struct.unpack(f"{order}H", content[24:26])
    return int(tag)


def _is_zero(stream: BinaryIO, place: int) -> bool:
    """Whether nothing but zeros follows a byte."""
    stream.seek(place)
    return not any(any(piece) for piece in iter(lambda: stream.read(_READ_BYTES), b""))


def _starts_with(stream: BinaryIO, place: int, words: tuple[bytes, ...]) -> bool:
    stream.seek(place)
    return stream.read(8).startswith(words)
