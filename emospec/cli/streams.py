"""The standard streams in every state: without a character, closed, full, or with no reader; and JSON on them.

A result that cannot be written is an error of one line. A message that cannot be written loses no result.
"""

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

from emospec.files import to_json

# The name of our error handler of codecs.
_ESCAPES = "emospec.escapes"


class _Unfailing(io.FileIO):
    """Standard error, for messages: ignores that it cannot be written."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


class _Closed(io.TextIOBase):
    """Standard output that was closed before the program began: raises OSError when it is written."""

    encoding = "utf-8"

    def write(self, text: str) -> NoReturn:
        raise OSError(errno.EBADF, "is closed. Direct it to a file or to /dev/null", "standard output")


def prepare_streams() -> None:
    """Replace or set up the standard streams, so that their state makes no verb fail."""
    codecs.register_error(_ESCAPES, escape)
    _occupy_closed()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for as long as the program runs
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPES)
    # A stream that something else has put in place, such as pytest's, stays.
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        file = io.BufferedWriter(_Unfailing(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(file, encoding, "backslashreplace", line_buffering=True)


def _occupy_closed() -> None:
    # The next file that is opened, such as a checkpoint, would take the number of a closed stream.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # `open` takes the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)


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
    """Return whether standard output has all characters of a text."""
    with suppress(UnicodeEncodeError, LookupError):
        text.encode(sys.stdout.encoding or "ascii")
        return True
    return False


def flush() -> None:
    """Write the rest of the output now; raise OSError where it cannot be written."""
    # Python itself would write it at its exit, when an error can no longer be printed in one line.
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def print_json(content: Any) -> None:
    """Print JSON on standard output, for machines."""
    print(to_json(content), end="")
