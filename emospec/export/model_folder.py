"""A finished run -> a model folder that works anywhere, without torch and without the run."""

import hashlib
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emospec
from emospec.data.pack import Pack
from emospec.errors import ModelError, RunError
from emospec.evaluation.calibration import fit_temperature
from emospec.evaluation.summary import Summary, summarise
from emospec.files import write_json, write_text
from emospec.inference.model import CARD, CONFIG, GRAPH, INT8_GRAPH, MODEL_FORMAT, WEIGHTS, Model, load_model
from emospec.report.card import model_card
from emospec.runs.record import RunRecord, find_runs, read_run

_CLOUD_POINTS = 600
# At most.
_CALIBRATION_UTTERANCES = 64

_Floats = NDArray[np.float64]


def export_model(
    run: Path | str, out: Path | str, *,
    int8: Path | str | None = None, float16: bool = False, crossval: Path | str | None = None, notes: str = "",
) -> Model:  # fmt: skip
    """Make a model folder of a finished run: weights, graph, card, and the facts about z that prediction needs.

    Args:
        run: the run folder.
        out: the model folder, made here.
        int8: the run's pack; some of its training utterances set the ranges of an int8 graph, written too.
        float16: store the graphs' weights in 16 bits: about half the files, computed as before. `int8_deviation` is
            from before that.
        crossval: a folder of runs that cross-validate the same recipe; the card then gives their scores too.
        notes: Markdown for the card's Limits, such as a table of scores on worse recordings.

    Raises:
        ModelError: `out` exists.
        RunError: the run is not finished, or damaged; or `crossval` is of another recipe.
        ExportError: the graph does not give what the network gives.
    """
    from emospec.export.onnx_file import export, halve, quantise
    from emospec.learning.learner import Learner, save_tensors

    source, out = read_run(Path(run)), Path(out)
    if out.exists():
        raise ModelError(f"{out} exists. Name a new folder")
    try:
        for key, value in (("usual_seconds", source.meta.usual_seconds), ("audit", source.scores.audit)):
            if value is None:
                raise KeyError(key)
        whole = summarise(find_runs([Path(crossval)])) if crossval else None
        card = model_card(source, whole, notes)
        config = _config(source) | ({"crossval": _crossval(whole)} if whole else {})
    except KeyError as error:
        raise RunError(
            f"{run} was trained by an earlier version of emospec, which did not note {error}. Train it again"
        ) from error
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        learner = Learner.load(source.files.model)
        export(learner, part / GRAPH)
        if int8 is not None:
            waveforms = _calibration(source, Pack(int8))
            config |= {"int8_deviation": quantise(part / GRAPH, part / INT8_GRAPH, waveforms)}
        if float16:
            config |= {"float16_deviation": max(halve(graph) for graph in sorted(part.glob("*.onnx")))}
        save_tensors(part / WEIGHTS, learner.state_dict(), {})
        write_text(part / CARD, card)
        sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(part.iterdir())}
        # The card may be edited.
        del sums[CARD]
        write_json(part / CONFIG, config | {"sha256": sums})
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return load_model(out)


def _config(run: RunRecord) -> dict[str, Any]:
    """Return what `inference.model` reads of a run."""
    # The temperatures are fitted on dev, the centres and the plane on training utterances; test has no part.
    features = run.features()
    z, labels = features["z"].astype(np.float64), features["label"]
    train, dev = (features["part"] == part for part in ("train", "dev"))
    centers = np.stack([z[train & (labels == name)].mean(axis=0) for name in run.classes])
    targets = np.array([run.classes.index(label) for label in labels[dev]])
    predictions = run.predictions()
    probabilities = predictions.loc[predictions["part"] == "dev", [f"p_{name}" for name in run.classes]]
    classes = []
    for name, center in zip(run.classes, centers, strict=True):
        distances = np.linalg.norm(z[dev & (labels == name)] - center, axis=1)
        classes.append({"name": name, "center": _rounded(center), "distances": _rounded(np.sort(distances))})
    return {
        "format": MODEL_FORMAT,
        "emospec": emospec.__version__,
        "frontend": run.settings.frontend.model_dump(exclude_unset=True),
        "classes": classes,
        "class_set": run.settings.data.classes,
        "temperature": fit_temperature(probabilities.to_numpy(), targets),
        "distance_temperature": _distance_temperature(z[dev], centers, targets),
        "plane": _plane(z[train], [run.classes.index(label) for label in labels[train]]),
        "training": {
            "setting": run.setting,
            "seed": run.meta.seed,
            "protocol": run.meta.protocol.to_dict(),
            "corpora": [corpus.to_dict() for corpus in run.learned_from],
            "usual_seconds": run.meta.usual_seconds,
            "command": run.meta.command,
        },
        "scores": {
            name: {"UA": scores.ua, "WA": scores.wa}
            for name, scores in (("dev", run.scores.dev), ("test", run.scores.test))
        },
        "audit": run.scores.audit,
    }


def _crossval(whole: Summary) -> dict[str, Any]:
    """Return the result of a cross-validation of the recipe: UA with the ends of its interval."""
    intervals = {"all": whole.intervals["UA"]} | whole.by_corpus
    return {
        "protocol": whole.runs[0].meta.protocol.name,
        "speaker_overlap": whole.speaker_overlap,
        "UA": {name: [ua.estimate, ua.low, ua.high] for name, ua in intervals.items()},
    }


def _distance_temperature(z: _Floats, centers: _Floats, targets: NDArray[np.int64]) -> float:
    """Return T of softmax(-||z - c||^2 / T), fitted on dev."""
    squared = np.square(z[:, None] - centers).sum(axis=2)
    # A scale near T, so that no probability underflows.
    scale = float(squared.min(axis=1).mean()) or 1.0
    odds = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / scale)
    return scale * fit_temperature(odds / odds.sum(axis=1, keepdims=True), targets)


def _plane(z: _Floats, labels: list[int]) -> dict[str, Any]:
    """Return the two principal axes of training z and a thinned cloud on them."""
    mean = z.mean(axis=0)
    axes = np.linalg.svd(z - mean, full_matrices=False)[2][:2]
    # The same sign each time: that of the largest component.
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]
    kept = np.sort(np.random.default_rng(0).permutation(len(z))[:_CLOUD_POINTS])
    cloud = _rounded((z[kept] - mean) @ axes.T, 4)
    return {
        "mean": _rounded(mean),
        "axes": _rounded(axes),
        "cloud": cloud,
        "labels": [labels[i] for i in kept],
    }


def _calibration(run: RunRecord, pack: Pack) -> list[NDArray[np.float32]]:
    """Return waveforms of some training utterances, spread over the fold."""
    train = [name for name, part in run.known_utterances().items() if part == "train"]
    chosen = set(train[:: max(1, math.ceil(len(train) / _CALIBRATION_UTTERANCES))])
    places = [i for i, utterance in enumerate(pack.utterances) if utterance.id in chosen]
    if len(places) < len(chosen):
        raise ModelError(
            f"{pack.folder} lacks utterances that the run was trained on. Name the run's own pack"
        )
    return [pack.waveform(i) for i in places]


def _rounded(values: _Floats, digits: int = 8) -> Any:
    """Return lists of numbers with so many significant digits."""
    return np.vectorize(lambda v: float(f"{v:.{digits}g}"))(values).tolist() if values.size else []
