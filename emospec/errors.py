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


_NEAR = 0.66  # of difflib's ratio: "cvs" is near "csv", "praat" is not near "srt"
_ALIASES: dict[str, tuple[str, ...]] = {
    "praat": ("textgrid",),
    "eaf": ("elan",),
    "webvtt": ("vtt",),
    "subtitles": ("srt", "vtt"),
    "subrip": ("srt",),
    "lambda": ("loss.center_weight",),
    "λ": ("loss.center_weight", "lambda"),
    "alpha": ("loss.center_rate",),
    "α": ("loss.center_rate", "alpha"),
    "lr": ("training.learning_rate",),
    "max_steps": ("training.steps",),
    "batch": ("training.batch_size",),
    "optimizer": ("training.learning_rate",),
    "type": ("frontend.kind",),
    "split": ("data.protocol",),
    "gender": ("sex",),
    "label": ("emotion",),
    "class": ("emotion",),
    "path": ("file",),
    "filename": ("file",),
    "lang": ("language",),
    "actor": ("speaker",),
    "loso": ("one-speaker-out",),
    "speakers": ("one-speaker-out",),
    "kfold": ("groups",),
    "mel": ("dai2019-mel",),
    "stft": ("dai2019-stft",),
    "paper": ("dai2019-mel", "dai2019"),
    "manifest": ("csv",),
    "folder": ("folders",),
    "default": ("base",),
    "happiness": ("happy",),
    "anger": ("angry",),
    "sadness": ("sad",),
    "fear": ("fearful",),
    "disgust": ("disgusted",),
    "surprise": ("surprised",),
}
"""Usual words for what is called otherwise here; the first one that is known is meant."""


def did_you_mean(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return ", did you mean 'x'?" for an unknown word, or nothing where `closest_word` finds none."""
    found = closest_word(word, known)
    return f", did you mean {found!r}?" if found else ""


def closest_word(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return the known word that an unknown one is near, or is a usual word for; empty where there is none.

    Of a setting such as `loss.lambda` the last part counts: all settings of a table begin alike.

    >>> closest_word("praat", ("textgrid", "srt")), closest_word("loss.lambda", ["loss.teacher", "loss.center_weight"])
    ('textgrid', 'loss.center_weight')
    >>> closest_word("praat", ("srt", "csv"))
    ''
    """
    from difflib import SequenceMatcher

    low = word.strip().lower()
    table, _, tail = low.rpartition(".")
    usual = [name for name in (*_ALIASES.get(low, ()), *_ALIASES.get(tail, ())) if name in known]
    tables = {name.rpartition(".")[0] for name in known} - {""}

    def likeness(name: str) -> float:
        of, _, last = name.lower().rpartition(".")
        if table in tables and of != table and last != tail:
            return 0.0
        whole = SequenceMatcher(None, low, name.lower()).ratio()
        return (
            SequenceMatcher(None, tail, last).ratio() + whole / 10
        ) / 1.1  # of equal tails, the nearer table's

    near = sorted((name for name in known if likeness(name) >= _NEAR), key=likeness, reverse=True)
    return next(iter([*usual, *near]), "")


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
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
