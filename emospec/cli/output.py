"""The standard streams as they may be found: short of a character, closed, full, or with nobody at the other end.

A result that cannot be written is an error of one line; a message that cannot be written is no reason to lose a result.
"""

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

_ESCAPES = "emospec.escapes"  # an error handler of codecs


class _Unfailing(io.FileIO):
    """A file whose failures to be written are passed over: for messages, not for results."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Closed(io.TextIOBase):
    """Standard output that was closed before the program began: to write into it is an error of one line."""

    encoding = "utf-8"  # which rich asks for

    def write(self, text: str) -> NoReturn:
        raise OSError(errno.EBADF, "is closed. Direct it to a file or to /dev/null", "standard output")


def prepare_streams() -> None:
    """Make standard input, output and error such that no verb fails for what they are."""
    codecs.register_error(_ESCAPES, escape)
    _occupy_closed()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for as long as the program runs
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPES)
    if sys.stderr is None or sys.stderr is sys.__stderr__:  # pytest's stays
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        file = io.BufferedWriter(_Unfailing(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(file, encoding, "backslashreplace", line_buffering=True)


def _occupy_closed() -> None:
    """Open the null device in place of closed streams: else the next file, such as a checkpoint, would take their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def escape(error: UnicodeError) -> tuple[str, int]:
    r"""Write characters that an encoding lacks as JSON has them, so that JSON stays JSON.

    >>> escape(UnicodeEncodeError("ascii", "aü😀", 1, 3, "not in range"))
    ('\\u00fc\\ud83d\\ude00', 3)
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)), error.end


def can_print(text: str) -> bool:
    """Whether standard output has all characters of a text."""
    with suppress(UnicodeEncodeError, LookupError):
        text.encode(sys.stdout.encoding or "ascii")
        return True
    return False


def flush() -> None:
    """Write what is left of the output: at the interpreter's exit nobody could say in a line that it cannot be."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
