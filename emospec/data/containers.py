"""Whether all of a recording is there, and nothing after it: WAV and AIFF by `chunks`, Ogg and FLAC by their marks.

Reads headers and marks, decodes nothing.
"""

import os
from typing import BinaryIO

from emospec.data.chunks import ANOTHER_BEHIND, check_samples
from emospec.errors import AudioError

_LONGEST_OGG_PAGE_BYTES = 65_307
_READ_BYTES = 2**20
# A FLAC's mark, and the head of its first block, which is the last or not (RFC 9639, sections 6 and 8.1).
_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_MOST_STREAMS = 1000  # bounds the search in a hostile file


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


def tag_bytes(stream: BinaryIO, place: int = 0) -> int:
    """Length of the ID3v2 tag at a place, 0 without one."""
    stream.seek(place)
    head = stream.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


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
