"""Recordings that a copy of a corpus holds twice: one is taken where it does not matter which."""

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


def without_copies(utterances: Iterable[Utterance], preferred: Sequence[str], root: Path) -> list[Utterance]:
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
    conflicts: list[tuple[Utterance, Utterance]] = []
    for _, group in groupby(sorted(utterances, key=attrgetter("id")), attrgetter("id")):
        copies = list(group)
        in_preferred = [u for u in copies if not set(preferred).isdisjoint(u.file.parts[len(root.parts) :])]
        first, *others = sorted(in_preferred or copies, key=lambda u: (len(u.file.parts), str(u.file)))
        kept.append(first)
        conflicts += [(first, other) for other in others if not _are_equal(first, other)][:1]
    if conflicts:
        first, other = conflicts[0]
        more = f", and so for {len(conflicts)} ids" if len(conflicts) > 1 else ""
        raise CorpusError(
            f"two recordings are called {first.id}, and differ in their sound or labels{more}: "
            f"{first.file} and {other.file}. Keep one of each"
        )
    return kept


def _are_equal(first: Utterance, second: Utterance) -> bool:
    """Return whether two utterances differ in the place of their file alone."""
    if replace(second, file=first.file) != first:
        return False
    try:
        if first.file.suffix.lower() == second.file.suffix.lower() and filecmp.cmp(
            first.file, second.file, shallow=False
        ):
            return True
        waveform, copy = (read_audio(u.file, u.start, u.end) for u in (first, second))
    except (AudioError, OSError):
        return False
    return np.array_equal(waveform, copy)
