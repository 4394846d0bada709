"""The check of a corpus: utterances found beside those of the whole corpus, and files that hold no sound."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emospec.audio.chunks import check_samples
from emospec.audio.discovery import printable
from emospec.audio.kinds import HEAD_BYTES, LFS_POINTER, is_supported, unsupported_kind
from emospec.data.corpora.corpus import Corpus
from emospec.data.utterances import Utterance
from emospec.errors import AudioError

# Name -> utterances found, utterances expected (None where nothing is expected).
_Counts = dict[str, tuple[int, int | None]]


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """The counts of a corpus beside those of the whole corpus.

    Attributes:
        found, expected: utterances; expected is None where the corpus has no fixed size.
        others: utterances that were read, of emotions outside the expectation.
        classes, speakers, sessions: the same by emotion, speaker and session.
        summary: one line, such as `2559 of 7442 utterances, 87 of 91 speakers`.
        differences: each difference from the whole corpus, and each warning about its files, in words.
    """

    corpus: str
    found: int
    expected: int | None
    others: int
    classes: _Counts
    speakers: _Counts
    sessions: _Counts
    summary: str
    differences: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the counts are those of the whole corpus and its files hold sound."""
        return not self.differences


def check_counts(
    corpus: Corpus, utterances: Sequence[Utterance], warnings: Iterable[str] = ()
) -> CorpusCheck:
    """Compare the utterances read from a corpus with its expected counts; add warnings about its files."""
    # Emotions outside the expectation are counted apart.
    counted = [u for u in utterances if not corpus.classes or u.emotion in corpus.classes]
    listed = corpus.speakers if isinstance(corpus.speakers, dict) else {}
    cast = len(listed) if isinstance(corpus.speakers, dict) else corpus.speakers
    voices = Counter(u.speaker for u in counted if u.speaker)
    counts = {
        "classes": _beside(Counter(u.emotion for u in counted), corpus.classes),
        "speakers": _beside(voices, listed),
        "sessions": _beside(Counter(u.session for u in counted if u.session), corpus.sessions),
    }
    size = _count(len(counted), corpus.expected, "utterance")
    people = _count(len(voices), cast or None, "speaker") if voices else "speakers unknown"
    others = len(utterances) - len(counted)
    differences = [size] if corpus.expected not in (None, len(counted)) else []
    differences += [people] if cast not in (0, len(voices)) else []
    differences += [
        f"{noun}{name}: {count} of {expected}"
        for noun, names in (("", "classes"), ("speaker ", "speakers"), ("session ", "sessions"))
        for name, (count, expected) in counts[names].items()
        if expected not in (None, count)
    ]
    summary = f"{size}, {people}" + (f", {others} more of other emotions" if others else "")
    count, every = len(counted), (*differences, *warnings)
    return CorpusCheck(
        corpus.name, count, corpus.expected, others, **counts, summary=summary, differences=every
    )


def _beside(counts: Mapping[str, int], expected: Mapping[str, int]) -> _Counts:
    # The expected names in their order, then those that nobody expects.
    names = [*expected, *sorted(set(counts) - set(expected))]
    unlisted = 0 if expected else None
    return {name: (counts.get(name, 0), expected.get(name, unlisted)) for name in names}


def _count(count: int, expected: int | None, noun: str) -> str:
    """Return `3 of 4 utterances`, or `1 utterance` where nothing is expected."""
    of = count if expected is None else expected
    return f"{count}{'' if expected is None else f' of {expected}'} {noun}{'' if of == 1 else 's'}"


def file_warnings(files: Sequence[Path]) -> list[str]:
    """Count files that hold no sound that can be read, with the reason, by their size and first bytes."""
    by_reason: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_reason[_no_sound(file)].append(file)
    by_reason.pop("", None)
    return [
        f"{len(named)} of {len(files)} recordings {reason} (the first: {printable(named[0].name)})"
        for reason, named in by_reason.items()
    ]


def _no_sound(file: Path) -> str:
    """Return why a file holds no sound, in words that follow "recordings"; empty where it does."""
    try:
        with open(file, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            head = stream.read(HEAD_BYTES)
            if not size:
                return "are empty (0 bytes): copy them again"
            kind = unsupported_kind(head)
            if kind is LFS_POINTER:
                return "are Git LFS pointers, not recordings: install git-lfs and call `git lfs pull` in their folder"
            if kind is not None:
                return f"are of another kind, each {kind.name}" + (": convert them" if kind.has_sound else "")
            if is_supported(head):
                check_samples(stream, "")
            # Some MP3 begin with silence of other makes.
            elif file.suffix.lower() != ".mp3" or not any(head):
                return "do not begin as WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus do"
    except AudioError:
        return "are cut or hold more than their header says: copy them again"
    except OSError:
        return "cannot be read"
    return ""
