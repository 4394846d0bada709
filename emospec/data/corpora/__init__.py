"""The corpora that emospec reads: the registry, and the two ways into it, reading and checking.

Each corpus is one file here that turns names into utterances, and one row in `CORPORA`.
Nothing here opens audio.
"""

import os
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from emospec.data.audio import walk
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
from emospec.data.corpora.check import CorpusCheck, compare
from emospec.data.corpora.corpus import Corpus
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError, nearest

__all__ = ["CORPORA", "Corpus", "CorpusCheck", "check_corpus", "compare", "get_corpus", "read_corpus"]

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        iemocap.CORPUS,
        emodb.CORPUS,
        ravdess.CORPUS,
        crema_d.CORPUS,
        nemo.CORPUS,
        tess.CORPUS,
        savee.CORPUS,
        emovo.CORPUS,
        demo.CORPUS,
        manifest.CORPUS,
        folders.CORPUS,
    )
}
"""Every corpus by its name."""
YOUR_OWN = frozenset(corpus.name for corpus in CORPORA.values() if not corpus.source)
"""Names under which anybody's recordings go."""


def get_corpus(name: str) -> Corpus:
    """The corpus of a name; CorpusError where there is none."""
    if name not in CORPORA:
        hint = nearest(name, tuple(CORPORA)) or "."
        raise CorpusError(f"no corpus is called {name!r}{hint} Known: {', '.join(CORPORA)}")
    return CORPORA[name]


def read_corpus(name: str, root: str | Path) -> list[Utterance]:
    """Read the utterances of one corpus; opens no audio.

    Args:
        name: a name in `CORPORA`.
        root: the folder of the corpus (for `csv` also the file itself).

    Returns:
        Its utterances sorted by id; ids are unique.

    Raises:
        CorpusError: the name is unknown, the root is missing or holds nothing of this corpus, two
            files have one id, or the corpus's own labels are damaged.
        AudioError: a folder below the root cannot be read.
    """
    corpus = get_corpus(name)
    # Absolute, so that a root of "." still has the folder name that some layouts need.
    root = Path(os.path.expanduser(root)).absolute()  # that of pathlib raises for a user who is not there
    if not root.exists():
        raise CorpusError(f"{root} does not exist. Give the folder of {corpus.title}: {corpus.layout}")
    utterances = sorted(corpus.read(root), key=attrgetter("id"))
    if not utterances:
        source = f". Get it from {corpus.source}" if corpus.source else ""
        raise CorpusError(
            f"{root} holds nothing of {corpus.title}. "
            f"Expected: {corpus.layout}. Found: {_found(root)}{source}"
        )
    for one, other in pairwise(utterances):
        if one.id == other.id:
            raise CorpusError(f"two recordings are called {one.id}: {one.file} and {other.file}. Keep one")
    return utterances


def check_corpus(name: str, root: str | Path) -> CorpusCheck:
    """Read a corpus as `read_corpus` does, and compare its counts with those of the whole."""
    return compare(get_corpus(name), read_corpus(name, root))


def _found(root: Path) -> str:
    files = walk(root)
    if not files:
        return "no audio file"
    return f"{len(files)} audio file{'s' if len(files) > 1 else ''}, such as {files[0].relative_to(root)}"
