"""Every error that emospec raises on purpose. Its message is one line: what is wrong, what was found, what to do.

    EmospecError
    ├── AudioError
    │   └── LongAudioError
    ├── CorpusError, PackError, ProtocolError          data
    ├── ConfigError, TrainingError, RunError           training
    ├── ExportError, ModelError                        models
    ├── ScoringError, TimelineError, ServingError      use
    └── OutputError, WorkersError                      the machine

The command line prints the message and exits with 2.
"""

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Errors of writing to a stream, which has no file name.
_CANNOT_WRITE = (*NO_ROOM, errno.EBADF, errno.EIO)


class EmospecError(Exception):
    """The root: catch this to catch everything that emospec raises on purpose."""


class AudioError(EmospecError):
    """A recording is unreadable, empty, not finite, or cannot be used otherwise."""


class LongAudioError(AudioError):
    """A recording is longer than the caller allows."""


class CorpusError(EmospecError):
    """A corpus, manifest or utterance list lacks files, columns or labels, or has wrong ones."""


class ProtocolError(EmospecError):
    """A split cannot be made, or would leak or mislabel what it claims to hold apart."""


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
    """A result cannot be written, for lack of space or permission."""


class ScoringError(EmospecError):
    """Bulk scoring cannot start or go on as asked."""


class WorkersError(EmospecError):
    """Processes or a cluster are not available, or were lost."""


class ModelError(EmospecError):
    """A model folder is missing, damaged, or cannot do what is asked."""


class TimelineError(EmospecError):
    """A timeline cannot be computed, or written as asked."""


class ServingError(EmospecError):
    """The server cannot start, or does not accept a request."""


# Of difflib's ratio: "cvs" is near "csv", "praat" is not near "srt".
_NEAR = 0.66
# Usual words, and the names that stand for them here; the first one that is known is meant.
# fmt: off
_ALIASES = {
    "praat": "textgrid", "eaf": "elan", "webvtt": "vtt", "subtitles": "srt vtt", "subrip": "srt",
    "lambda": "loss.center_weight", "λ": "loss.center_weight lambda", "alpha": "loss.center_rate",
    "α": "loss.center_rate alpha", "lr": "training.learning_rate",
    "max_steps": "training.steps", "batch": "training.batch_size", "optimizer": "training.learning_rate",
    "type": "frontend.kind", "split": "data.protocol", "gender": "sex", "label": "emotion",
    "class": "emotion", "path": "file", "filename": "file", "lang": "language", "actor": "speaker",
    "loso": "one-speaker-out", "speakers": "one-speaker-out", "kfold": "groups", "mel": "dai2019-mel",
    "stft": "dai2019-stft", "paper": "dai2019-mel dai2019", "manifest": "csv", "folder": "folders",
    "default": "base", "happiness": "happy", "anger": "angry", "sadness": "sad", "fear": "fearful",
    "disgust": "disgusted", "surprise": "surprised",
}
# fmt: on


def did_you_mean(word: str, names: Sequence[str]) -> str:
    """Return ", did you mean 'x'?" for an unknown word, or nothing if no name is close."""
    name = closest_word(word, names)
    return f", did you mean {name!r}?" if name else ""


def closest_word(word: str, names: Sequence[str]) -> str:
    """Return the name that an unknown word resembles, or is a usual word for; empty if there is none.

    Of a setting such as `loss.lambda` the last part counts: all settings of a table begin alike.

    >>> closest_word("praat", ("textgrid", "srt")), closest_word("loss.lambda", ["loss.teacher", "loss.center_weight"])
    ('textgrid', 'loss.center_weight')
    >>> closest_word("praat", ("srt", "csv"))
    ''
    """
    from difflib import SequenceMatcher

    word = word.strip().lower()
    table, _, key = word.rpartition(".")
    for alias in (*_ALIASES.get(word, "").split(), *_ALIASES.get(key, "").split()):
        if alias in names:
            return alias
    tables = {name.rpartition(".")[0] for name in names} - {""}

    def likeness(name: str) -> float:
        name_table, _, name_key = name.lower().rpartition(".")
        if table in tables and name_table != table and name_key != key:
            return 0.0
        # The whole decides between equal keys of several tables.
        whole = SequenceMatcher(None, word, name.lower()).ratio()
        return (SequenceMatcher(None, key, name_key).ratio() + whole / 10) / 1.1

    closest = max(names, key=likeness, default="")
    return closest if closest and likeness(closest) >= _NEAR else ""


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
    """Turn an error of the user's into one line on standard error, which begins with the program's name, and exit code 2."""
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
