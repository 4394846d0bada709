"""Whole files or none: every file is written under a temporary name and renamed. Also a folder's lock, and JSON."""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from emospec.errors import NO_ROOM, EmospecError, OutputError

_NO_RIGHT = "get the right to write there, or name another folder"
# Advice by the number of the system's error.
_REMEDIES = dict.fromkeys(NO_ROOM, "make room, or name another folder") | {
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "it is read-only there, so name another folder",
}


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, a kill or a power cut finds the old one or the new one, whole.

    A pipe is written into.

    Raises:
        OutputError: there is no room for it, no right to write it, or no such folder.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    with output_errors(path):
        # A pipe or a device such as /dev/stdout cannot be replaced.
        if path.exists() and not (path.is_file() or path.is_dir()):
            path.write_bytes(content)
            return
        try:
            with open(part, "wb") as file:
                file.write(content)
            fsync_and_rename(part, target)
        finally:
            # The file system may have become read-only.
            with suppress(OSError):
                part.unlink(missing_ok=True)


def fsync_and_rename(part: Path, path: Path) -> None:
    """Rename a finished file once the disk has its content, so that a power cut does not leave an empty one."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Raise the system's errors while `path` is written as an OutputError that names it."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "name another folder")
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}). What was finished is kept: {remedy}"
        ) from error


@contextmanager
def folder_lock(folder: Path, error: EmospecError, wait_seconds: float = 0.0) -> Iterator[None]:
    """Lock a folder against other calls, such as the last one by cron, that would write into it.

    Args:
        folder: one that exists.
        error: raised where another call holds the lock.
        wait_seconds: how long to wait for that call.
    """
    deadline = time.monotonic() + wait_seconds
    while (descriptor := _lock(folder)) is None:
        if time.monotonic() >= deadline:
            raise error
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Return the descriptor of a locked folder; None where another call has it, or has just replaced it."""
    import fcntl  # Windows has none, and a model in use locks nothing

    with suppress(FileNotFoundError), ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        # Some file systems have no locks.
        except OSError:
            pass
        if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            stack.pop_all()
            return descriptor
    return None


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON as `write_bytes` does."""
    write_text(path, to_json(content))


def to_json(content: Any) -> str:
    """Return indented JSON. JSON has no NaN: it becomes null."""
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
    """Return a file's name as text for a table, with the bytes that are no UTF-8 escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
