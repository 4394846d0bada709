"""nEMO: Polish, nine actors, ninety sentences. Licence: CC BY-NC-SA 4.0.

`EB0_anger_1`: speaker, emotion, sentence.
"""

import re

from emospec.data.corpora.corpus import Corpus, named_reader

NAME = re.compile(
    r"(?P<speaker>[A-Z]{2}\d)_(?P<code>anger|fear|happiness|neutral|sadness|surprised)_(?P<text>\d+)"
)
EMOTIONS = {
    "anger": "angry", "fear": "fearful", "happiness": "happy", "neutral": "neutral", "sadness": "sad",
    "surprised": "surprised",
}  # fmt: skip
FEMALE = frozenset({"EB0", "IC0", "KD0", "MK0"})

CORPUS = Corpus(
    name="nemo",
    title="nEMO",
    licence="CC BY-NC-SA 4.0",
    citation="Christop, nEMO: Dataset of emotional speech in Polish, LREC-COLING 2024",
    source="https://github.com/amu-cai/nEMO",
    language="pl",
    protocol="one-speaker-out",
    speech="acted",
    layout="samples/EB0_anger_1.wav",
    read=named_reader("nemo", NAME, EMOTIONS, lambda name: name["speaker"] in FEMALE, language="pl"),
    expected=4481,
    classes={"neutral": 809, "sad": 769, "angry": 749, "happy": 749, "fearful": 736, "surprised": 669},
    speakers={
        "EB0": 539, "IC0": 540, "KD0": 540, "KS0": 540, "MK0": 450, "MP0": 256, "SM0": 538, "TP0": 539, "WR0": 539,
    },
)  # fmt: skip
