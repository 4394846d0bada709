"""SAVEE, Surrey audio-visual expressed emotion: British English, four men, 480 sentences.

`DC/a01`, or `DC_a01` in flattened copies: speaker, emotion code, number of the sentence within the emotion.
"""

import re

from emospec.data.corpora.corpus import Corpus, named_reader

NAME = re.compile(r"(?P<speaker>DC|JE|JK|KL)[_/](?P<text>(?P<code>sa|su|[adfhn])\d\d)")
EMOTIONS = {
    "a": "angry", "d": "disgusted", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad", "su": "surprised",
}  # fmt: skip

CORPUS = Corpus(
    name="savee",
    title="SAVEE",
    licence="free for research after registration; not for redistribution",
    citation="Haq and Jackson, Speaker-dependent audio-visual emotion recognition, AVSP 2009, 53-58",
    source="http://kahlan.eps.surrey.ac.uk/savee/",
    language="en",
    protocol="one-speaker-out",
    speech="acted",
    layout="AudioData/DC/a01.wav, or DC_a01.wav",
    read=named_reader("savee", NAME, EMOTIONS, lambda name: False, language="en"),
    expected=480,
    classes={emotion: 120 if emotion == "neutral" else 60 for emotion in EMOTIONS.values()},
    speakers=dict.fromkeys(("DC", "JE", "JK", "KL"), 120),
)
