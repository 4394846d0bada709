"""The model folder: finds, checks and reads a saved model. `export` writes it; nothing here needs torch.

`config.json` describes the model, `model.onnx` (and optionally `model.int8.onnx`) computes, `model.safetensors`
holds the weights for torch, `README.md` is its card. Nothing in it is executable.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.errors import ModelError, did_you_mean
from emospec.files import write_json

MODEL_FORMAT = 1
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
GRAPH, INT8_GRAPH = "model.onnx", "model.int8.onnx"
DEFAULT = "base"
"""The default one of the models that come with emospec."""
_HUB = "hf:"
_RUN_FILES = "meta.json", "scores.json"

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Class:
    """A class and the centre of its z."""

    name: str
    # (64,) mean z of its training utterances, or of the examples it was enrolled from.
    center: _Floats
    # (n,) distances of the z of dev utterances, or of examples, to the centre, ascending; may be empty.
    distances: _Floats
    # The number of recordings that it was enrolled from; 0 for a class that was trained.
    examples: int = 0

    def typicality(self, z: NDArray[np.floating]) -> float | None:
        """Return the share of `distances` that are at least as far as z from the centre; None without any."""
        if not len(self.distances):
            return None
        distance = float(np.linalg.norm(np.asarray(z, np.float64) - self.center))
        return 1.0 - float(np.searchsorted(self.distances, distance, "left")) / len(self.distances)


@dataclass(frozen=True)
class Plane:
    """The principal plane of the training z, for a picture."""

    # (64,), and (2, 64), orthonormal.
    mean: _Floats
    axes: _Floats
    # (n, 2) some training z on the plane, and (n,) the numbers of their classes.
    cloud: _Floats
    labels: NDArray[np.int64]

    def project(self, z: NDArray[np.floating]) -> _Floats:
        """Return (n, 64) z as (n, 2) on the plane."""
        return np.asarray((np.asarray(z, np.float64) - self.mean) @ self.axes.T, np.float64)


@dataclass(frozen=True)
class Model:
    """A model folder that was read."""

    folder: Path
    # The trained ones, in the order of the graph's outputs, then the enrolled ones.
    classes: tuple[Class, ...]
    # Divisors of the logits, and of the squared distances to the centres, before softmax. Fitted on dev.
    temperature: float
    distance_temperature: float
    # Longer recordings keep only this many central frames of 10 ms; 0 keeps all.
    max_frames: int
    # 99 % of the training utterances last at most so long.
    usual_seconds: float
    plane: Plane
    # All of `config.json`: training protocol and its settings hash, corpora and licences, version, ...
    about: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(c.name for c in self.classes)

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences of the training corpora; the weights are under all of them."""
        return tuple(sorted({c["licence"] or "not stated" for c in self.about["training"]["corpora"]}))

    @property
    def terms(self) -> str:
        """The licences in words, and whether they allow commercial use."""
        commercial = not any("NC" in licence.replace("-", " ").split() for licence in self.licences)
        return "; ".join(self.licences) + ("" if commercial else " (so: not for commercial use)")

    def graph(self, int8: bool = False) -> bytes:
        """Return the ONNX graph, its checksum verified; ModelError where that fails or there is none."""
        path = self.folder / (INT8_GRAPH if int8 else GRAPH)
        expected = self.about.get("sha256", {}).get(path.name)
        if expected is None or not path.is_file():
            command = f"`emospec export RUN --out MODEL`{' with --int8' if int8 else ''}"
            raise ModelError(f"{self.folder} has no {path.name}. {command} writes one")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != expected:
            mistake = f"its checksum is not that of {CONFIG}"
            raise ModelError(f"{path} is damaged: {mistake}. Copy or export it again")
        return content

    def with_class(self, added: Class) -> "Model":
        """Return the model with one more class, or with an enrolled one replaced; nothing is written."""
        if any(c.name == added.name and not c.examples for c in self.classes):
            raise ModelError(f"{added.name!r} is a class that the model was trained on. Enrol another name")
        others = tuple(c for c in self.classes if c.name != added.name)
        return replace(self, classes=(*others, added))

    def save(self, folder: Path | str) -> None:
        """Write the model with its enrolled classes to a new folder, whole or not at all, or over itself."""
        folder = Path(folder)
        enrolled = [
            asdict(c) | {"center": c.center.tolist(), "distances": c.distances.tolist()}
            for c in self.classes
            if c.examples
        ]
        about = self.about | {"enrolled": enrolled}
        if folder.resolve() == self.folder.resolve():
            write_json(folder / CONFIG, about)
            return
        # Another model's folder is not written over.
        if folder.exists():
            raise ModelError(f"{folder} exists. Name a new folder")
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        try:
            shutil.copytree(self.folder, part)
            # The copy of a read-only folder is written to.
            part.chmod(part.stat().st_mode | 0o700)
            write_json(part / CONFIG, about)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def load_model(source: Path | str) -> Model:
    """Find and read a model.

    Args:
        source: a model folder; the name of a model that comes with emospec; or `hf:OWNER/NAME@REVISION`, which
            downloads it from Hugging Face where it is not there yet.
    """
    if not isinstance(source, (str, Path)):
        raise ModelError(f"a model is named by a folder or a name, found {type(source).__name__}")
    try:
        folder = _find(source)
    except OSError as error:
        raise ModelError(f"model {str(source)[:80]!r} cannot be opened ({error.strerror})") from error
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if about.get("format") != MODEL_FORMAT:
            raise ModelError(
                f"{folder} is of format {about.get('format')}; this version of emospec reads format {MODEL_FORMAT}. "
                "`emospec export RUN --out MODEL` writes it"
            )
        mean, axes, cloud = (np.array(about["plane"][key], np.float64) for key in ("mean", "axes", "cloud"))
        return Model(
            folder=folder,
            classes=tuple(map(_class_of, about["classes"] + about.get("enrolled", []))),
            temperature=float(about["temperature"]),
            distance_temperature=float(about["distance_temperature"]),
            max_frames=int(about["frontend"]["max_frames"]),
            usual_seconds=float(about["training"]["usual_seconds"]),
            plane=Plane(mean, axes, cloud, np.array(about["plane"]["labels"], np.int64)),
            about=about,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / CONFIG} cannot be read ({error!r}). Export the model again") from error


