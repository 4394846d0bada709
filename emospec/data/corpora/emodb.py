"""EMO-DB, the Berlin database of emotional speech: German, ten actors, ten sentences. Licence: CC0 1.0.

`03a01Fa`: speaker 03, sentence a01, emotion F (Freude), version a.
"""

import re

from emospec.data.corpora.corpus import Corpus, named_reader

NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<code>[WLEAFTN])[a-z]")
EMOTIONS = {
    "W": "angry", "L": "bored", "E": "disgusted", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
_MALE = frozenset({"03", "10", "11", "12", "15"})

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
    read=named_reader("emodb", NAME, EMOTIONS, lambda name: name["speaker"] not in _MALE, language="de"),
    # The second release has each recording twice, in wav and, from the larynx, in laryngo.
    preferred=("wav",),
    expected=535,
    classes={"angry": 127, "bored": 81, "neutral": 79, "happy": 71, "fearful": 69, "sad": 62, "disgusted": 46},
    speakers={
        "03": 49, "08": 58, "09": 43, "10": 38, "11": 55, "12": 35, "13": 61, "14": 69, "15": 56, "16": 71,
    },
)  # fmt: skip
