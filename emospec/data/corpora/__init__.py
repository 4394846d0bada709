"""The corpora that emospec reads: their table, and reading and checking one.

To add a corpus: write one file here with its entry, `CORPUS`, whose `read` turns file names into utterances
(`savee.py` is the shortest example); add it to `_READERS`, one line to the table in docs/corpora.md, and
one test to tests/data/test_corpora.py. Recordings of your own need no file: `csv` and `folders` read them.
No audio is opened, but to compare two recordings of one id and to see how files begin.
"""

import os
from dataclasses import replace
from pathlib import Path

from emospec.audio.discovery import count_unsupported, describe_unsupported
from emospec.audio.reader import find_files
from emospec.data.corpora import (
    crema_d,
    demo,
    emodb,
    emovo,
    folders,
    iemocap,
    manifest,
    nemo,
    ravdess,
    savee,
    tess,
)
from emospec.data.corpora.check import CorpusCheck, check_counts, file_warnings
from emospec.data.corpora.copies import without_copies
from emospec.data.corpora.corpus import Corpus
from emospec.data.corpora.user import USER_READERS, UserCorpus, split_name
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError, did_you_mean

__all__ = [
    "CORPORA",
    "Corpus",
    "CorpusCheck",
    "check_corpus",
    "check_counts",
    "corpus_remarks",
    "get_corpus",
    "read_corpus",
    "user_corpus",
]

_READERS = (iemocap, emodb, ravdess, crema_d, nemo, tess, savee, emovo, demo, manifest, folders)
CORPORA: dict[str, Corpus] = {reader.CORPUS.name: reader.CORPUS for reader in _READERS}
"""Every corpus by its name."""


def get_corpus(name: str) -> Corpus:
    """Return the corpus of a name; one of your own may have another than its reader's, as `csv:calls`.

    Raises:
        CorpusError: there is none, or it cannot be called so.
    """
    reader, corpus_name = split_name(name)
    if reader not in CORPORA:
        hint = did_you_mean(name, tuple(CORPORA)) or "."
        raise CorpusError(f"no corpus is called {name!r}{hint} Known: {', '.join(CORPORA)}")
    return replace(CORPORA[reader], name=corpus_name)


def user_corpus(name: str) -> UserCorpus | None:
    """Return a corpus of your own, `csv:calls` or `csv`, without terms yet; None for any other."""
    reader, corpus_name = split_name(name)
    return UserCorpus(corpus_name, reader) if reader in USER_READERS else None


def read_corpus(name: str, root: str | Path) -> list[Utterance]:
    """Read the utterances of one corpus.

    Args:
        name: a name in `CORPORA`, or `csv:NAME` or `folders:NAME`, whose utterances are of a corpus NAME.
        root: the folder of the corpus (for `csv` also the file itself).

    Returns:
        Its utterances sorted by id; ids are unique, so that a recording that is there twice is taken once.

    Raises:
        CorpusError: the name is unknown, the root is missing or holds nothing of this corpus, two
            files have one id, or the corpus's own labels are damaged.
        AudioError: a folder below the root cannot be read.
    """
    corpus, root = get_corpus(name), _absolute(root)
    if not root.exists():
        raise CorpusError(f"{root} does not exist. Give the folder of {corpus.title}: {corpus.layout}")
    utterances = corpus.read(root)
    if not utterances:
        source = f". Get it from {corpus.source}" if corpus.source else ""
        raise CorpusError(
            f"{root} holds nothing of {corpus.title}. "
            f"Expected: {corpus.layout}. Found: {_audio_below(root)}{source}"
        )
    reader = split_name(name)[0]
    if corpus.name != reader:
        utterances = [
            replace(u, id=corpus.name + u.id.removeprefix(reader), corpus=corpus.name) for u in utterances
        ]
    return without_copies(utterances, corpus.preferred, root)


def check_corpus(name: str, root: str | Path) -> CorpusCheck:
    """Read a corpus as `read_corpus` does, compare its counts with those of the whole, and look at its files."""
    utterances = read_corpus(name, root)
    corpus = get_corpus(name)
    # Beside the recordings of some corpora of known size lie videos, which are no loss.
    unread = [] if corpus.expected is not None else _unread_recordings(name, root)
    files = list(dict.fromkeys(u.file for u in utterances))
    return check_counts(corpus, utterances, (*unread, *file_warnings(files)))


def corpus_remarks(name: str, root: str | Path) -> list[str]:
    """Return in words what of a corpus is not read: further columns of a CSV, recordings of other kinds."""
    columns = manifest.remarks(_absolute(root)) if split_name(name)[0] == "csv" else []
    return [*columns, *_unread_recordings(name, root)]


def _unread_recordings(name: str, root: str | Path) -> list[str]:
    """Return a line on recordings of kinds that are not read; none for a CSV, which names its files."""
    counts = {} if split_name(name)[0] == "csv" else count_unsupported(_absolute(root))
    return [describe_unsupported(counts, "its folder", with_option=False)] if counts else []


def _absolute(root: str | Path) -> Path:
    """Return the absolute path: a root of "." then has the folder name that some layouts need."""
    return Path(os.path.expanduser(root)).absolute()  # pathlib's raises for a user who is not there


def _audio_below(root: Path) -> str:
    if files := find_files(root):
        return f"{len(files)} audio file{'s' if len(files) > 1 else ''}, such as {files[0].relative_to(root)}"
    others = ", ".join(f"{count} {suffix}" for suffix, count in count_unsupported(root).items())
    return f"no audio file that is read here, but {others}: convert them" if others else "no audio file"
