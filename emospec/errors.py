"""Every error that emospec raises on purpose.

    EmospecError            the message is one line: what is wrong, what was found, what to do
    ├── AudioError          a recording cannot be used (unreadable, empty, not finite, ...)
    │   └── LongAudioError  it is longer than the caller allows
    ├── CorpusError         a corpus, manifest or utterance list does not hold what it should
    ├── ProtocolError       a split cannot be made, or would not be what it claims
    ├── ConfigError         a preset or setting is unknown or out of range
    ├── PackError           a decoded corpus on disk is missing, damaged or out of date
    ├── TrainingError       training cannot start, go on or be resumed
    ├── RunError            a run folder is missing, incomplete or unreadable
    ├── ExportError         a model cannot be written as a graph that gives the same answers
    ├── OutputError         a result cannot be written, for want of room or rights
    ├── ScoringError        many recordings cannot be scored at once as asked
    ├── WorkersError        processes or a cluster cannot be had, or were lost
    ├── ModelError          a model folder is missing, damaged, or cannot do what is asked
    ├── TimelineError       what is heard over time cannot be made, or not written as asked
    └── ServingError        the server cannot start, or refuses a request

The command line prints the message and exits with 2.
"""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CANNOT_WRITE = (*NO_ROOM, errno.EBADF, errno.EIO)  # of a stream, which has no name


class EmospecError(Exception):
    """The root: catch this to catch everything that emospec raises on purpose."""


class AudioError(EmospecError):
    """A recording cannot be used."""


class LongAudioError(AudioError):
    """A recording is longer than the caller allows."""


class CorpusError(EmospecError):
    """A corpus, manifest or utterance list does not hold what it should."""


class ProtocolError(EmospecError):
    """A split cannot be made, or would not be what it claims."""


class ConfigError(EmospecError):
    """A preset or setting is unknown or out of range."""


class PackError(EmospecError):
    """A decoded corpus on disk is missing, damaged or out of date."""


class TrainingError(EmospecError):
    """Training cannot start, go on or be resumed."""


class RunError(EmospecError):
    """A run folder is missing, incomplete or unreadable."""


class ExportError(EmospecError):
    """A model cannot be written as a graph that gives the same answers."""


class OutputError(EmospecError):
    """A result cannot be written, for want of room or rights."""


class ScoringError(EmospecError):
    """Many recordings cannot be scored at once as asked."""


class WorkersError(EmospecError):
    """Processes or a cluster cannot be had, or were lost."""


class ModelError(EmospecError):
    """A model folder is missing, damaged, or cannot do what is asked."""


class TimelineError(EmospecError):
    """What is heard over time cannot be made, or not written as asked."""


class ServingError(EmospecError):
    """The server cannot start, or refuses a request."""


def nearest(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """A ", did you mean 'x'?" for an unknown word, or nothing where no known word is near."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""


@contextmanager
def mistakes_in_one_line(program: str) -> Iterator[None]:
    """An error of the user's ends the program with one line on standard error, that begins with its name, and code 2."""
    try:
        yield
    except EmospecError as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno not in _CANNOT_WRITE:
            raise
        print(f"{program}: {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
