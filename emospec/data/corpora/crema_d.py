"""CREMA-D: English, 91 actors, twelve sentences. Licence: ODbL 1.0, its contents DbCL 1.0.

`1001_DFA_ANG_XX`: actor, sentence, intended emotion, level. One official file, `1040_ITH_SAD_X`, has a
level of one letter.
"""

import re
from pathlib import Path

from emospec.data.corpora.corpus import Corpus, named_reader
from emospec.data.utterances import Utterance

NAME = re.compile(r"(?P<speaker>1\d{3})_(?P<text>[A-Z]{3})_(?P<code>ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{1,2}")
EMOTIONS = {
    "ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip
# The 43 women of the corpus's VideoDemographics.csv; the other 48 actors are men.
FEMALE = frozenset({
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025,
    1028, 1029, 1030, 1037, 1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060,
    1061, 1063, 1072, 1073, 1074, 1075, 1076, 1078, 1079, 1082, 1084, 1089, 1091,
})  # fmt: skip
_read = named_reader("crema_d", NAME, EMOTIONS, lambda name: int(name["speaker"]) in FEMALE, language="en")


def read(root: Path) -> list[Utterance]:
    """Read every recording that has a CREMA-D name; the emotion is the intended one."""
    # The release has each twice, in AudioWAV and in AudioMP3: one is enough.
    waves = root / "AudioWAV"
    return _read(waves if waves.is_dir() else root)


CORPUS = Corpus(
    name="crema_d",
    title="CREMA-D",
    licence="ODbL 1.0 (database), DbCL 1.0 (contents)",
    citation="Cao et al., CREMA-D: Crowd-sourced emotional multimodal actors dataset, "
    "IEEE Transactions on Affective Computing 5(4), 2014, 377-390",
    source="https://github.com/CheyneyComputerScience/CREMA-D",
    language="en",
    protocol="groups:5",
    speech="acted",
    layout="AudioWAV/1001_DFA_ANG_XX.wav",
    read=read,
    expected=7442,
    classes={emotion: 1087 if emotion == "neutral" else 1271 for emotion in EMOTIONS.values()},
    speakers=91,
)
