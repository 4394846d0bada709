"""Baselines on the folds of a cross-validation: openSMILE's functionals, or a teacher's vectors, and a linear machine.

python -m studies.baselines PACK RUNS CACHE [--teacher FILE] [--folds 1,6] prints UA with intervals by speaker of the runs
(the mean over repeats), of the repeats' mean probabilities, and, on the same test sets, of the machines, which learn
from all that a fold does not test, dev too. CACHE keeps the functionals.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.peers import SETS, extractor, machine
from bench.scores import pooled, told
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.pack import Pack
from emospec.data.utterances import Utterance
from emospec.errors import RunError, mistakes_in_one_line
from emospec.evaluation.statistics import Interval
from emospec.evaluation.summary import summarise
from emospec.files import write_bytes
from emospec.learning.distillation import read_teacher
from emospec.runs.record import RunRecord, find_runs

TEACHER_C = 1e-3  # the best of 1e-4 to 1e-1 on the dev sets of the recipe search


def functionals_of(pack: Pack, name: str, cache: Path) -> NDArray[np.float64]:
    """(utterances, features); made once."""
    file = cache / f"{name}-{pack.digest[:16]}.npy"
    if not file.is_file():
        smile = extractor(name)
        rows = (smile.process_signal(pack.waveform(i), SAMPLE_RATE).to_numpy()[0] for i in range(len(pack)))
        content = io.BytesIO()
        np.save(content, np.stack(list(rows)).astype(np.float32), allow_pickle=False)
        cache.mkdir(parents=True, exist_ok=True)
        write_bytes(file, content.getvalue())
    return np.load(file, allow_pickle=False).astype(np.float64)


def vectors_of(pack: Pack, teacher: Path) -> NDArray[np.float64]:
    """(utterances, 2 * dimensions): mean and deviation over the steps of a file of `studies.teacher`."""
    known = read_teacher(str(teacher))
    return np.stack([known.summary(known.places[u.id]) for u in pack.utterances]).astype(np.float64)


def judged(c: float, features: NDArray[np.float64], pack: Pack, runs: list[RunRecord]) -> Interval:
    """UA of a machine trained for each run on what the run does not test, pooled over the runs' test sets."""
    places = {u.id: i for i, u in enumerate(pack.utterances)}
    labels = np.array([u.emotion for u in pack.utterances])
    asked: list[Utterance] = []
    said: list[str] = []
    for run in runs:
        tables = run.predictions()
        test = [places[u] for u in tables.loc[tables["part"] == "test", "utterance"]]
        train = [places[u] for u, part in run.known_utterances().items() if part != "earlier"]
        fitted = machine(c).fit(features[train], labels[train])
        asked += [pack.utterances[i] for i in test]
        said += fitted.predict(features[test]).tolist()
    return pooled(asked, said)


def together(pack: Pack, runs: list[RunRecord]) -> Interval:
    """UA of the mean probabilities of all repeats, pooled over the folds."""
    tables = pd.concat([run.predictions() for run in runs])
    tests = tables[tables["part"] == "test"]
    means = tests.groupby("utterance")[[f"p_{name}" for name in runs[0].classes]].mean()
    known = {u.id: u for u in pack.utterances}
    said = means.idxmax(axis=1).str.removeprefix("p_")
    return pooled([known[u] for u in said.index], said.tolist())


def main() -> None:
    """Judge, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("pack", "runs", "cache"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--folds", help="only these, such as 1,6")
    options = parser.parse_args()
    pack, runs = Pack(options.pack), find_runs([options.runs])
    if options.folds:
        runs = [run for run in runs if str(run.place[1]) in options.folds.split(",")]
    if not runs:
        raise RunError(f"{options.runs} holds no run of the folds {options.folds}. Name some that were run")
    found = {runs[0].setting: summarise(runs).intervals["UA"]}
    first = [run for run in runs if run.place[0] == runs[0].place[0]]  # machines do not differ by repeat
    repeats = len({run.place[0] for run in runs})
    if repeats > 1:
        found[f"mean probabilities of {repeats} models"] = together(pack, runs)
    for name, c in SETS.items():
        found[f"{name} + linear SVC"] = judged(c, functionals_of(pack, name, options.cache), pack, first)
    if options.teacher:
        found["teacher + linear SVC"] = judged(TEACHER_C, vectors_of(pack, options.teacher), pack, first)
    print("| what | UA % [95%] |\n|---|---|")
    for what, ua in found.items():
        print(f"| {what} | {told(ua)} |")


if __name__ == "__main__":
    with mistakes_in_one_line("studies.baselines"):
        main()
