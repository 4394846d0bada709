"""Whether all of a recording is there, and nothing after it: WAV and AIFF by `chunks`, others by their marks and lengths.

Reads headers and marks, decodes nothing.
"""

import os
import struct
from typing import BinaryIO

from emospec.audio.chunks import ANOTHER_BEHIND, check_samples
from emospec.errors import AudioError

_LONGEST_OGG_PAGE_BYTES = 65_307
_READ_BYTES = 2**20
# A FLAC's mark, and the head of its first block, which is the last or not (RFC 9639, sections 6 and 8.1).
_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_MOST_STREAMS = _MOST_CHUNKS = 1000  # bounds the search in a hostile file
_UNKNOWN_BYTES = 2**62  # and more: a length that its writer did not know
_UNKNOWN_AU_BYTES = 2**32 - 1


def check_whole(stream: BinaryIO, name: str) -> int:
    """Return the byte where the samples of a WAV or AIFF end; 0 of another kind.

    Raises:
        AudioError: the end of a WAV, AIFF or Ogg is missing (decoding tells it of FLAC and MP3), or another
            recording begins behind it: decoders end with the first.
    """
    if end := check_samples(stream, name):
        return end
    start, size = tag_bytes(stream), stream.seek(0, os.SEEK_END)
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
    return 0


def check_declared(stream: BinaryIO, name: str) -> None:
    """Refuse an AU, CAF or Wave64 that is shorter than it declares: ffmpeg decodes what is there without a word.

    Raises:
        AudioError: its end is missing.
    """
    end, size = _declared_end(stream), stream.seek(0, os.SEEK_END)
    if size < end < _UNKNOWN_BYTES:
        raise AudioError(f"{name}: is truncated: {size} of {end} bytes are there. Copy it again")


def tag_bytes(stream: BinaryIO, place: int = 0) -> int:
    """Length of the ID3v2 tag at a place, 0 without one."""
    stream.seek(place)
    head = stream.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _declared_end(stream: BinaryIO) -> int:
    """Return the byte where an AU, CAF or Wave64 says that its samples end, 0 where it does not."""
    stream.seek(0)
    head = stream.read(24)
    if head[:4] in (b".snd", b"dns."):
        start, size = struct.unpack(">4xII" if head[:4] == b".snd" else "<4xII", head[:12].ljust(12, b"\0"))
        return 0 if size == _UNKNOWN_AU_BYTES else int(start + size)
    if head[:4] == b"riff":  # its identifier takes 16 bytes, then the whole file's length follows
        return int.from_bytes(head[16:24], "little")
    if head[:4] != b"caff":
        return 0
    place = 8
    for _ in range(_MOST_CHUNKS):
        stream.seek(place)
        head = stream.read(12)
        size = int.from_bytes(head[4:], "big")  # of samples alone it may be unknown: -1
        place += 12 + size
        if len(head) < 12 or head[:4] == b"data" or place >= _UNKNOWN_BYTES:
            break
    return place if head[:4] == b"data" else 0


def _ogg_streams(stream: BinaryIO, place: int) -> set[bytes]:
    """The numbers of the streams that an Ogg, from a place on, begins with: of each the first page stands before all others."""
    streams: set[bytes] = set()
    for _ in range(_MOST_STREAMS):
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
