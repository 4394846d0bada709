"""New emotions by example: each EMO-DB emotion left out of training, then enrolled from five clips.

python -m bench.enrolment PACK OUT trains what is missing under OUT (resumable) and prints the table.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import emospec
from emospec.data.pack import Pack
from emospec.evaluation.results import find_runs
from emospec.inference.recognizer import Prediction, Recognizer
from emospec.release import export_model

EMOTIONS = ("neutral", "angry", "happy", "sad", "fearful", "disgusted", "bored")
PROTOCOL, CLIPS, DRAWS = "groups:5", 5, 5


def train_all(pack: Path, out: Path) -> None:
    """The fully trained models, and those that lack one emotion each; same speakers in every fold."""
    for left_out in ("", *EMOTIONS):
        classes = ",".join(f'"{name}"' for name in EMOTIONS if name != left_out)
        changed = [f"data.protocol={PROTOCOL}", f"data.classes=[{classes}]"]
        emospec.crossval(
            pack, out / (f"without-{left_out}" if left_out else "full"), overrides=changed, resume=True
        )


def judged(runs: Path, pack: Pack, left_out: str) -> tuple[list[str], list[str]]:
    """What was said of every test speaker's utterances, `DRAWS` times with other clips; and what was so."""
    said, truth = [], []
    for run in find_runs([runs]):
        known = run.known_utterances()
        train = {u.speaker for u in pack.utterances if known.get(u.id) == "train"}
        voices = {u.speaker for u in pack.utterances if known.get(u.id)}
        tests = [i for i, u in enumerate(pack.utterances) if u.speaker not in voices]
        waveforms = [pack.waveform(i) for i in tests]
        with tempfile.TemporaryDirectory() as name:
            model = export_model(run.folder, Path(name) / "model")
            for draw in range(DRAWS if left_out else 1):
                recognizer = Recognizer(model)
                if left_out:
                    of_train = [
                        i
                        for i, u in enumerate(pack.utterances)
                        if u.emotion == left_out and u.speaker in train
                    ]
                    clips = np.random.default_rng([draw, run.place[1]]).choice(of_train, CLIPS, replace=False)
                    recognizer.enroll(left_out, [pack.waveform(i) for i in clips], 16_000)
                results = recognizer.predict(waveforms, 16_000)
                said += [r.emotion or "" for r in results if isinstance(r, Prediction)]
                truth += [pack.utterances[i].emotion for i in tests]
    return said, truth


def main() -> None:
    """Train what is missing, judge, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    train_all(options.pack, options.out)
    pack = Pack(options.pack)
    full = judged(options.out / "full", pack, "")
    print(
        "| emotion | recall, fully trained | recall, enrolled | UA of all 7, fully trained | UA, one enrolled |\n|---|---|---|---|---|"
    )
    for emotion in EMOTIONS:
        cells = []
        for said, truth in (full, judged(options.out / f"without-{emotion}", pack, emotion)):
            recalls = {
                e: np.mean([s == e for s, t in zip(said, truth, strict=True) if t == e]) for e in EMOTIONS
            }
            cells.append((recalls[emotion], np.mean(list(recalls.values()))))
        (trained, ua), (enrolled, ua_enrolled) = cells
        print(
            f"| {emotion} | {100 * trained:.1f} | {100 * enrolled:.1f} | {100 * ua:.1f} | {100 * ua_enrolled:.1f} |"
        )


if __name__ == "__main__":
    main()
