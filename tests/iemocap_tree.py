"""A tree with the names, labels and true counts of IEMOCAP: 5531 utterances in four classes.

The counts by session and code, and by style and code, are the corpus's own; which dialogue and which
speaker an utterance belongs to is made up.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

CODES = ("neu", "hap", "exc", "ang", "sad")
BY_SESSION = (
    (384, 135, 143, 229, 194),
    (362, 117, 210, 137, 197),
    (320, 135, 151, 240, 305),
    (258, 65, 238, 327, 143),
    (384, 143, 299, 170, 245),
)
SCRIPTED = (609, 311, 378, 814, 476)
# Outside the four classes, per session: all but xxx are read. The numbers are made up.
EXTRAS = (("fru", 6), ("sur", 1), ("fea", 1), ("dis", 1), ("oth", 1), ("xxx", 5))
DIALOGUES = {
    "impro": ("impro01", "impro02", "impro05a"),
    "script": ("script01_1", "script02_2", "script03_1b"),
}
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def _begin(file: Path) -> None:
    file.write_bytes(b"RIFF\0\0\0\0WAVE")


def make_iemocap_tree(root: Path, audio: Callable[[Path], None] = _begin) -> None:
    """Make the tree under `root`; `audio` writes one recording to the path that it gets."""
    for session in range(1, 6):
        dialogues = _deal(
            session, [*_four_classes(session), *(("impro", c) for c, n in EXTRAS for _ in range(n))]
        )
        for dialogue, lines in dialogues.items():
            _write_dialogue(root / f"Session{session}", dialogue, lines, audio)


def _four_classes(session: int) -> list[tuple[str, str]]:
    """(style, code) of each utterance of a session; rounding down a running sum keeps the totals exact."""
    utterances = []
    for column, code in enumerate(CODES):
        counts = [row[column] for row in BY_SESSION]
        before, upto = (sum(counts[:n]) * SCRIPTED[column] // sum(counts) for n in (session - 1, session))
        scripted = upto - before
        utterances += [("script", code)] * scripted + [("impro", code)] * (counts[session - 1] - scripted)
    return utterances


def _deal(session: int, utterances: list[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Dialogue -> (utterance, code): in turn to the dialogues, and two to one to the two speakers of each."""
    dialogues: dict[str, list[tuple[str, str]]] = defaultdict(list)
    turns = {
        style: cycle([f"Ses0{session}{side}_{name}" for side in "FM" for name in names])
        for style, names in DIALOGUES.items()
    }
    for style, code in utterances:
        dialogue = next(turns[style])
        number = len(dialogues[dialogue])
        dialogues[dialogue].append((f"{dialogue}_{'FMF'[number % 3]}{number:03}", code))
    return dialogues


def _write_dialogue(
    session: Path, dialogue: str, lines: list[tuple[str, str]], audio: Callable[[Path], None]
) -> None:
    labels = session / "dialog" / "EmoEvaluation"
    recordings = session / "sentences" / "wav" / dialogue
    for folder in (labels / "Categorical", recordings, session / "dialog" / "wav"):
        folder.mkdir(parents=True, exist_ok=True)
    text = HEADER + "".join(
        f"[{n}.2901 - {n}.9357]\t{stem}\t{code}\t[2.5000, 2.5000, 2.5000]\n"
        "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
        for n, (stem, code) in enumerate(lines)
    )
    (labels / f"{dialogue}.txt").write_text(text, encoding="latin-1")
    (labels / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07")
    (labels / "Categorical" / f"{dialogue}_e2_cat.txt").write_text(f"{lines[0][0]} :Anger; ()\n")
    (session / "dialog" / "wav" / f"{dialogue}.wav").touch()
    for stem, _ in lines:
        audio(recordings / f"{stem}.wav")
    (recordings / f"._{lines[0][0]}.wav").write_bytes(b"\x00\x05\x16\x07")
