"""How far the utterances that were read are the whole corpus: counts found beside counts expected."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emospec.data.corpora.corpus import Corpus
from emospec.data.utterances import Utterance

Counts = dict[str, tuple[int, int | None]]
"""Name -> utterances found, utterances expected (None where nothing is expected)."""


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """What was found of a corpus, beside what the whole corpus holds.

    Attributes:
        corpus: its name.
        found, expected: utterances; expected is None where the corpus has no fixed size.
        others: utterances that were read, of emotions outside the expectation.
        classes, speakers, sessions: the same by emotion, speaker and session.
        summary: one line, such as `2559 of 7442 utterances, 87 of 91 speakers`.
        differences: each difference from the whole corpus, in words, and each flaw of its files.
    """

    corpus: str
    found: int
    expected: int | None
    others: int
    classes: Counts
    speakers: Counts
    sessions: Counts
    summary: str
    differences: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether what was found is what is expected."""
        return not self.differences


def check_counts(
    corpus: Corpus,
    utterances: Sequence[Utterance],
    flaws: tuple[str, ...] = (),
) -> CorpusCheck:
    """Count utterances of one corpus beside its expected counts; opens no file.

    Args:
        corpus: its entry.
        utterances: what was read of it.
        flaws: what is wrong with their files, in words.
    """
    counted = [u for u in utterances if not corpus.classes or u.emotion in corpus.classes]
    listed = corpus.speakers if isinstance(corpus.speakers, dict) else {}
    voices = Counter(u.speaker for u in counted if u.speaker)
    classes = _beside(Counter(u.emotion for u in counted), corpus.classes)
    speakers = _beside(voices, listed)
    sessions = _beside(Counter(u.session for u in counted if u.session), corpus.sessions)

    size = _of(len(counted), corpus.expected, "utterance")
    cast = len(listed) if isinstance(corpus.speakers, dict) else corpus.speakers
    people = _of(len(voices), cast or None, "speaker") if voices else "speakers unknown"
    others = len(utterances) - len(counted)
    differences = [size] if corpus.expected not in (None, len(counted)) else []
    differences += [people] if cast not in (0, len(voices)) else []
    for noun, counts in (("", classes), ("speaker ", speakers), ("session ", sessions)):
        differences += _differences(noun, counts)
    return CorpusCheck(
        corpus=corpus.name,
        found=len(counted),
        expected=corpus.expected,
        others=others,
        classes=classes,
        speakers=speakers,
        sessions=sessions,
        summary=f"{size}, {people}" + (f", {others} more of other emotions" if others else ""),
        differences=(*differences, *flaws),
    )


def _beside(found: Mapping[str, int], expected: Mapping[str, int]) -> Counts:
    """Found beside expected: expected names in their order, then those nobody expects."""
    names = [*expected, *sorted(set(found) - set(expected))]
    unlisted = 0 if expected else None
    return {name: (found.get(name, 0), expected.get(name, unlisted)) for name in names}


def _differences(noun: str, counts: Counts) -> list[str]:
    return [
        f"{noun}{name}: {found} of {expected}"
        for name, (found, expected) in counts.items()
        if expected not in (None, found)
    ]


def _of(found: int, expected: int | None, noun: str) -> str:
    """`3 of 4 utterances`, or `1 utterance` where nothing is expected."""
    if expected is None:
        return f"{found} {noun}{'' if found == 1 else 's'}"
    return f"{found} of {expected} {noun}{'' if expected == 1 else 's'}"
