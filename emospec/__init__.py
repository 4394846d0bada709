"""Emotions from speech spectrograms, learned with centre loss (Dai et al., ICASSP 2019).

>>> import emospec
>>> run = emospec.train("packs/emodb", "runs/emodb", "dai2019-mel")  # doctest: +SKIP
>>> emospec.evaluate("runs/emodb")  # doctest: +SKIP
>>> emospec.export_model("runs/emodb", "models/emodb")  # doctest: +SKIP
>>> emospec.Recognizer("models/emodb").predict("call.wav").emotion  # doctest: +SKIP
"""

import os
from importlib import import_module
from typing import Any

__version__ = "0.3.0"

# Nothing leaves the machine: both are read when the library is imported, which emospec does later than this.
# Child processes inherit them. Whoever wants the telemetry sets the variable to 0 before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Failure": "emospec.inference.prediction",
    "WindowPrediction": "emospec.inference.streaming",
    "Prediction": "emospec.inference.prediction",
    "Recognizer": "emospec.inference.recognizer",
    "Segment": "emospec.inference.timeline",
    "Stream": "emospec.inference.streaming",
    "Timeline": "emospec.inference.timeline",
    "Timing": "emospec.inference.streaming",
    "compare": "emospec.evaluation.comparison",
    "crossval": "emospec.experiments.plans",
    "evaluate": "emospec.evaluation.summary",
    "export_model": "emospec.export.model_folder",
    "prepare": "emospec.data.pack",
    "score": "emospec.inference.bulk",
    "train": "emospec.experiments.run",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import emospec` itself needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'emospec' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
