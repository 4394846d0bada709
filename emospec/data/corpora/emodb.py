"""EMO-DB, the Berlin database of emotional speech: German, ten actors, ten sentences. Licence: CC0 1.0.

`03a01Fa`: speaker 03, sentence a01, emotion F (Freude), version a.
"""

import re
from pathlib import Path

from emospec.data.corpora.corpus import Corpus, read_named
from emospec.data.utterances import Utterance

NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<code>[WLEAFTN])[a-z]")
EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgusted", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
_MALE = frozenset({"03", "10", "11", "12", "15"})


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root` that has an EMO-DB name.

    The second release has each twice, in wav and, from the larynx, in laryngo: that in wav is taken.
    """
    return read_named(
        root,
        NAME,
        corpus="emodb",
        emotions=EMOTIONS,
        is_female=lambda groups: groups["speaker"] not in _MALE,
        language="de",
    )


CORPUS = Corpus(
    name="emodb",
    title="EMO-DB",
    licence="CC0 1.0",
    citation="Burkhardt et al., A database of German emotional speech, Interspeech 2005, 1517-1520",
    source="http://emodb.bilderbar.info",
    language="de",
    protocol="one-speaker-out",
    speech="acted",
    layout="wav/03a01Fa.wav",
    read=read,
    preferred=("wav",),
    expected=535,
    classes={
        "angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fearful": 69, "sad": 62, "disgusted": 46,
    },
    speakers={
        "03": 49, "08": 58, "09": 43, "10": 38, "11": 55, "12": 35, "13": 61, "14": 69, "15": 56, "16": 71,
    },
)  # fmt: skip
