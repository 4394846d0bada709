"""RAVDESS, audio-only speech: North American English, 24 actors, two sentences. Licence: CC BY-NC-SA 4.0.

`03-01-06-01-02-01-12`: modality (03 audio only), channel (01 speech), emotion, intensity, statement,
repetition, actor (odd: male). Songs (channel 02) and video are other parts of the release, and left out.
"""

import re
from pathlib import Path

from emospec.data.corpora.corpus import Corpus, scan
from emospec.data.utterances import Utterance

NAME = re.compile(r"03-01-(?P<code>0[1-8])-0[12]-(?P<statement>0[12])-0[12]-(?P<actor>\d\d)")
EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgusted",
    "08": "surprised",
}  # fmt: skip
# Speakers by test fold, from 1: the six speaker-disjoint folds of EmoBox (Ma et al., Interspeech 2024).
_EMOBOX_ACTORS = (
    (1, 11, 20, 21), (4, 10, 12, 14), (8, 9, 19, 23), (3, 5, 7, 24), (2, 15, 16, 18), (6, 13, 17, 22),
)  # fmt: skip
FOLDS = {f"Actor_{k:02}": fold for fold, actors in enumerate(_EMOBOX_ACTORS, start=1) for k in actors}


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root` that has the name of RAVDESS audio-only speech."""
    return [
        Utterance(
            id=f"ravdess/{stem}",
            corpus="ravdess",
            file=file,
            speaker=f"Actor_{groups['actor']}",
            emotion=EMOTIONS[groups["code"]],
            label=groups["code"],
            sex="m" if int(groups["actor"]) % 2 else "f",
            language="en",
            text=f"S{groups['statement']}",
        )
        for file, stem, groups in scan(root, NAME)
    ]


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
    read=read,
    expected=1440,
    classes={emotion: 96 if emotion == "neutral" else 192 for emotion in EMOTIONS.values()},
    speakers={f"Actor_{actor:02}": 60 for actor in range(1, 25)},
    folds=FOLDS,
)
