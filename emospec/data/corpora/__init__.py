"""The corpora that emospec reads: their table, and reading and checking one.

To add a corpus: write one file here with its entry, `CORPUS`, whose `read` turns file names into utterances
(`savee.py` is the shortest example); add it to `_READERS`, one line to the table in docs/corpora.md, and
one test to tests/data/test_corpora.py. Recordings of your own need no file: `csv` and `folders` read them.
Audio is opened only to compare two recordings of one id, and to check first bytes.
"""

import filecmp
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from emospec.audio.discovery import count_unsupported, describe_unsupported, find_files
from emospec.audio.reader import read_audio
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
from emospec.data.corpora.corpus import Corpus
from emospec.data.corpora.user import USER_READERS, UserCorpus, split_name
from emospec.data.utterances import Utterance
from emospec.errors import AudioError, CorpusError, did_you_mean

_READERS = (iemocap, emodb, ravdess, crema_d, nemo, tess, savee, emovo, demo, manifest, folders)
CORPORA: dict[str, Corpus] = {reader.CORPUS.name: reader.CORPUS for reader in _READERS}


def get_corpus(name: str) -> Corpus:
    """Return the corpus of a name, such as `emodb`, or `csv:calls` of your own; CorpusError where none is."""
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
    """
    corpus, root = get_corpus(name), _absolute(root)
    if not root.exists():
        raise CorpusError(f"{root} does not exist. Give the folder of {corpus.title}: {corpus.layout}")
    utterances = corpus.read(root)
    if not utterances:
        source = f". Get it from {corpus.source}" if corpus.source else ""
        expected = f"Expected: {corpus.layout}. Found: {_audio_below(root)}{source}"
        raise CorpusError(f"{root} holds nothing of {corpus.title}. {expected}")
    # `csv` and `folders` name the corpus after themselves; the user's name replaces that.
    reader, own_name = split_name(name)[0], corpus.name
    if own_name != reader:
        utterances = [
            replace(u, id=own_name + u.id.removeprefix(reader), corpus=own_name) for u in utterances
        ]
    return _without_copies(utterances, corpus.preferred, root)


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


def _without_copies(utterances: Iterable[Utterance], preferred: Sequence[str], root: Path) -> list[Utterance]:
    """Return one utterance of each id, in the order of ids; CorpusError where recordings of one id differ."""
    kept: list[Utterance] = []
    conflicts: list[tuple[Utterance, Utterance]] = []
    for _, group in groupby(sorted(utterances, key=attrgetter("id")), attrgetter("id")):
        copies = list(group)
        # Of several, that in a preferred folder, then that which lies least deep; only here are recordings opened.
        in_preferred = [u for u in copies if not set(preferred).isdisjoint(u.file.parts[len(root.parts) :])]
        first, *others = sorted(in_preferred or copies, key=lambda u: (len(u.file.parts), str(u.file)))
        kept.append(first)
        conflicts += [(first, other) for other in others if not _are_equal(first, other)][:1]
    if conflicts:
        first, other = conflicts[0]
        more = f", and so for {len(conflicts)} ids" if len(conflicts) > 1 else ""
        differ = f"two recordings are called {first.id}, and differ in their sound or labels{more}"
        raise CorpusError(f"{differ}: {first.file} and {other.file}. Keep one of each")
    return kept


def _are_equal(first: Utterance, second: Utterance) -> bool:
    """Return whether two utterances differ in the place of their file alone."""
    if replace(second, file=first.file) != first:
        return False
    try:
        # Files of equal bytes need no decoding, if the name says that they are of one kind.
        same_kind = first.file.suffix.lower() == second.file.suffix.lower()
        if same_kind and filecmp.cmp(first.file, second.file, shallow=False):
            return True
        waveform, copy = (read_audio(u.file, u.start, u.end) for u in (first, second))
    except (AudioError, OSError):
        return False
    return np.array_equal(waveform, copy)
