"""The corpora that emospec reads: the registry, and the two ways into it, reading and checking.

Each corpus is one file here that turns names into utterances, and one row in `CORPORA`.
Opens no audio, but to compare two recordings of one name and to see how files begin.
"""

import os
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
from emospec.data.corpora.copies import each_once
from emospec.data.corpora.corpus import Corpus
from emospec.data.corpora.flaws import flaws_of
from emospec.data.recordings import left_out
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
        Its utterances sorted by id; ids are unique, so that a recording that is there twice is taken once.

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
    return each_once(utterances, corpus.preferred, root)


def check_corpus(name: str, root: str | Path) -> CorpusCheck:
    """Read a corpus as `read_corpus` does, compare its counts with those of the whole, and look at its files."""
    utterances, root = read_corpus(name, root), Path(os.path.expanduser(root))
    files = list(dict.fromkeys(u.file for u in utterances))
    corpus = get_corpus(name)
    # A CSV names its files: what else lies in its folder is not its own.
    others = {} if corpus.read is manifest.read else left_out(root)
    return compare(corpus, utterances, tuple(flaws_of(files)), others)


def _found(root: Path) -> str:
    files = walk(root)
    if not files:
        others = ", ".join(f"{count} {suffix}" for suffix, count in left_out(root).items())
        return f"no audio file that is read here, but {others}: convert them" if others else "no audio file"
    return f"{len(files)} audio file{'s' if len(files) > 1 else ''}, such as {files[0].relative_to(root)}"
