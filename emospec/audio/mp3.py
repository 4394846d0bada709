"""MP3 streams that do not count their frames, made to: else libsndfile guesses how long they are.

It guesses from the first bit rate, and where the bit rate varies it may stop long before the end. After
ISO/IEC 11172-3, section 2.4.2.3, and 13818-3 for the low rates; the Xing frame as encoders write it.
"""

import os
import struct
from typing import BinaryIO

from emospec.audio.containers import tag_bytes
from emospec.audio.splices import spliced

_KBITS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SIDE_BYTES = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}  # MPEG 1, mono
_FRAMES_OF_ANOTHER = 3


def says_its_length(stream: BinaryIO) -> bool:
    """Whether the first frame of an MP3, after any ID3v2 tag, counts the frames."""
    frames, _ = _counts(stream)
    return frames != 0


def has_another_behind(stream: BinaryIO) -> bool:
    """Whether frames follow where an MP3 ends by what its first frame says of its bytes.

    Some writers do not count that first frame, so a single further frame is none of another recording.
    """
    _, size = _counts(stream)
    if not size:
        return False
    end = tag_bytes(stream) + size
    end += tag_bytes(stream, end)
    for _ in range(_FRAMES_OF_ANOTHER):
        frame = _frame_bytes(_at(stream, end))
        if not frame:
            return False
        end += frame
    return True


def counted(stream: BinaryIO) -> BinaryIO | None:
    """An MP3 with a first frame that counts the others; None where its frames cannot be followed to its end."""
    size, start = stream.seek(0, os.SEEK_END), tag_bytes(stream)
    place, frames = start, 0
    while frame := _frame_bytes(_at(stream, place)):
        place, frames = place + frame, frames + 1
    if not frames or place > size or not _is_end(_at(stream, place)):
        return None
    # A header like the first frame's, without a checksum, of a bit rate whose frame has room for the count.
    first = _at(stream, start)
    head = bytes([first[0], first[1] | 1, 0xC0 | first[2] & 0x0C, first[3]])
    side = _SIDE_BYTES[bool(head[1] & 8), head[3] >> 6 == 3]
    count = b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")
    counting = (head + bytes(side) + count).ljust(_frame_bytes(head), b"\0")
    return spliced(counting, stream, start, place)


def _counts(stream: BinaryIO) -> tuple[int | None, int]:
    """Frames and bytes that the first frame counts, each 0 where it does not; frames None where it is of another kind.

    A writer that was killed leaves zeros.
    """
    stream.seek(tag_bytes(stream))
    first = stream.read(64)
    place = max(first.find(word) for word in (b"Xing", b"Info"))
    if place < 0:
        return (None if b"VBRI" in first else 0), 0
    flags, *numbers = struct.unpack(">3I", first[place + 4 : place + 16].ljust(12, b"\0"))
    frames = numbers.pop(0) if flags & 1 else 0
    return frames, numbers[0] if flags & 2 else 0


def _at(stream: BinaryIO, place: int) -> bytes:
    stream.seek(place)
    return stream.read(4)


def _is_end(following: bytes) -> bool:
    """Whether nothing, a tag or padding follows the last frame."""
    return following[:3] in (b"", b"TAG", b"APE", b"\0\0\0")


def _frame_bytes(head: bytes) -> int:
    """Length of the layer III frame that begins with these four bytes; 0 where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, place = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version not in _HZ or rate == 3 or not 1 <= place <= 14:
        return 0
    one = version == 3
    return (144_000 if one else 72_000) * _KBITS[one][place - 1] // _HZ[version][rate] + (head[2] >> 1 & 1)