def bundled() -> tuple[str, ...]:
    """Return the names of the models that come with emospec, the default one first."""
    names = [p.parent.name for p in _home().glob(f"*/{CONFIG}")]
    return tuple(sorted(names, key=lambda name: (name != DEFAULT, name)))


def _home() -> Path:
    return Path(str(resources.files("emospec"))) / "models"


def _find(source: Path | str) -> Path:
    if isinstance(source, str) and source.startswith(_HUB):
        return _from_hub(source.removeprefix(_HUB))
    folder = Path(source)
    # A run has a folder `model` too, without a graph: name the run that is to be exported.
    places = (folder, folder.parent) if folder.name == "model" else (folder,)
    for run in () if (folder / GRAPH).is_file() else places:
        if any((run / name).is_file() for name in _RUN_FILES):
            command = f"`emospec export {run} --out MODEL`"
            raise ModelError(f"{folder} is a run, not a model. {command} makes one of it")
    if (folder / CONFIG).is_file():
        return folder
    if folder.exists():
        raise ModelError(
            f"{folder} is not a model: it has no {CONFIG}. `emospec export RUN --out MODEL` makes one of a finished run"
        )
    if str(source) in bundled():
        return _home() / source
    hint = did_you_mean(str(source), bundled()) or "."
    known = f", or one that comes with emospec: {', '.join(bundled())}" if bundled() else ""
    raise ModelError(f"there is no model {str(source)!r}{hint} Name a model folder{known}")


def _from_hub(place: str) -> Path:
    repository, at, revision = place.partition("@")
    if repository.count("/") != 1 or not at or not revision:
        raise ModelError(
            f"{_HUB}{place} names no revision. Say {_HUB}OWNER/NAME@REVISION, best a commit: another may hold another model"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise ModelError("models from Hugging Face need a package: pip install huggingface_hub") from error
    files = [CONFIG, GRAPH, INT8_GRAPH, WEIGHTS, CARD]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{_HUB}{place} cannot be fetched: {error}") from error


def _class_of(row: dict[str, Any]) -> Class:
    center, distances = (np.array(row[key], np.float64) for key in ("center", "distances"))
    return Class(str(row["name"]), center, np.sort(distances), int(row.get("examples", 0)))
