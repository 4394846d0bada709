"""EMOVO: Italian, six actors, fourteen sentences.

Licence: free for research, as its authors say; ask them for any other use.
`dis-f1-b1`: emotion code (disgusto, gioia, paura, rabbia, sorpresa, tristezza, neutro), speaker, sentence.
"""

import re
from pathlib import Path

from emospec.data.corpora.corpus import Corpus, read_named
from emospec.data.utterances import Utterance

NAME = re.compile(r"(?P<code>dis|gio|pau|rab|sor|tri|neu)-(?P<speaker>(?P<sex>[fm])[123])-(?P<text>[a-z]\d)")
EMOTIONS = {
    "neu": "neutral", "rab": "angry", "gio": "happy", "tri": "sad", "pau": "fearful", "dis": "disgusted",
    "sor": "surprised",
}  # fmt: skip


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root` that has an EMOVO name."""
    return read_named(
        root,
        NAME,
        corpus="emovo",
        emotions=EMOTIONS,
        is_female=lambda groups: groups["sex"] == "f",
        language="it",
    )


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
    read=read,
    expected=588,
    classes=dict.fromkeys(EMOTIONS.values(), 84),
    speakers=dict.fromkeys(("f1", "f2", "f3", "m1", "m2", "m3"), 98),
)
