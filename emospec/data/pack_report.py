"""Facts for the owner of a pack: which label became which emotion, and which utterances may do harm."""

from collections import Counter
from dataclasses import dataclass

from emospec.audio.frames import HOP_SAMPLES, MIN_FRAMES
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.pack import Pack
from emospec.data.splits import NO_SPEAKER
from emospec.vocabulary import VOCABULARY

# The network's shortest input, 0.48 s: what is shorter is padded with silence.
_TINY_SECONDS = (MIN_FRAMES - 1) * HOP_SAMPLES / SAMPLE_RATE
# The presets' `frontend.max_frames` in seconds: training takes the centre of what is longer.
_OVERLONG_SECONDS = 14.0
_WORDS = {
    "silent": "silent (peak below -60 dB re full scale), such as {}. Take them out, or record anew",
    "tiny": f"shorter than {_TINY_SECONDS} s, such as {{}}. They are padded with silence: few tell an emotion",
    "overlong": f"longer than {_OVERLONG_SECONDS:g} s, such as {{}}. Training keeps their centre "
    "(frontend.max_frames): cut them, by start and end in a CSV",
    "no speaker": f"of unknown speakers, such as {{}}. Splits by speaker refuse them. {NO_SPEAKER}",
}


@dataclass(frozen=True, slots=True)
class LabelCount:
    """A label of a corpus, the emotion that it became, and its number of utterances."""

    corpus: str
    label: str
    emotion: str
    utterances: int

    @property
    def is_known(self) -> bool:
        """Whether the emotion is one of the vocabulary; if not, it is the corpus's own word."""
        return self.emotion in VOCABULARY


@dataclass(frozen=True, slots=True)
class PackWarning:
    """A kind of utterances that may do harm (of `_WORDS`): their number, the id of the first, and advice."""

    kind: str
    utterances: int
    example: str
    words: str


def label_counts(pack: Pack) -> list[LabelCount]:
    """Return every label of each corpus, the most frequent first."""
    counts = Counter((u.corpus, u.label, u.emotion) for u in pack.utterances)
    ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    return [LabelCount(*names, count) for names, count in ordered]


def pack_warnings(pack: Pack) -> list[PackWarning]:
    """Return the warnings about a pack, each kind once."""
    seconds = pack.entries.samples / SAMPLE_RATE
    rows = list(zip(pack.utterances, seconds, strict=True))
    affected = {
        "silent": pack.silent,
        "tiny": [u.id for u, length in rows if length < _TINY_SECONDS],
        "overlong": [u.id for u, length in rows if length > _OVERLONG_SECONDS],
        "no speaker": [u.id for u in pack.utterances if not u.speaker],
    }
    warnings = []
    for kind, ids in affected.items():
        if ids:
            count = f"{len(ids)} of {len(pack)} utterances {'is' if len(ids) == 1 else 'are'}"
            warnings.append(PackWarning(kind, len(ids), ids[0], f"{count} {_WORDS[kind].format(ids[0])}"))
    return warnings
