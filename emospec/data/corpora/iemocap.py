"""IEMOCAP: English, ten actors in five two-person sessions, improvised and scripted.

The emotion is the consensus in `dialog/EmoEvaluation`; utterances without one (`xxx`) are left out.
Excited is merged into happy, and keeps the label `exc`. A label without its recording, or a recording
without its label line, is left out: the counts show it.
"""

import re
from pathlib import Path

from emospec.audio.discovery import find_files
from emospec.data.corpora.corpus import Corpus, scan
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError

# In Ses01F_impro01_M000 the first letter is the side with the motion capture, the last one the speaker.
NAME = re.compile(r"(?P<session>Ses0[1-5])[FM]_(?P<text>(?P<style>impro|script)\w+)_(?P<sex>[FM])\d{3}")
_LABEL = re.compile(r"\[[^\]]*\]\s+(?P<stem>Ses\w+)\s+(?P<code>\w+)\s+\[")
_NO_CONSENSUS = "xxx"
EMOTIONS = {
    "neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad", "fru": "frustrated",
    "sur": "surprised", "fea": "fearful", "dis": "disgusted", "oth": "other",
}  # fmt: skip
_STYLES = {"impro": "improvised", "script": "scripted"}


def read(root: Path) -> list[Utterance]:
    """Read every recording under `root` that has an IEMOCAP name and a consensus label."""
    labels = _labels(root)
    labelled_sessions = {stem[:5] for stem in labels}
    utterances = []
    for file, stem, groups in scan(root, NAME):
        if groups["session"] not in labelled_sessions:
            lack = f"under {root} is no dialog/EmoEvaluation folder of {_session(groups['session'])}"
            raise CorpusError(f"{file} has no labels: {lack}. Copy it from the official release")
        if (code := labels.get(stem, _NO_CONSENSUS)) == _NO_CONSENSUS:
            continue
        utterances.append(
            Utterance(
                id=f"iemocap/{stem}",
                corpus="iemocap",
                file=file,
                speaker=groups["session"] + groups["sex"],
                emotion=EMOTIONS[code],
                label=code,
                sex="f" if groups["sex"] == "F" else "m",
                language="en",
                text=groups["text"],
                session=_session(groups["session"]),
                style=_STYLES[groups["style"]],
            )
        )
    return utterances


def _labels(root: Path) -> dict[str, str]:
    # Only the files right in the EmoEvaluation folders: those below are of single evaluators.
    labels = {}
    for file in (f for f in find_files(root, {".txt"}) if f.parent.name == "EmoEvaluation"):
        # Latin-1 decodes any byte: labels are ASCII, and the evaluators' remarks beside them are not read.
        for number, line in enumerate(file.read_text(encoding="latin-1").splitlines(), start=1):
            if match := _LABEL.match(line):
                code = match["code"].lower()
                if code not in EMOTIONS and code != _NO_CONSENSUS:
                    codes = ", ".join((*EMOTIONS, _NO_CONSENSUS))
                    raise CorpusError(f"{file}:{number}: emotion code {code!r} is not known. Known: {codes}")
                labels[match["stem"]] = code
    return labels


def _session(prefix: str) -> str:
    return f"Session{int(prefix.removeprefix('Ses'))}"


CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP",
    licence="release form of the University of Southern California: research only, not for redistribution",
    citation="Busso et al., IEMOCAP: Interactive emotional dyadic motion capture database, "
    "Language Resources and Evaluation 42, 2008, 335-359",
    source="https://sail.usc.edu/iemocap/",
    language="en",
    protocol="sessions",
    speech="acted, in scripted and improvised dialogues",
    layout="Session1/dialog/EmoEvaluation/Ses01F_impro01.txt and "
    "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
    read=read,
    # The four classes of the literature. Frustrated and the rarer labels are read, and not expected.
    expected=5531,
    classes={"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084},
    speakers=10,
    sessions={"Session1": 1085, "Session2": 1023, "Session3": 1151, "Session4": 1031, "Session5": 1241},
)
