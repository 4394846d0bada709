"""What the server says, as schemas with examples; the API's document is made of them."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from emospec.audio.frames import HOP_SAMPLES
from emospec.audio.waveform import SAMPLE_RATE
from emospec.inference.model import CARD, Model
from emospec.inference.recognizer import Prediction
from emospec.inference.streaming import Timing
from emospec.palette import class_colors
from emospec.serving.errors import ApiError


class Fault(BaseModel):
    """What went wrong."""

    code: str = Field(examples=["too_long"])
    message: str = Field(examples=["call.wav: is 7200 s long, allowed are 3600 s"])
    fix: str = Field(examples=["cut it; /v1/models has the limits"])


class Trouble(BaseModel):
    """The body of every error."""

    error: Fault


class Failed(BaseModel):
    """A recording among several that could not be judged."""

    recording: str = Field(examples=["notes.txt"])
    error: Fault


class Judged(BaseModel):
    """What the model says of a recording."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "recording": "call.wav",
                    "emotion": "angry",
                    "confidence": 0.91,
                    "probabilities": {"angry": 0.91, "sad": 0.09},
                    "typicality": 0.4,
                    "seconds": 3.2,
                    "span": [0.0, 3.2],
                    "warnings": [],
                    "speech_seconds": 2.9,
                    "point": [1.5, -0.2],
                }
            ]
        }
    )

    recording: str
    emotion: str | None = Field(description="The most probable class; null where the model abstained.")
    confidence: float = Field(description="Calibrated probability of the most probable class, 0 to 1.")
    probabilities: dict[str, float]
    typicality: float | None = Field(
        description="Share of the class's dev utterances that lie at least as far from its centre."
    )
    seconds: float
    span: tuple[float, float] = Field(description="Start and end of what was judged, in seconds.")
    warnings: list[str]
    speech_seconds: float | None = Field(
        description="How much speech lies in the span, 0 where nobody speaks; null without `check_speech`."
    )
    point: tuple[float, float] = Field(description="z on the plane that /v1/models shows.")


class Predictions(BaseModel):
    """The answer of /v1/predict: one result for each file, in order."""

    model: str = Field(examples=["emodb"])
    results: list[Judged | Failed]


class Embedded(BaseModel):
    """The feature z of a recording."""

    recording: str
    z: list[float] = Field(description="64 numbers.")


class Embeddings(BaseModel):
    """The answer of /v1/embed: one result for each file, in order."""

    model: str
    results: list[Embedded | Failed]


class Spoken(BaseModel):
    """A stretch of one emotion, or of none."""

    start_seconds: float
    end_seconds: float
    emotion: str | None
    confidence: float | None
    probabilities: list[float] = Field(description="In the order of the classes; empty where nobody speaks.")


class Heard(BaseModel):
    """The answer of /v1/timeline."""

    recording: str
    duration_seconds: float
    classes: list[str]
    segments: list[Spoken]


class Seen(BaseModel):
    """The principal plane of the training z."""

    cloud: list[tuple[float, float]]
    labels: list[int] = Field(description="The class of each point of the cloud, by number.")
    centers: list[tuple[float, float]] = Field(description="Of each class.")


class Card(BaseModel):
    """A model that the server has."""

    name: str
    default: bool
    classes: list[str]
    colors: list[str]
    window_seconds: float = Field(description="What a timeline judges at once.")
    max_seconds: float | None = Field(description="Of a longer recording, the middle is judged.")
    usual_seconds: float = Field(description="99 % of the training utterances are no longer.")
    version: str
    license: list[str]
    corpora: list[str]
    card: str = Field(description="Markdown.")
    plane: Seen


class Most(BaseModel):
    """What the server takes at most, of one request."""

    bytes: int
    seconds: float
    files: int


class Models(BaseModel):
    """The answer of /v1/models."""

    models: list[Card]
    limits: Most


class Example(BaseModel):
    """A sound to try the server with."""

    name: str = Field(examples=["angry"])
    url: str = Field(examples=["examples/angry.wav"], description="Relative to the server's address.")


class State(BaseModel):
    """Whether the server lives, or is ready."""

    status: Literal["alive", "ready"]


def judged(model: Model, name: str, result: Prediction | ApiError) -> Judged | Failed:
    """A result as the server says it."""
    if isinstance(result, ApiError):
        return Failed(recording=name, error=Fault(**result.facts))
    x, y = model.plane.project(result.z[None])[0]
    return Judged(**result.facts(), point=(x, y))


def embedded(name: str, result: Prediction | ApiError) -> Embedded | Failed:
    """The z of a result, likewise."""
    if isinstance(result, ApiError):
        return Failed(recording=name, error=Fault(**result.facts))
    return Embedded(recording=name, z=result.z.tolist())


def card_of(model: Model, name: str) -> Card:
    """What /v1/models says of a model."""
    about, plane = model.about, model.plane
    corpora = about["training"]["corpora"]
    readme = model.folder / CARD
    return Card(
        name=name,
        default=True,
        classes=list(model.names),
        colors=class_colors(model.names),
        window_seconds=Timing().window_seconds,
        max_seconds=model.max_frames * HOP_SAMPLES / SAMPLE_RATE or None,
        usual_seconds=model.usual_seconds,
        version=str(about["emospec"]),
        license=[corpus["licence"] for corpus in corpora],
        corpora=[corpus["title"] for corpus in corpora],
        card=readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else "",
        plane=Seen(
            cloud=plane.cloud.tolist(),
            labels=plane.labels.tolist(),
            centers=plane.project(np.stack([c.center for c in model.classes])).tolist(),
        ),
    )
