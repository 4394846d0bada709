"""A stretch of a stream behind other first bytes, as a stream of its own, without a copy."""

import io
import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def spliced(head: bytes, stream: BinaryIO | None = None, start: int = 0, end: int = 0) -> BinaryIO:
    """A stretch of a stream behind other first bytes, without a copy of it.

    Args:
        head: the bytes to begin with.
        stream: what the others are read from, if any; no one else may use it meanwhile.
        start: where in the stream the others begin.
        end: where they end.
    """
    return io.BufferedReader(_Spliced(head, stream, start, end))


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
