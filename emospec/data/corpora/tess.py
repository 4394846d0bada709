"""TESS, the Toronto emotional speech set: English, two actresses, 200 words. Licence: CC BY-NC-ND 4.0.

`OAF_back_angry`: speaker, word (after "Say the word"), emotion; `ps` is pleasant surprise.
"""

import re

from emospec.data.corpora.corpus import Corpus, named_reader

NAME = re.compile(
    r"(?i)(?P<speaker>OAF?|YAF)_(?P<text>[a-z]+)_(?P<code>angry|disgust|fear|happy|neutral|ps|sad)"
)
EMOTIONS = {
    "angry": "angry", "disgust": "disgusted", "fear": "fearful", "happy": "happy", "neutral": "neutral",
    "ps": "surprised", "sad": "sad",
}  # fmt: skip


def _spell(name: dict[str, str]) -> dict[str, str]:
    # One official file, OA_bite_neutral, lacks a letter of its speaker; copies differ in case.
    lower = {key: word.lower() for key, word in name.items()}
    return lower | {"speaker": "YAF" if lower["speaker"] == "yaf" else "OAF"}


CORPUS = Corpus(
    name="tess",
    title="TESS",
    licence="CC BY-NC-ND 4.0",
    citation="Pichora-Fuller and Dupuis, Toronto emotional speech set (TESS), Borealis, 2020",
    source="https://doi.org/10.5683/SP2/E8H2MF",
    language="en",
    protocol="dai2019",
    speech="acted",
    layout="OAF_back_angry.wav",
    read=named_reader("tess", NAME, EMOTIONS, lambda name: True, language="en", spell=_spell),
    expected=2800,
    classes=dict.fromkeys(("neutral", "angry", "happy", "sad", "fearful", "disgusted", "surprised"), 400),
    speakers={"OAF": 1400, "YAF": 1400},
    note="Two speakers cannot give training, dev and test a speaker each: the default split is dai2019, "
    "which is speaker-dependent, and its scores say nothing about new speakers.",
)
