"""The files of a multipart body, read into memory as they come, and counted; nothing goes to disk."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from emospec.audio.reader import printable
from emospec.errors import nearest
from emospec.serving.errors import ApiError
from emospec.serving.limits import Limits

FIELD = "file"
FIELDS = (FIELD, "files")  # the latter is its older name


@dataclass(frozen=True)
class Upload:
    """A file that was sent: its name, without folders and on one line, and its bytes."""

    name: str
    content: bytes


class _FormError(MultiPartException):
    """A form that is not taken: what is wrong with it, and what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class _InMemory(MultiPartParser):
    """Refuses a field when its head has come, before its content."""

    spool_max_size = sys.maxsize
    parameters: Collection[str] = ()
    has_ended = False

    def on_end(self) -> None:
        """Note that the last boundary has come."""
        super().on_end()
        self.has_ended = True

    def on_headers_finished(self) -> None:
        """Look at the name of a field, and whether it is a file."""
        super().on_headers_finished()
        name, is_file = self._current_part.field_name, self._current_part.file is not None
        if name in FIELDS and not is_file:
            raise _FormError(
                f"the field {name!r} holds text, no file",
                f"with curl, write -F {FIELD}=@call.wav, with the @",
            )
        if name in self.parameters:
            raise _FormError(
                f"the field {name!r} is a query parameter", f"put it into the address, as ?{name}=..."
            )
        if name not in FIELDS:
            near = nearest(name, [*FIELDS, *self.parameters])
            raise _FormError(f"there is no field {name[:80]!r}{near}", f"send files as {FIELD!r}")


async def read_uploads(
    request: Request, parameters: Collection[str], limits: Limits, add: Callable[[int], None]
) -> list[Upload]:
    """Read the files of a body, whose field is `FIELD`.

    Args:
        request: its body is read.
        parameters: of the query, that might stand in the body by mistake.
        limits: of files.
        add: is told of each piece of the body, and refuses what is too much.

    Raises:
        RefusedError: there are no files, too many, other fields, or the body is not multipart/form-data.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError("invalid", "the body is not multipart/form-data", f"send files in the field {FIELD!r}")

    begin = asyncio.get_running_loop().time()

    async def counted(timer: asyncio.Timeout) -> AsyncGenerator[bytes, None]:
        read = 0
        async for piece in request.stream():
            add(len(piece))
            read += len(piece)
            timer.reschedule(begin + limits.body_seconds + read / limits.slowest_bytes)
            yield piece
        if read and not parser.has_ended:  # the file that it ends in would be left out without a word
            raise _FormError("the body is cut: its last boundary is missing", "send it again")

    try:
        async with asyncio.timeout(limits.body_seconds) as timer:
            parser = _InMemory(request.headers, counted(timer), max_files=limits.files, max_part_size=0)
            parser.parameters = parameters
            form = await parser.parse()
    except TimeoutError as error:
        raise ApiError("time_limit", "the body came too slowly") from error
    except ClientDisconnect as error:
        raise ApiError("gone") from error
    except _FormError as error:
        raise ApiError("invalid", error.message, error.fix) from error
    except (MultiPartException, FormParserError, ValueError, KeyError) as error:
        raise ApiError("invalid", f"the body cannot be read ({error})") from error
    try:
        parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not parts:
            raise ApiError("invalid", "the body has no file", f"send files in the field {FIELD!r}")
        return [Upload(_own_name(part.filename), await part.read()) for part in parts]
    finally:
        await form.close()


def _own_name(sent: str | None) -> str:
    """The last part of a name; only ever said again, never opened."""
    name = PurePosixPath(PureWindowsPath(sent or "").name).name
    return printable(name)[:255] or "recording"
