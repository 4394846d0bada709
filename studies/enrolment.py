"""New emotions by example: each EMO-DB emotion left out of training, then enrolled from five clips.

python -m studies.enrolment PACK OUT trains what is missing under OUT (resumable) and prints the table of docs/using.md.
The speakers are in five groups (speaker-independent); `--folds` tests the first so many of them.
"""

import argparse
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

from bench.scores import pooled, told
from emospec.data.pack import Pack
from emospec.data.utterances import Utterance
from emospec.errors import mistakes_in_one_line
from emospec.evaluation.statistics import Interval
from emospec.experiments.parallel import run_specs
from emospec.experiments.planning import Arm, plan
from emospec.export.model_folder import export_model
from emospec.inference.recognizer import Prediction, Recognizer
from emospec.runs.record import RunRecord

EMOTIONS = ("neutral", "angry", "happy", "sad", "fearful", "disgusted", "bored")
CLIPS, DRAWS = 5, 5
RECIPE = ("data.protocol=groups:5", "training.evaluate_every=33")


def train_all(pack: Path, out: Path, folds: int) -> dict[str, list[RunRecord]]:
    """By the emotion they lack, "" for none: the models of each fold; the speakers of a fold are always the same."""
    jobs = {}
    for left_out in ("", *EMOTIONS):
        classes = ",".join(f'"{name}"' for name in EMOTIONS if name != left_out)
        arm = Arm("", "dai2019-mel", (*RECIPE, f"data.classes=[{classes}]"))
        folder = out / (f"without-{left_out}" if left_out else "full")
        command = f"python -m studies.enrolment ({folder.name})"
        jobs[left_out] = plan([arm], pack, folder, folds=folds, command=command)
    runs = iter(run_specs([job for some in jobs.values() for job in some], resume=True))
    return {left_out: list(islice(runs, len(some))) for left_out, some in jobs.items()}


def judged(runs: list[RunRecord], pack: Pack, left_out: str) -> tuple[list[Utterance], list[str]]:
    """Every test speaker's utterances, `DRAWS` times with other clips enrolled; and what was said of them."""
    asked: list[Utterance] = []
    said: list[str] = []
    for run in runs:
        known, voices = run.known_utterances(), run.known_voices()
        trained = {u.voice for u in pack.utterances if known.get(u.id) == "train"}
        clips = [i for i, u in enumerate(pack.utterances) if u.emotion == left_out and u.voice in trained]
        tests = [i for i, u in enumerate(pack.utterances) if u.voice not in voices]
        waveforms = [pack.waveform(i) for i in tests]
        with tempfile.TemporaryDirectory() as name:
            model = export_model(run.folder, Path(name) / "model")
            for draw in range(DRAWS if left_out else 1):
                recognizer = Recognizer(model)
                if left_out:
                    chosen = np.random.default_rng([draw, run.place[1]]).choice(clips, CLIPS, replace=False)
                    recognizer.enroll(left_out, [pack.waveform(i) for i in chosen], 16_000)
                asked += [pack.utterances[i] for i in tests]
                for one in recognizer.predict(waveforms, 16_000):
                    if not isinstance(one, Prediction):
                        raise SystemExit(one.error)
                    said.append(one.emotion or "")
    return asked, said


def main() -> None:
    """Train what is missing, judge, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    runs = train_all(options.pack, options.out, options.folds)
    pack = Pack(options.pack)
    full = judged(runs[""], pack, "")
    print("| emotion | recall, trained | recall, enrolled | UA of all 7, all trained | UA, it enrolled |")
    print("|---|---|---|---|---|")
    for emotion in EMOTIONS:
        both = full, judged(runs[emotion], pack, emotion)
        cells = [_recall(*one, emotion) for one in both] + [pooled(*one) for one in both]
        print(f"| {emotion} | {' | '.join(map(told, cells))} |", flush=True)


def _recall(asked: list[Utterance], said: list[str], emotion: str) -> Interval:
    own = [k for k, u in enumerate(asked) if u.emotion == emotion]
    return pooled([asked[k] for k in own], [said[k] for k in own], "WA")


if __name__ == "__main__":
    with mistakes_in_one_line("studies.enrolment"):
        main()
