"""Whether a recording is complete, and the only one in its file; MP3 streams that do not count their frames are repaired.

Reads headers and marks, decodes nothing. WAV and AIFF are read by `chunks`.
"""

import os
import struct
from typing import BinaryIO

from emospec.audio.chunks import ANOTHER_BEHIND, check_samples, splice
from emospec.audio.kinds import id3_bytes
from emospec.errors import AudioError

_LONGEST_OGG_PAGE_BYTES = 65_307
_READ_BYTES = 2**20
# A FLAC's mark, and the head of its first block, which is the last or not (RFC 9639, sections 6 and 8.1).
_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_MAX_STREAMS = _MAX_CHUNKS = 1000  # bounds the search in a hostile file
_UNKNOWN_BYTES = 2**62  # and more: a length that its writer did not know
_UNKNOWN_AU_BYTES = 2**32 - 1
# MPEG layer III, by ISO/IEC 11172-3, section 2.4.2.3, and 13818-3 for MPEG 2 and 2.5.
_MPEG_1_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_2_KBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
# Bytes of side information, by (MPEG 1, mono).
_SIDE_BYTES = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
# Some writers do not count an MP3's first frame, so a single further frame is no other recording.
_FRAMES_OF_ANOTHER = 3


def check_whole(stream: BinaryIO, name: str) -> int:
    """Return the byte where the samples of a WAV or AIFF end; 0 of another kind.

    Raises:
        AudioError: the end of a WAV, AIFF or Ogg is missing (of FLAC and MP3 the decoder finds it), or another
            recording begins behind it: decoders end with the first.
    """
    if end := check_samples(stream, name):
        return end
    start, size = tag_bytes(stream), stream.seek(0, os.SEEK_END)
    stream.seek(start)
    mark = stream.read(4)
    if mark == b"fLaC" and _contains(stream, _FLAC_STARTS):
        raise AudioError(f"{name}: {ANOTHER_BEHIND}")
    if mark == b"OggS":
        streams = _ogg_streams(stream, start)
        stream.seek(max(0, size - 2 * _LONGEST_OGG_PAGE_BYTES))
        tail = stream.read()
        # RFC 3533: of the flags at byte 5, 4 marks the last page; bytes 14 to 18 number the stream.
        page = tail[tail.rfind(b"OggS") :].ljust(27, b"\0")
        if not page[5] & 4 or len(page) < _ogg_page_bytes(page):
            raise AudioError(f"{name}: is truncated: the stream ends before its last page. Copy it again")
        if page[14:18] not in streams:
            raise AudioError(f"{name}: {ANOTHER_BEHIND}")
    return 0


def check_declared(stream: BinaryIO, name: str) -> None:
    """Raise AudioError if an AU, CAF or Wave64 is shorter than it declares, of which ffmpeg does not complain."""
    end, size = _declared_end(stream), stream.seek(0, os.SEEK_END)
    if size < end < _UNKNOWN_BYTES:
        raise AudioError(f"{name}: is truncated: {size} of {end} bytes are there. Copy it again")


def tag_bytes(stream: BinaryIO, place: int = 0) -> int:
    """Return the length of the ID3v2 tag at a place, 0 without one."""
    stream.seek(place)
    return id3_bytes(stream.read(10))


def mp3_is_counted(stream: BinaryIO) -> bool:
    """Whether the first frame of an MP3, after any ID3v2 tag, counts the frames."""
    return _mp3_counts(stream)[0] != 0


def mp3_has_another_behind(stream: BinaryIO) -> bool:
    """Whether frames follow where an MP3 ends by the number of bytes in its first frame."""
    _, size = _mp3_counts(stream)
    if not size:
        return False
    end = tag_bytes(stream) + size
    end += tag_bytes(stream, end)
    for _ in range(_FRAMES_OF_ANOTHER):
        frame = _mp3_frame_bytes(_four_bytes(stream, end))
        if not frame:
            return False
        end += frame
    return True


