"""Facts that the owner of a pack should know: which label became which emotion, which utterances may do harm.

Opens no waveform: what is silent, `prepare` has noted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emospec.audio.frames import HOP_SAMPLES, MIN_FRAMES
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.pack import Pack
from emospec.data.splits import NO_SPEAKER
from emospec.vocabulary import EMOTIONS

TINY_SECONDS = (MIN_FRAMES - 1) * HOP_SAMPLES / SAMPLE_RATE
"""The network's shortest input, 0.48 s: what is shorter is padded with silence."""
OVERLONG_SECONDS = 14.0
"""The presets' `frontend.max_frames` in seconds: of what is longer, training hears the centre alone."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """The number of utterances of a corpus with a label, and the emotion that it became."""

    corpus: str
    label: str
    emotion: str
    utterances: int

    @property
    def is_known(self) -> bool:
        """Whether the emotion is one of the vocabulary; if not, it is the corpus's own word."""
        return self.emotion in EMOTIONS


@dataclass(frozen=True, slots=True)
class PackWarning:
    """Utterances that may do harm.

    Attributes:
        kind: `silent`, `tiny`, `overlong` or `no speaker`.
        utterances: how many.
        example: the id of the first.
        words: all of it, and what to do.
    """

    kind: str
    utterances: int
    example: str
    words: str


def label_counts(pack: Pack) -> list[LabelCount]:
    """Return every label of each corpus, the most frequent first."""
    counts = Counter((u.corpus, u.label, u.emotion) for u in pack.utterances)
    return [
        LabelCount(*names, n) for names, n in sorted(counts.items(), key=lambda c: (c[0][0], -c[1], c[0][1]))
    ]


def pack_warnings(pack: Pack) -> list[PackWarning]:
    """Return what is doubtful in a pack, each kind once."""
    return list(_doubts(pack))


def _doubts(pack: Pack) -> Iterator[PackWarning]:
    seconds = pack.entries.samples / SAMPLE_RATE
    tiny, overlong = (np.flatnonzero(far) for far in (seconds < TINY_SECONDS, seconds > OVERLONG_SECONDS))
    nobodys = [u.id for u in pack.utterances if not u.speaker]
    found: tuple[tuple[str, Sequence[str], str, str], ...] = (
        ("silent", pack.silent, "silent (peak below -60 dB re full scale)", "Take them out, or record anew"),
        (
            "tiny",
            [pack.utterances[i].id for i in tiny],
            f"shorter than {TINY_SECONDS} s",
            "They are padded with silence: few tell an emotion",
        ),
        (
            "overlong",
            [pack.utterances[i].id for i in overlong],
            f"longer than {OVERLONG_SECONDS:g} s",
            "Training keeps their centre (frontend.max_frames): cut them, by start and end in a CSV",
        ),
        (
            "no speaker",
            nobodys,
            "of unknown speakers",
            f"Splits by speaker refuse them. {NO_SPEAKER}",
        ),
    )
    for kind, ids, words, advice in found:
        if ids:
            what = f"{len(ids)} of {len(pack)} utterances {'is' if len(ids) == 1 else 'are'} {words}"
            yield PackWarning(kind, len(ids), ids[0], f"{what}, such as {ids[0]}. {advice}")
