"""EMOVO: Italian, six actors, fourteen sentences.

`dis-f1-b1`: emotion code (disgusto, gioia, paura, rabbia, sorpresa, tristezza, neutro), speaker, sentence.
"""

import re

from emospec.data.corpora.corpus import Corpus, named_reader

NAME = re.compile(r"(?P<code>dis|gio|pau|rab|sor|tri|neu)-(?P<speaker>(?P<sex>[fm])[123])-(?P<text>[a-z]\d)")
EMOTIONS = {
    "neu": "neutral", "rab": "angry", "gio": "happy", "tri": "sad", "pau": "fearful", "dis": "disgusted",
    "sor": "surprised",
}  # fmt: skip

CORPUS = Corpus(
    name="emovo",
    title="EMOVO",
    licence="free for research; ask the authors for any other use",
    citation="Costantini et al., EMOVO corpus: an Italian emotional speech database, LREC 2014, 3501-3504",
    source="http://voice.fub.it/activities/corpora/emovo/index.html",
    language="it",
    protocol="one-speaker-out",
    speech="acted",
    layout="f1/dis-f1-b1.wav",
    read=named_reader("emovo", NAME, EMOTIONS, lambda name: name["sex"] == "f", language="it"),
    expected=588,
    classes=dict.fromkeys(EMOTIONS.values(), 84),
    speakers=dict.fromkeys(("f1", "f2", "f3", "m1", "m2", "m3"), 98),
)
