"""The files of a multipart body, read into memory as they come, and counted; nothing goes to disk."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from emospec.data.audio import printable
from emospec.serving.limits import Limits
from emospec.serving.refusals import RefusedError


@dataclass(frozen=True)
class Upload:
    """A file that was sent: its name, without folders and on one line, and its bytes."""

    name: str
    content: bytes


class _InMemory(MultiPartParser):
    spool_max_size = sys.maxsize


async def read_uploads(
    request: Request, field: str, limits: Limits, add: Callable[[int], None]
) -> list[Upload]:
    """The files of a field.

    Args:
        request: its body is read.
        field: others are refused.
        limits: of files.
        add: is told of each piece of the body, and refuses what is too much.

    Raises:
        RefusedError: there are none, too many, or the body is not multipart/form-data.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise RefusedError(
            "invalid", "the body is not multipart/form-data", f"send files in the field {field!r}"
        )

    begin = asyncio.get_running_loop().time()

    async def counted(timer: asyncio.Timeout) -> AsyncGenerator[bytes, None]:
        read = 0
        async for piece in request.stream():
            add(len(piece))
            read += len(piece)
            timer.reschedule(begin + limits.body_seconds + read / limits.slowest_bytes)
            yield piece

    try:
        async with asyncio.timeout(limits.body_seconds) as timer:
            parser = _InMemory(
                request.headers, counted(timer), max_files=limits.files, max_fields=0, max_part_size=0
            )
            form = await parser.parse()
    except TimeoutError as error:
        raise RefusedError("time_limit", "the body came too slowly") from error
    except ClientDisconnect as error:
        raise RefusedError("gone") from error
    except (MultiPartException, FormParserError, ValueError, KeyError) as error:
        raise RefusedError("invalid", f"the body cannot be read ({error})") from error
    try:
        found = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
        if not found or any(name != field for name, _ in found):
            raise RefusedError(
                "invalid", f"the body has no file in {field!r}, or others", f"send files as {field!r}"
            )
        return [Upload(_own_name(part.filename), await part.read()) for _, part in found]
    finally:
        await form.close()


def _own_name(sent: str | None) -> str:
    """The last part of a name; only ever said again, never opened."""
    name = PurePosixPath(PureWindowsPath(sent or "").name).name
    return printable(name)[:255] or "recording"
