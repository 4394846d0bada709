"""RAVDESS, audio-only speech: North American English, 24 actors, two sentences. Licence: CC BY-NC-SA 4.0.

`03-01-06-01-02-01-12`: modality (03 audio only), channel (01 speech), emotion, intensity, statement,
repetition, actor (odd: male). Songs (channel 02) and video are other parts of the release, and left out.
"""

import re

from emospec.data.corpora.corpus import Corpus, named_reader

NAME = re.compile(r"03-01-(?P<code>0[1-8])-0[12]-(?P<text>0[12])-0[12]-(?P<speaker>\d\d)")
EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgusted",
    "08": "surprised",
}  # fmt: skip
# Speakers by test fold, from 1: the six speaker-disjoint folds of EmoBox (Ma et al., Interspeech 2024).
_EMOBOX_ACTORS = (
    (1, 11, 20, 21), (4, 10, 12, 14), (8, 9, 19, 23), (3, 5, 7, 24), (2, 15, 16, 18), (6, 13, 17, 22),
)  # fmt: skip
FOLDS = {f"Actor_{k:02}": fold for fold, actors in enumerate(_EMOBOX_ACTORS, start=1) for k in actors}


def _is_female(name: dict[str, str]) -> bool:
    return int(name["speaker"][-2:]) % 2 == 0


def _spell(name: dict[str, str]) -> dict[str, str]:
    return name | {"speaker": f"Actor_{name['speaker']}", "text": f"S{name['text']}"}


CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS (speech)",
    licence="CC BY-NC-SA 4.0",
    citation="Livingstone and Russo, The Ryerson audio-visual database of emotional speech and song, "
    "PLoS ONE 13(5), 2018, e0196391",
    source="https://zenodo.org/records/1188976",
    language="en",
    protocol="folds",
    speech="acted",
    layout="Actor_01/03-01-06-01-02-01-01.wav",
    read=named_reader("ravdess", NAME, EMOTIONS, _is_female, language="en", spell=_spell),
    expected=1440,
    classes={emotion: 96 if emotion == "neutral" else 192 for emotion in EMOTIONS.values()},
    speakers={f"Actor_{actor:02}": 60 for actor in range(1, 25)},
    folds=FOLDS,
)
