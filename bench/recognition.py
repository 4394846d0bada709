"""The recogniser on files: speed, memory and accuracy against openSMILE with a support vector machine."""

import statistics
import tempfile
from functools import cache
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bench.corpus import EMODB
from bench.measure import Ratio, anonymous_bytes, in_turn, ratios_of, seconds, table, worker
from bench.peers import FEATURE_SETS, extractor, functionals, linear_machine
from bench.scores import pooled_score, score_cell
from emospec.audio.reader import read_audio
from emospec.data.corpora import read_corpus
from emospec.data.pack import prepare
from emospec.evaluation.statistics import Interval
from emospec.export.model_folder import export_model
from emospec.inference.prediction import Prediction
from emospec.inference.recognizer import Recognizer
from emospec.runs.record import find_runs

TIMED_FILES, MANY_FILES = 60, 10_000


def models(runs: Path, folder: Path) -> dict[str, Path]:
    """Export the models of a one-speaker-out cross-validation on EMO-DB, with int8 graphs, by test speaker."""
    pack, _ = prepare(read_corpus("emodb", EMODB), folder / "pack")
    exported = {}
    for run in find_runs([runs]):
        predictions = run.predictions()
        (speaker,) = set(predictions.loc[predictions["part"] == "test", "speaker"])
        export_model(run.folder, folder / speaker, int8=pack.folder)
        exported[speaker] = folder / speaker
    return exported


@cache
def _recognizer(model: Path, int8: bool) -> Recognizer:
    return Recognizer(model, int8=int8, threads=1)


def _time_ours(model: Path, int8: bool, files: list[Path]) -> float:
    recognizer = _recognizer(model, int8)
    return seconds(lambda: [recognizer.predict(file) for file in files])


@cache
def _peer(name: str):  # type: ignore[no-untyped-def]
    smile = extractor(name)
    files = sorted((EMODB / "audio").iterdir())[:40]
    return smile, linear_machine(FEATURE_SETS[name]).fit(functionals(smile, files), np.arange(len(files)) % 7)


def _time_peer(name: str, files: list[Path]) -> float:
    smile, fitted = _peer(name)
    return seconds(lambda: [fitted.predict(functionals(smile, [file])) for file in files])


def _memory(model: Path, files: list[Path]) -> list[int]:
    """Return the anonymous memory after each tenth of many files."""
    recognizer = Recognizer(model, threads=1)
    memory = []
    for done, _ in enumerate(recognizer.predict_many(islice(cycle(files), MANY_FILES)), start=1):
        if done % (MANY_FILES // 10) == 0:
            memory.append(anonymous_bytes())
    return memory


def accuracy(exported: dict[str, Path]) -> dict[str, Interval]:
    """Return the UA over all speakers' test predictions: float, int8, and the peers on the same folds."""
    utterances = read_corpus("emodb", EMODB)
    names = list(Recognizer(next(iter(exported.values()))).model.names)
    targets = np.array([names.index(u.emotion) for u in utterances])
    speakers = np.array([u.speaker for u in utterances])
    files = [u.file for u in utterances]
    predicted = {
        name: np.zeros(len(files), np.int64) for name in ("emospec, float", "emospec, int8", *FEATURE_SETS)
    }
    features = {name: functionals(extractor(name), files) for name in FEATURE_SETS}
    for speaker, model in exported.items():
        test = np.flatnonzero(speakers == speaker)
        for int8 in (False, True):
            results = Recognizer(model, int8=int8).predict([files[i] for i in test])
            classes = [names.index(r.emotion or "") for r in results if isinstance(r, Prediction)]
            predicted["emospec, int8" if int8 else "emospec, float"][test] = classes
        for name in FEATURE_SETS:
            train = speakers != speaker
            fitted = linear_machine(FEATURE_SETS[name]).fit(features[name][train], targets[train])
            predicted[name][test] = fitted.predict(features[name][test])
    tested = np.flatnonzero(np.isin(speakers, list(exported)))
    test_utterances = [utterances[i] for i in tested]
    return {
        name: pooled_score(test_utterances, [names[classes[i]] for i in tested])
        for name, classes in predicted.items()
    }


def main(runs: Path) -> str:
    """Return the section of the report; `runs` is a one-speaker-out cross-validation on EMO-DB."""
    with tempfile.TemporaryDirectory() as name, worker(1) as ours, worker(1) as theirs:
        exported = models(runs, Path(name))
        model = next(iter(exported.values()))
        files = sorted((EMODB / "audio").iterdir())[:TIMED_FILES]
        audio = sum(len(read_audio(file)) for file in files) / 16000
        timed = {
            "float": lambda: ours.submit(_time_ours, model, False, files).result(),
            "int8": lambda: ours.submit(_time_ours, model, True, files).result(),
        } | {peer: lambda peer=peer: theirs.submit(_time_peer, peer, files).result() for peer in FEATURE_SETS}  # type: ignore[misc]
        times = in_turn(timed)
        memory = ours.submit(_memory, model, files).result()
        scores = accuracy(exported)
    speed = {way: f"{audio / statistics.median(seconds_):.0f} s/s" for way, seconds_ in times.items()}
    rows = [
        Ratio(
            f"log-Mel model, {kind}",
            peer,
            ratios_of(times[peer], times[kind]),
            speed[kind],
            speed[peer],
            target=5.0 if peer == "eGeMAPSv02" and kind == "int8" else None,
        )
        for kind in ("float", "int8")
        for peer in FEATURE_SETS
    ]
    lines = "\n".join(f"| {name} | {score_cell(ua)} |" for name, ua in scores.items())
    return f"""## Recognition

Files to emotions, decoding included, one core, one file at a time: {TIMED_FILES} files of EMO-DB, {audio:.0f} s of speech. The peers are
openSMILE's functionals and a linear support vector machine. Seconds of audio per second.

{table(rows)}

Anonymous memory after each tenth of {MANY_FILES} files, MiB: {", ".join(f"{b / 2**20:.0f}" for b in memory)}.

UA on EMO-DB, 7 classes, one speaker out (speaker-independent), {len(exported)} speakers. The linear machines learn from training and dev speakers,
emospec from training speakers alone.

| what | UA % [95%] |
|---|---|
{lines}
"""
