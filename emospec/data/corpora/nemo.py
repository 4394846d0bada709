"""nEMO: Polish, nine actors, ninety sentences. Licence: CC BY-NC-SA 4.0.

`EB0_anger_1`: speaker, emotion, sentence.
"""

import re
from pathlib import Path

from emospec.data.corpora.corpus import Corpus, scan
from emospec.data.utterances import Utterance
from emospec.vocabulary import common_emotion

NAME = re.compile(
    r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>anger|fear|happiness|neutral|sadness|surprised)_(?P<text>\d+)"
)
FEMALE = frozenset({"EB0", "IC0", "KD0", "MK0"})


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root` that has an nEMO name."""
    return [
        Utterance(
            id=f"nemo/{stem}",
            corpus="nemo",
            file=file,
            speaker=part["speaker"],
            emotion=common_emotion(part["emotion"]),
            label=part["emotion"],
            sex="f" if part["speaker"] in FEMALE else "m",
            language="pl",
            text=part["text"],
        )
        for file, stem, part in scan(root, NAME)
    ]


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
    read=read,
    expected=4481,
    classes={"neutral": 809, "sad": 769, "angry": 749, "happy": 749, "fearful": 736, "surprised": 669},
    speakers={
        "EB0": 539,
        "IC0": 540,
        "KD0": 540,
        "KS0": 540,
        "MK0": 450,
        "MP0": 256,
        "SM0": 538,
        "TP0": 539,
        "WR0": 539,
    },
)
