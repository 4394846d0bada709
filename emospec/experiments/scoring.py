"""What a model says of utterances, as tables and scores: of a run's own sets, and of another pack."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emospec.data.pack import Pack
from emospec.data.splits import Fold
from emospec.data.utterances import Utterance
from emospec.errors import RunError
from emospec.evaluation.metrics import class_distances, recalls, unweighted_accuracy, weighted_accuracy
from emospec.evaluation.overlap import speaker_overlap
from emospec.files import write_bytes, write_text
from emospec.runs.record import RunRecord, predicted_confusion


def judge(run: RunRecord, pack: Path | str, out: Path | None = None) -> pd.DataFrame:
    """Let a run's model judge all utterances of a pack that are of its classes.

    Args:
        run: a finished run.
        pack: any pack, such as one of another corpus.
        out: where to write the predictions as CSV, if anywhere.

    Returns:
        The predictions, one row per utterance, columns as in `predictions.csv`; `part` is `test` for those
        that the model was neither trained nor chosen on: they alone can be a result.

    Raises:
        RunError: the pack holds no utterance of the run's classes, or none that is new to the model.
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
    learner = Learner.load(run.folder / "model")
    outputs = learner.forward_utterances(FrameStore(opened, learner.frontend), opened.places(utterances))
    table = _predictions(utterances, parts, run.classes, outputs.probabilities)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    return table


def score_new(run: RunRecord, predictions: pd.DataFrame, pack: Path | str) -> dict[str, Any]:
    """Score what is new to a run's model of what `judge` gave of a pack.

    Returns:
        As `score`, and `left_out`, the utterances that made the model; `other_emotions`, how many utterances of
        the pack are of each emotion that is none of the model's classes; `speaker_overlap`, whether speakers of
        what was judged made the model too (None where unknown), with `overlap_words`.
    """
    opened = Pack(pack)
    others = Counter(u.emotion for u in opened.utterances if u.emotion not in run.classes)
    new = predictions[predictions["part"] == "test"]
    tested = set(new["utterance"])
    overlap = speaker_overlap(run, opened, [u for u in opened.utterances if u.id in tested])
    told = {
        "left_out": len(predictions) - len(new),
        "other_emotions": dict(sorted(others.items())),
        "speaker_overlap": overlap.verdict,
        "overlap_words": overlap.words,
    }
    return score(new, run.classes) | told


def write_judgement(
    out: Path,
    utterances: Sequence[Utterance],
    classes: Sequence[str],
    fold: Fold,
    outputs: dict[str, Any],
    protocol: dict[str, Any],
) -> dict[str, Any]:
    """Write `features.npz` and `predictions.csv`; what `scores.json` says of them."""
    z, labels, names, parts = [], [], [], []
    scores: dict[str, Any] = {"classes": list(classes), "protocol": protocol, "distances": {}}
    tables = []
    for part, output in outputs.items():
        chosen = [utterances[i] for i in fold.part(part)]
        z.append(output.z)
        labels += [u.emotion for u in chosen]
        names += [u.id for u in chosen]
        parts += [part] * len(chosen)
        distances = class_distances(output.z, [u.emotion for u in chosen])
        scores["distances"][part] = {"within": distances.within, "between": distances.between}
        if part != "train":
            table = _predictions(chosen, [part] * len(chosen), classes, output.probabilities)
            tables.append(table.assign(protocol=protocol["name"], folds_sha256=protocol["hash"]))
            scores[part] = score(table, classes)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, z=np.concatenate(z), label=np.array(labels), utterance=np.array(names), part=np.array(parts)
    )
    write_bytes(out / "features.npz", buffer.getvalue())
    write_text(out / "predictions.csv", pd.concat(tables).to_csv(index=False))
    return scores


def score(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """UA, WA, recall per class, confusion and number of utterances of predictions."""
    confusion = predicted_confusion(predictions, classes)
    return {
        "classes": list(classes),
        "UA": unweighted_accuracy(confusion),
        "WA": weighted_accuracy(confusion),
        "recall": dict(zip(classes, recalls(confusion).tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "utterances": len(predictions),
    }


def _predictions(
    utterances: Sequence[Utterance], parts: Sequence[str], classes: Sequence[str], probabilities: Any
) -> pd.DataFrame:
    facts = {
        name: [getattr(u, name) for u in utterances]
        for name in ("corpus", "speaker", "sex", "language", "text")
    }
    return pd.DataFrame(
        {"utterance": [u.id for u in utterances], "part": parts}
        | facts
        | {
            "target": [u.emotion for u in utterances],
            "predicted": [classes[k] for k in probabilities.argmax(axis=1)],
        }
        | {f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}
    )
