"""Whole files or none: every file is written under a temporary name and renamed; a pipe is written into."""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from emospec.errors import NO_ROOM, EmospecError, OutputError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a kill or a power cut at any moment, leaves the old one or the new one.

    Raises:
        OutputError: there is no room for it, no right to write it, or no such folder.
    """
    place = Path(os.path.realpath(path))  # a link stays one
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    with output_errors(path):
        if path.exists() and not (path.is_file() or path.is_dir()):  # such as /dev/stdout, a pipe
            path.write_bytes(content)
            return
        try:
            with open(part, "wb") as file:
                file.write(content)
            fsync_and_rename(part, place)
        finally:
            with suppress(OSError):  # on a file system that has become read-only
                part.unlink(missing_ok=True)


def fsync_and_rename(part: Path, path: Path) -> None:
    """Rename a finished file to its name, once the disk has it: a power cut does not leave an empty one there."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


_REMEDIES = dict.fromkeys(NO_ROOM, "make room, or name another folder") | {
    errno.EACCES: "get the right to write there, or name another folder",
    errno.EPERM: "get the right to write there, or name another folder",
    errno.EROFS: "it is read-only there, so name another folder",
}
"""Advice by the number of the system's error."""


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """What the system says while `path` is written, as an OutputError that names it."""
    try:
        yield
    except OSError as error:
        to_do = _REMEDIES.get(error.errno or 0, "name another folder")
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}). What was finished is kept: {to_do}"
        ) from error


@contextmanager
def folder_lock(folder: Path, otherwise: EmospecError, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a folder, so that no other call, such as cron's last, writes into it meanwhile.

    Args:
        folder: one that exists.
        otherwise: raised where another call holds it.
        wait_seconds: how long to wait for that call.
    """
    last = time.monotonic() + wait_seconds
    while (held := _held(folder)) is None:
        if time.monotonic() >= last:
            raise otherwise
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(held)


def _held(folder: Path) -> int | None:
    """An open folder that is ours alone; None where another call has it, or has just taken it away."""
    import fcntl  # which Windows has not; a model at work holds nothing

    with suppress(FileNotFoundError), ExitStack() as stack:
        held = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, held)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except OSError:  # a file system that knows no locks
            pass
        if os.path.samestat(os.fstat(held), os.stat(folder)):
            stack.pop_all()
            return held
    return None


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_bytes` of `to_json`."""
    write_text(path, to_json(content))


def to_json(content: Any) -> str:
    """Indented JSON; NaN, which JSON has not, becomes null."""
    return json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return value


def escape_undecodable(name: str) -> str:
    """A file's name as a cell of a table can hold it: only what is no UTF-8 is escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
