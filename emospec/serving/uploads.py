"""The bodies of requests, read into memory and counted as they come; nothing goes to disk."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from emospec.audio.discovery import printable
from emospec.errors import did_you_mean
from emospec.serving.errors import ApiError
from emospec.serving.limits import Limits

FILE_FIELD = "file"
# `files` is the field's older name.
_FILE_FIELDS = (FILE_FIELD, "files")
# An hour of the finest timeline has some five million.
_TIMELINE_BYTES = 10_000_000


@dataclass(frozen=True)
class Upload:
    """A file that was sent: its name, without folders and on one line, and its bytes."""

    name: str
    content: bytes


class _FormError(MultiPartException):
    """A form that is refused: what is wrong with it, and what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


class _InMemoryParser(MultiPartParser):
    """A parser that refuses a field when its head has come, before its content."""

    spool_max_size = sys.maxsize
    parameters: Collection[str] = ()
    has_ended = False

    def on_end(self) -> None:
        """Note that the last boundary has come."""
        super().on_end()
        self.has_ended = True

    def on_headers_finished(self) -> None:
        """Check the name of a field, and whether it is a file."""
        super().on_headers_finished()
        name, is_file = self._current_part.field_name, self._current_part.file is not None
        if name in _FILE_FIELDS and not is_file:
            fix = f"with curl, write -F {FILE_FIELD}=@call.wav, with the @"
            raise _FormError(f"the field {name!r} holds text, no file", fix)
        if name in self.parameters:
            fix = f"put it into the address, as ?{name}=..."
            raise _FormError(f"the field {name!r} is a query parameter", fix)
        if name not in _FILE_FIELDS:
            hint = did_you_mean(name, [*_FILE_FIELDS, *self.parameters])
            raise _FormError(f"there is no field {name[:80]!r}{hint}", f"send files as {FILE_FIELD!r}")


async def read_uploads(
    request: Request, parameters: Collection[str], limits: Limits, add: Callable[[int], None]
) -> list[Upload]:
    """Return the files of a body in `FILE_FIELD`; ApiError for a body that is anything else.

    Args:
        request: its body is read.
        parameters: of the query, which a client may have put into the body by mistake.
        limits: of files and of time.
        add: is called with the size of each chunk of the body, and raises ApiError for one too many.
    """
    fix = f"send files in the field {FILE_FIELD!r}"
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError("invalid", "the body is not multipart/form-data", fix)
    began = asyncio.get_running_loop().time()

    async def counted(timer: asyncio.Timeout) -> AsyncGenerator[bytes, None]:
        read = 0
        async for chunk in request.stream():
            add(len(chunk))
            read += len(chunk)
            timer.reschedule(began + limits.body_seconds + read / limits.slowest_bytes)
            yield chunk
        # The parser would leave the file that the body ends in out, without an error.
        if read and not parser.has_ended:
            raise _FormError("the body is cut: its last boundary is missing", "send it again")

    with _body_errors():
        async with asyncio.timeout(limits.body_seconds) as timer:
            parser = _InMemoryParser(request.headers, counted(timer), max_files=limits.files, max_part_size=0)
            parser.parameters = parameters
            form = await parser.parse()
    try:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not files:
            raise ApiError("invalid", "the body has no file", fix)
        # The last part of a file's name is shown again, but never opened.
        paths = [PurePosixPath(PureWindowsPath(file.filename or "").name) for file in files]
        names = [printable(path.name)[:255] or "recording" for path in paths]
        return [Upload(name, await file.read()) for name, file in zip(names, files, strict=True)]
    finally:
        await form.close()


async def read_timeline(request: Request, add: Callable[[int], None], seconds: float) -> bytes:
    """Return the body of a request that sends a timeline; ApiError if it is too large, or too slow."""
    content = bytearray()
    with _body_errors():
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                add(len(chunk))
                content += chunk
                if len(content) > _TIMELINE_BYTES:
                    raise ApiError("too_large", f"the timeline is larger than {_TIMELINE_BYTES} bytes")
    return bytes(content)


@contextmanager
def _body_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise ApiError("time_limit", "the body came too slowly") from error
    except ClientDisconnect as error:
        raise ApiError("gone") from error
    except _FormError as error:
        raise ApiError("invalid", error.message, error.fix) from error
    except (MultiPartException, FormParserError, ValueError, KeyError) as error:
        raise ApiError("invalid", f"the body cannot be read ({error})") from error