def counted_mp3(stream: BinaryIO) -> BinaryIO | None:
    """Return an MP3 with a first frame that counts the others; None where its frames cannot be followed to its end.

    Without one, libsndfile guesses the length from the first bit rate. Where the bit rate varies, it may stop long
    before the end.
    """
    size, start = stream.seek(0, os.SEEK_END), tag_bytes(stream)
    place, frames = start, 0
    while frame := _mp3_frame_bytes(_four_bytes(stream, place)):
        place, frames = place + frame, frames + 1
    # Nothing, a tag or padding may follow the last frame.
    ends = _four_bytes(stream, place)[:3] in (b"", b"TAG", b"APE", b"\0\0\0")
    if not frames or place > size or not ends:
        return None
    # A header like the first frame's, without a checksum, of a bit rate whose frame has room for the count.
    first = _four_bytes(stream, start)
    head = bytes([first[0], first[1] | 1, 0xC0 | first[2] & 0x0C, first[3]])
    side = _SIDE_BYTES[bool(head[1] & 8), head[3] >> 6 == 3]
    # The Xing frame, as encoders write it.
    count = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    return splice((head + bytes(side) + count).ljust(_mp3_frame_bytes(head), b"\0"), stream, start, place)


def _mp3_counts(stream: BinaryIO) -> tuple[int | None, int]:
    """Return the numbers of frames and of bytes in an MP3's first frame, each 0 where it does not count them.

    The frames are None where a VBRI frame counts. A writer that was killed leaves zeros.
    """
    stream.seek(tag_bytes(stream))
    first = stream.read(64)
    place = max(first.find(word) for word in (b"Xing", b"Info"))
    if place < 0:
        return (None if b"VBRI" in first else 0), 0
    flags, *numbers = struct.unpack(">3I", first[place + 4 : place + 16].ljust(12, b"\0"))
    frames = numbers.pop(0) if flags & 1 else 0
    return frames, numbers[0] if flags & 2 else 0


def _mp3_frame_bytes(head: bytes) -> int:
    """Return the length of the layer III frame that begins with these four bytes; 0 where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bitrate = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version not in _MPEG_HZ or rate == 3 or not 1 <= bitrate <= 14:
        return 0
    factor, kbits = (144_000, _MPEG_1_KBITS) if version == 3 else (72_000, _MPEG_2_KBITS)
    return factor * kbits[bitrate - 1] // _MPEG_HZ[version][rate] + (head[2] >> 1 & 1)


def _four_bytes(stream: BinaryIO, place: int) -> bytes:
    stream.seek(place)
    return stream.read(4)


def _declared_end(stream: BinaryIO) -> int:
    """Return the byte where the samples of an AU, CAF or Wave64 end by its header, 0 where it does not say."""
    stream.seek(0)
    head = stream.read(24)
    if head[:4] in (b".snd", b"dns."):
        start, size = struct.unpack(">4xII" if head[:4] == b".snd" else "<4xII", head[:12].ljust(12, b"\0"))
        return 0 if size == _UNKNOWN_AU_BYTES else int(start + size)
    # A Wave64's identifier takes 16 bytes, then the whole file's length follows.
    if head[:4] == b"riff":
        return int.from_bytes(head[16:24], "little")
    if head[:4] != b"caff":
        return 0
    place = 8
    for _ in range(_MAX_CHUNKS):
        stream.seek(place)
        head = stream.read(12)
        # The size of the samples alone may be unknown: -1.
        size = int.from_bytes(head[4:], "big")
        place += 12 + size
        if len(head) < 12 or head[:4] == b"data" or place >= _UNKNOWN_BYTES:
            break
    return place if head[:4] == b"data" else 0


def _ogg_streams(stream: BinaryIO, place: int) -> set[bytes]:
    """Return the numbers of an Ogg's streams: each one's first page stands before all others."""
    streams: set[bytes] = set()
    for _ in range(_MAX_STREAMS):
        stream.seek(place)
        page = stream.read(27 + 255)
        if len(page) < 27 or page[:4] != b"OggS" or not page[5] & 2:
            break
        streams.add(page[14:18])
        place += _ogg_page_bytes(page)
    return streams


def _ogg_page_bytes(page: bytes) -> int:
    """Return an Ogg page's length. RFC 3533: byte 26 counts its segments, whose lengths follow."""
    return 27 + page[26] + sum(page[27 : 27 + page[26]])


def _contains(stream: BinaryIO, words: tuple[bytes, ...]) -> bool:
    """Whether one of some words of equal length stands in the rest of a stream."""
    before = b""
    while block := stream.read(_READ_BYTES):
        joined = before + block
        if any(word in joined for word in words):
            return True
        before = joined[1 - len(words[0]) :]
    return False
