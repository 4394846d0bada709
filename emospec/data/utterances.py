"""Utterances, and named sets of classes.

Readers of corpora make utterances; splits deal them; nothing here opens audio.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emospec.errors import CorpusError, did_you_mean
from emospec.vocabulary import VOCABULARY, common_emotion

Sex = Literal["f", "m", ""]

CLASS_SETS: dict[str, tuple[str, ...]] = {"iemocap4": ("neutral", "happy", "angry", "sad")}


@dataclass(frozen=True, slots=True)
class Utterance:
    """One labelled piece of speech by one speaker.

    Attributes:
        id: unique in its pool, `corpus/stem`.
        speaker: the corpus's own name of the speaker; empty where unknown.
        emotion: a word of `VOCABULARY`, or the corpus's own where none fits.
        label: the corpus's own word or code for the emotion.
        start, end: seconds in the recording; `end` None means to its end.
        sex: `f`, `m`, or empty where unknown.
        language: ISO 639-1 code, or empty.
        text: the sentence or prompt, or its id; empty where unknown.
        session: the recording session; empty where the corpus has none.
        style: `improvised` or `scripted`; empty where the corpus does not say.
        split: `train`, `dev` or `test` where the corpus's own manifest deals it; else empty.
    """

    id: str
    corpus: str
    file: Path
    speaker: str
    emotion: str
    label: str
    start: float = 0.0
    end: float | None = None
    sex: Sex = ""
    language: str = ""
    text: str = ""
    session: str = ""
    style: str = ""
    split: str = ""

    @property
    def voice(self) -> str:
        """The speaker, unique over pooled corpora: `corpus/speaker`; empty where unknown."""
        return f"{self.corpus}/{self.speaker}" if self.speaker else ""


def select_classes(
    utterances: Sequence[Utterance], classes: str | Sequence[str]
) -> tuple[list[Utterance], tuple[str, ...]]:
    """Return the utterances of a class set, in order, and its classes in a fixed order.

    Args:
        utterances: any utterances.
        classes: `all` (every emotion present), a name in `CLASS_SETS`, or emotions.
    """
    present = Counter(u.emotion for u in utterances)
    # The order of the classes: that of VOCABULARY, then other words; a set or list keeps its own.
    if classes == "all":
        rank = {emotion: i for i, emotion in enumerate(VOCABULARY)}
        names = tuple(sorted(present, key=lambda e: (rank.get(e, len(rank)), e)))
    elif isinstance(classes, str):
        if classes not in CLASS_SETS:
            sets = ("all", *CLASS_SETS)
            hint = did_you_mean(classes, sets) or "."
            known = f"Known: {', '.join(sets)}, or a list of emotions"
            raise CorpusError(f"class set {classes!r} is not known{hint} {known}")
        names = CLASS_SETS[classes]
    else:
        names = tuple(common_emotion(c) for c in classes)
    if missing := ", ".join(name for name in names if not present[name]):
        counts = ", ".join(f"{e} {n}" for e, n in present.most_common()) or "none"
        advice = f"Found: {counts}. Choose `classes` among these"
        raise CorpusError(f"no utterance is labelled {missing}. {advice}")
    if len(set(names)) < max(2, len(names)):
        given = ", ".join(names) or "none"
        raise CorpusError(f"classes must be at least two different emotions, found: {given}")
    chosen = set(names)
    return [u for u in utterances if u.emotion in chosen], names
