"""Your own recordings in one folder per emotion: `CLASS/file`, or `CLASS/SPEAKER/file`.

The first folder under the root is the emotion; the second, where there is one, is the speaker, and
deeper ones mean nothing. Without speakers no split can keep them apart: use `csv` to say more.
"""

from pathlib import Path, PurePath

from emospec.audio.discovery import find_files
from emospec.audio.kinds import without_suffix
from emospec.data.corpora.corpus import Corpus
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError
from emospec.files import escape_undecodable
from emospec.vocabulary import common_emotion


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root`; CorpusError where one lies in no class folder."""
    utterances = []
    for file in find_files(root):
        place = PurePath(escape_undecodable(str(file.relative_to(root))))
        label, speaker = (*place.parts[:-1], "", "")[:2]
        if not label:
            raise CorpusError(f"{file} lies in no class folder. Expected: {CORPUS.layout}. Move it into one")
        name, emotion = f"folders/{without_suffix(place)}", common_emotion(label)
        utterances.append(Utterance(name, "folders", file, speaker, emotion=emotion, label=label))
    return utterances


CORPUS = Corpus(
    name="folders",
    title="your own folders",
    protocol="groups:5",
    layout="happy/recording.wav, or happy/speaker/recording.wav",
    read=read,
    note="The default split needs the speakers, happy/speaker/recording.wav: without them use dai2019, which is "
    "speaker-dependent.",
)
