"""The files that a run writes into its folder, and the predictions of its model, evaluated on its sets or another pack."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from emospec.config import to_toml
from emospec.data.pack import Pack
from emospec.data.splits import PARTS, write_folds
from emospec.data.utterances import Utterance
from emospec.errors import RunError
from emospec.evaluation import metrics
from emospec.evaluation.overlap import speaker_overlap
from emospec.experiments.spec import PreparedRun
from emospec.files import write_bytes, write_text
from emospec.inference.model import CARD
from emospec.learning.task import TrainingResult
from emospec.report.card import model_card
from emospec.runs.record import RunRecord, read_settings
from emospec.runs.stored import Meta, Scores, SetDistances, SetScores

if TYPE_CHECKING:
    from emospec.learning.learner import Learner, Outputs


class NewScores(SetScores):
    """The scores of a run's model on what is new to it in a pack."""

    # Utterances that trained or selected the model.
    left_out: int
    # Utterances of each emotion that is not a class of the model.
    other_emotions: dict[str, int]
    # Whether test speakers also trained or selected the model; None if unknown.
    speaker_overlap: bool | None
    overlap_words: str


def predict_pack(run: RunRecord, pack: Path | str, out: Path | None = None) -> pd.DataFrame:
    """Return a run's predictions of a pack's utterances of its classes, with the columns of `predictions.csv`.

    Those of `part` test are new to the model: a result.

    Args:
        pack: any pack, such as one of another corpus.
        out: where to write the predictions as CSV, if anywhere.
    """
    from emospec.learning.frame_store import FrameStore
    from emospec.learning.learner import Learner

    opened = Pack(pack)
    utterances = [u for u in opened.utterances if u.emotion in run.classes]
    if not utterances:
        raise RunError(f"{pack} holds no utterance of the run's classes: {', '.join(run.classes)}")
    parts = [part or "test" for part in run.parts_of(utterances, opened)]
    if "test" not in parts:
        raise RunError(f"{pack} holds no utterance that is new to the model: all trained or selected it")
    learner = Learner.load(run.files.model)
    outputs = learner.forward_utterances(FrameStore(opened, learner.frontend), opened.places(utterances))
    table = _table(utterances, parts, run.classes, outputs)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    return table


def evaluate_new(run: RunRecord, predictions: pd.DataFrame, pack: Path | str) -> NewScores:
    """Evaluate what is new to a run's model among the predictions that `predict_pack` made of a pack."""
    opened = Pack(pack)
    others = Counter(u.emotion for u in opened.utterances if u.emotion not in run.classes)
    new = predictions[predictions["part"] == "test"]
    tested = set(new["utterance"])
    overlap = speaker_overlap(run, opened, [u for u in opened.utterances if u.id in tested])
    return NewScores(
        **_evaluate(new, run.classes).to_dict(),
        left_out=len(predictions) - len(new),
        other_emotions=dict(sorted(others.items())),
        speaker_overlap=overlap.verdict,
        overlap_words=overlap.words,
    )


def write_start(prepared: PreparedRun, meta: Meta) -> None:
    """Write what is known of a run before its training; `meta.json` first: by it a start that failed is known."""
    files = prepared.spec.files
    meta.write(files.meta)
    write_text(files.config, to_toml(prepared.spec.settings))
    samples = prepared.pack.samples_of(prepared.utterances)
    write_folds(prepared.split, prepared.utterances, samples, files.folds)
    # Both may be left of a run that was broken off before its first checkpoint.
    if prepared.start:
        write_text(files.earlier, prepared.start.known.to_csv(index=False))
    else:
        files.earlier.unlink(missing_ok=True)
    if not files.checkpoint.is_file():
        files.history.unlink(missing_ok=True)


def write_results(
    prepared: PreparedRun,
    meta: Meta,
    result: TrainingResult,
    *,
    learner: "Learner",
    outputs: "Mapping[str, Outputs]",
) -> None:
    """Write all that a run folder holds of a trained model, with the outputs of train, dev and test."""
    files, protocol, classes = prepared.spec.files, prepared.protocol, prepared.classes
    new = {"steps": result.steps, "seconds": round(result.seconds, 1), "precision": result.precision}
    meta = meta.model_copy(update=new)
    meta.write(files.meta)
    sets = {part: [prepared.utterances[i] for i in prepared.fold.part(part)] for part in PARTS}
    labels = {part: [u.emotion for u in utterances] for part, utterances in sets.items()}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        z=np.concatenate([outputs[part].z for part in PARTS]),
        label=np.array([label for part in PARTS for label in labels[part]]),
        utterance=np.array([u.id for part in PARTS for u in sets[part]]),
        part=np.array([part for part in PARTS for _ in sets[part]]),
    )
    write_bytes(files.features, buffer.getvalue())
    dev, test = (
        _table(sets[part], [part] * len(sets[part]), classes, outputs[part]) for part in ("dev", "test")
    )
    predictions = pd.concat([dev, test]).assign(protocol=protocol.name, folds_sha256=protocol.hash)
    write_text(files.predictions, predictions.to_csv(index=False))
    distances = {part: metrics.class_distances(outputs[part].z, labels[part]) for part in PARTS}
    scores = Scores(
        classes=classes,
        protocol=protocol,
        distances={part: SetDistances(within=d.within, between=d.between) for part, d in distances.items()},
        dev=_evaluate(dev, classes),
        test=_evaluate(test, classes),
        selected_step=result.selected_step,
        audit=meta.audit.summary,
    )
    settings = prepared.spec.settings
    about = {"emospec": meta.emospec, "preset": settings.name, "protocol": protocol.to_dict()}
    learner.cpu().save(files.model, about)
    card = model_card(RunRecord(files.path, read_settings(files.config), meta, scores))
    write_text(files.model / CARD, card)
    files.pace.unlink(missing_ok=True)
    # Last: by it the run is finished.
    scores.write(files.scores)


def _evaluate(predictions: pd.DataFrame, classes: Sequence[str]) -> SetScores:
    confusion = metrics.predicted_confusion(predictions, classes)
    return SetScores(
        classes=tuple(classes),
        ua=metrics.unweighted_accuracy(confusion),
        wa=metrics.weighted_accuracy(confusion),
        recall=dict(zip(classes, metrics.recalls(confusion).tolist(), strict=True)),
        confusion=confusion.tolist(),
        utterances=len(predictions),
    )


def _table(
    utterances: Sequence[Utterance], parts: Sequence[str], classes: Sequence[str], outputs: "Outputs"
) -> pd.DataFrame:
    # The columns of `predictions.csv`, in their order.
    probabilities = outputs.probabilities
    columns: dict[str, Any] = {"utterance": [u.id for u in utterances], "part": parts}
    for name in ("corpus", "speaker", "sex", "language", "text"):
        columns[name] = [getattr(u, name) for u in utterances]
    columns["target"] = [u.emotion for u in utterances]
    columns["predicted"] = [classes[k] for k in probabilities.argmax(axis=1)]
    columns |= {f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame(columns)
