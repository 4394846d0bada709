"""TESS, the Toronto emotional speech set: English, two actresses, 200 words. Licence: CC BY-NC-ND 4.0.

`OAF_back_angry`: speaker, word (after "Say the word"), emotion; `ps` is pleasant surprise.
"""

import re
from pathlib import Path

from emospec.data.corpora.corpus import Corpus, scan
from emospec.data.utterances import Utterance
from emospec.vocabulary import common_emotion

# One official file, OA_bite_neutral, lacks a letter of its speaker.
NAME = re.compile(
    r"(?i)(?P<speaker>OAF?|YAF)_(?P<text>[a-z]+)_(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)"
)


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root` that has a TESS name."""
    return [
        Utterance(
            id=f"tess/{stem}",
            corpus="tess",
            file=file,
            speaker="YAF" if groups["speaker"].upper() == "YAF" else "OAF",
            emotion="surprised" if groups["emotion"].lower() == "ps" else common_emotion(groups["emotion"]),
            label=groups["emotion"].lower(),
            sex="f",
            language="en",
            text=groups["text"].lower(),
        )
        for file, stem, groups in scan(root, NAME)
    ]


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
    read=read,
    expected=2800,
    classes=dict.fromkeys(("neutral", "angry", "happy", "sad", "fearful", "disgusted", "surprised"), 400),
    speakers={"OAF": 1400, "YAF": 1400},
    note="Two speakers cannot give training, dev and test a speaker each: the default split is dai2019, "
    "which is speaker-dependent, and its scores say nothing about new speakers.",
)
