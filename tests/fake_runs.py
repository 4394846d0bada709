"""Run folders without a training: `fake_run` writes the files that a summary or a sweep needs."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from emospec.config import load_settings, to_toml
from emospec.runs.record import RunRecord, read_run

CLASSES = ["angry", "sad"]
Confusion = list[list[int]]
Model = TypeVar("Model", bound=BaseModel)


def changed(model: Model, **changes: Any) -> Model:
    """Return a settings table, meta or scores with other values, by their keys on disk."""
    return type(model).model_validate(model.model_dump(by_alias=True, exclude_unset=True) | changes)


def fake_run(
    folder: Path,
    confusion: Confusion,
    *,
    protocol: str = "groups:5",
    fold: int = 1,
    repeat: int = 0,
    drawn: str = "first draw",
    weight: float = 0.3,
    seed: int = 0,
    classes: list[str] = CLASSES,
    dev_ua: float = 0.5,
    overrides: list[str] | None = None,
    corpus: str = "emodb",
    steps: int = 1000,
    checkpoint_seconds: float = 30.0,
) -> RunRecord:
    folder.mkdir(parents=True)
    meta = {
        "preset": "dai2019-mel",
        "overrides": overrides or [],
        "seed": seed,
        "classes": classes,
        "corpora": [{"name": corpus}],
        "protocol": {
            "name": protocol,
            "fold": fold,
            "folds": 5,
            "repeat": repeat,
            "hash": f"{drawn} of {repeat}",
        },
    }
    scores = {"dev": {"UA": dev_ua}, "test": {"confusion": confusion}}
    values = {"loss.center_weight": weight, "training.checkpoint_seconds": checkpoint_seconds}
    settings = load_settings("dai2019-mel", [f"{key}={value}" for key, value in values.items()])
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"steps": steps})})
    for name, text in (
        ("meta.json", json.dumps(meta)),
        ("scores.json", json.dumps(scores)),
        ("config.toml", to_toml(settings)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    return read_run(folder)
