"""Compare the runs of a cross-validation with linear machines on openSMILE's functionals or a teacher's embeddings.

`python -m studies.baselines PACK RUNS CACHE [--teacher FILE] [--folds 1,6]` prints UA with intervals by speaker of the
runs (the mean over repeats), of the mean probabilities of the repeats, and of the machines on the same test sets. A
machine learns from everything that a fold does not test, dev included. CACHE keeps the functionals.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.peers import FEATURE_SETS, extractor, linear_machine
from bench.scores import pooled_score, score_cell
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.pack import Pack
from emospec.data.utterances import Utterance
from emospec.errors import RunError, exit_on_error
from emospec.evaluation.statistics import Interval
from emospec.evaluation.summary import rows_of_test, summarise
from emospec.files import write_bytes
from emospec.learning.distillation import read_teacher
from emospec.runs.record import RunRecord, find_runs

TEACHER_C = 1e-3  # the best of 1e-4 to 1e-1 on the dev sets of the recipe search


def functionals_of(pack: Pack, name: str, cache: Path) -> NDArray[np.float64]:
    """Return a pack's functionals (utterances, features), from the cache where they are there."""
    file = cache / f"{name}-{pack.digest[:16]}.npy"
    if not file.is_file():
        smile = extractor(name)
        rows = (smile.process_signal(pack.waveform(i), SAMPLE_RATE).to_numpy()[0] for i in range(len(pack)))
        content = io.BytesIO()
        np.save(content, np.stack(list(rows)).astype(np.float32), allow_pickle=False)
        cache.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content.getvalue())
    return np.load(file, allow_pickle=False).astype(np.float64)


def embeddings_of(pack: Pack, file: Path) -> NDArray[np.float64]:
    """Return mean and deviation over the steps of a file of `studies.teacher`: (utterances, 2 * dimensions)."""
    teacher = read_teacher(str(file))
    return np.stack([teacher.summary(teacher.places[u.id]) for u in pack.utterances]).astype(np.float64)


def evaluate_machine(c: float, features: NDArray[np.float64], pack: Pack, runs: list[RunRecord]) -> Interval:
    """Return the pooled UA of a machine trained for each run on the utterances that the run does not test."""
    places = {u.id: i for i, u in enumerate(pack.utterances)}
    labels = np.array([u.emotion for u in pack.utterances])
    tested: list[Utterance] = []
    predicted: list[str] = []
    for run in runs:
        test = [places[u] for u in rows_of_test([run])["utterance"]]
        train = [places[u] for u, part in run.known_utterances().items() if part != "earlier"]
        machine = linear_machine(c).fit(features[train], labels[train])
        tested += [pack.utterances[i] for i in test]
        predicted += machine.predict(features[test]).tolist()
    return pooled_score(tested, predicted)


def evaluate_ensemble(pack: Pack, runs: list[RunRecord]) -> Interval:
    """Return the UA of the mean probabilities of all repeats, pooled over the folds."""
    probabilities = [f"p_{name}" for name in runs[0].classes]
    means = rows_of_test(runs).groupby("utterance")[probabilities].mean()
    utterances = {u.id: u for u in pack.utterances}
    predicted = means.idxmax(axis=1).str.removeprefix("p_")
    return pooled_score([utterances[u] for u in predicted.index], predicted.tolist())


def main() -> None:
    """Evaluate the runs and the machines, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path, help="the pack that the runs were trained on")
    parser.add_argument("runs", type=Path, help="folder of a cross-validation")
    parser.add_argument("cache", type=Path, help="folder that keeps the functionals")
    parser.add_argument("--teacher", type=Path, help="a file of studies.teacher over the pack")
    parser.add_argument("--folds", help="only these, such as 1,6")
    options = parser.parse_args()
    pack, runs = Pack(options.pack), find_runs([options.runs])
    if options.folds:
        runs = [run for run in runs if str(run.place[1]) in options.folds.split(",")]
    if not runs:
        raise RunError(f"{options.runs} holds no run of the folds {options.folds}. Name some that were run")
    scores = {runs[0].setting: summarise(runs).intervals["UA"]}
    repeats = len({run.place[0] for run in runs})
    if repeats > 1:
        scores[f"mean probabilities of {repeats} models"] = evaluate_ensemble(pack, runs)
    # A machine is the same in every repeat.
    first = [run for run in runs if run.place[0] == runs[0].place[0]]
    for name, c in FEATURE_SETS.items():
        features = functionals_of(pack, name, options.cache)
        scores[f"{name} + linear SVC"] = evaluate_machine(c, features, pack, first)
    if options.teacher:
        embeddings = embeddings_of(pack, options.teacher)
        scores["teacher + linear SVC"] = evaluate_machine(TEACHER_C, embeddings, pack, first)
    print("| what | UA % [95%] |\n|---|---|")
    for name, ua in scores.items():
        print(f"| {name} | {score_cell(ua)} |")


if __name__ == "__main__":
    with exit_on_error("studies.baselines"):
        main()
