"""Measure enrolment: each emotion of EMO-DB is left out of training, then enrolled from five clips.

`python -m studies.enrolment PACK OUT` trains the missing runs under OUT (resumable) and prints the table of
docs/using.md. The speakers are in five groups (speaker-independent); `--folds` tests only the first of them.
"""

import argparse
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

from bench.scores import pooled_score, score_cell
from emospec.data.pack import Pack
from emospec.data.utterances import Utterance
from emospec.errors import exit_on_error
from emospec.evaluation.statistics import Interval
from emospec.experiments.parallel import run_specs
from emospec.experiments.plans import Arm, plan
from emospec.export.model_folder import export_model
from emospec.inference.prediction import Prediction
from emospec.inference.recognizer import Recognizer
from emospec.runs.record import RunRecord

EMOTIONS = ("neutral", "angry", "happy", "sad", "fearful", "disgusted", "bored")
CLIPS, DRAWS = 5, 5
RECIPE = ("data.protocol=groups:5", "training.evaluate_every=33")


def train_all(pack: Path, out: Path, folds: int) -> dict[str, list[RunRecord]]:
    """Return the run of each fold by the emotion left out ("" for none); a fold always tests the same speakers."""
    jobs = {}
    for left_out in ("", *EMOTIONS):
        classes = ",".join(f'"{name}"' for name in EMOTIONS if name != left_out)
        arm = Arm("", "dai2019-mel", (*RECIPE, f"data.classes=[{classes}]"))
        folder = out / (f"without-{left_out}" if left_out else "full")
        command = f"python -m studies.enrolment ({folder.name})"
        jobs[left_out] = plan([arm], pack, folder, folds=folds, command=command)
    runs = iter(run_specs([job for of_emotion in jobs.values() for job in of_emotion], resume=True))
    return {left_out: list(islice(runs, len(of_emotion))) for left_out, of_emotion in jobs.items()}


def predict_tests(runs: list[RunRecord], pack: Pack, left_out: str) -> tuple[list[Utterance], list[str]]:
    """Return the utterances of all test speakers and the predictions of them.

    With an emotion left out they come `DRAWS` times, each time with other clips enrolled.
    """
    tested: list[Utterance] = []
    predicted: list[str] = []
    for run in runs:
        parts, seen = run.known_utterances(), set(run.known["speaker"])
        trained = {u.voice for u in pack.utterances if parts.get(u.id) == "train"}
        clips = [i for i, u in enumerate(pack.utterances) if u.emotion == left_out and u.voice in trained]
        tests = [i for i, u in enumerate(pack.utterances) if u.voice not in seen]
        waveforms = [pack.waveform(i) for i in tests]
        with tempfile.TemporaryDirectory() as name:
            model = export_model(run.folder, Path(name) / "model")
            for draw in range(DRAWS if left_out else 1):
                recognizer = Recognizer(model)
                if left_out:
                    chosen = np.random.default_rng([draw, run.place[1]]).choice(clips, CLIPS, replace=False)
                    recognizer.enroll(left_out, [pack.waveform(i) for i in chosen], 16_000)
                tested += [pack.utterances[i] for i in tests]
                for result in recognizer.predict(waveforms, 16_000):
                    if not isinstance(result, Prediction):
                        raise SystemExit(result.error)
                    predicted.append(result.emotion or "")
    return tested, predicted


def main() -> None:
    """Train the missing runs, evaluate them, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path, help="a pack of EMO-DB")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--folds", type=int, default=5, help="how many of the five groups are tested")
    options = parser.parse_args()
    runs = train_all(options.pack, options.out, options.folds)
    pack = Pack(options.pack)
    full = predict_tests(runs[""], pack, "")
    print("| emotion | recall, trained | recall, enrolled | UA of all 7, all trained | UA, it enrolled |")
    print("|---|---|---|---|---|")
    for emotion in EMOTIONS:
        both = full, predict_tests(runs[emotion], pack, emotion)
        scores = [_recall(*result, emotion) for result in both] + [pooled_score(*result) for result in both]
        print(f"| {emotion} | {' | '.join(map(score_cell, scores))} |", flush=True)


def _recall(tested: list[Utterance], predicted: list[str], emotion: str) -> Interval:
    places = [k for k, u in enumerate(tested) if u.emotion == emotion]
    return pooled_score([tested[k] for k in places], [predicted[k] for k in places], "WA")


if __name__ == "__main__":
    with exit_on_error("studies.enrolment"):
        main()
