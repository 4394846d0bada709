"""Recordings that a copy of a corpus holds twice: taken once, where it does not matter which, else named."""

import filecmp
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from emospec.audio.reader import read_audio
from emospec.data.utterances import Utterance
from emospec.errors import AudioError, CorpusError


def each_once(utterances: Iterable[Utterance], preferred: Sequence[str], root: Path) -> list[Utterance]:
    """Return one utterance of each id, in the order of ids.

    Of several, that in a preferred folder is taken, and of those with equal samples and labels the one that lies
    least deep. Recordings are opened only where two have one id.

    Args:
        utterances: of one corpus.
        preferred: names of folders.
        root: the folder of the corpus, below which they are looked for.

    Raises:
        CorpusError: recordings of one id differ, and in no preferred folder is one alone.
    """
    kept: list[Utterance] = []
    unlike: list[tuple[Utterance, Utterance]] = []  # of each id the first two
    for _, same in groupby(sorted(utterances, key=attrgetter("id")), attrgetter("id")):
        copies = list(same)
        copies = [
            u for u in copies if not set(preferred).isdisjoint(u.file.parts[len(root.parts) :])
        ] or copies
        first, *others = sorted(copies, key=lambda u: (len(u.file.parts), str(u.file)))
        kept.append(first)
        unlike += [(first, other) for other in others if not _are_equal(first, other)][:1]
    if unlike:
        one, other = unlike[0]
        many = f", and so for {len(unlike)} ids" if len(unlike) > 1 else ""
        raise CorpusError(
            f"two recordings are called {one.id}, and differ in their sound or labels{many}: {one.file} and {other.file}. Keep one of each"
        )
    return kept


def _are_equal(one: Utterance, other: Utterance) -> bool:
    """Whether two utterances differ in the place of their file alone."""
    if replace(other, file=one.file) != one:
        return False
    if one.file.suffix.lower() == other.file.suffix.lower() and _same_bytes(one.file, other.file):
        return True
    try:
        first, second = (read_audio(u.file, u.start, u.end) for u in (one, other))
    except AudioError:
        return False
    return np.array_equal(first, second)


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
