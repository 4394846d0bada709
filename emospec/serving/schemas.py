"""The schemas of requests and answers, of which the API's OpenAPI document is made."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from emospec.audio.frames import HOP_SAMPLES
from emospec.audio.waveform import SAMPLE_RATE
from emospec.inference.model import CARD, Model
from emospec.inference.prediction import Prediction
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Segment, Timeline
from emospec.palette import class_colors
from emospec.serving.errors import ApiError

_EXAMPLE_PREDICTION: JsonDict = {
    "recording": "call.wav", "emotion": "angry", "confidence": 0.91, "probabilities": {"angry": 0.91, "sad": 0.09},
    "typicality": 0.4, "seconds": 3.2, "span": [0.0, 3.2], "warnings": [], "speech_seconds": 2.9, "point": [1.5, -0.2],
}  # fmt: skip
# Every format must be able to count the ticks of a time.
_LATEST_SECONDS = 1e9
_Seconds = Annotated[float, Field(ge=0, le=_LATEST_SECONDS)]
_Probability = Annotated[float, Field(ge=0, le=1)]


class ErrorDetail(BaseModel):
    """The reason for an error."""

    code: str = Field(examples=["too_long"])
    message: str = Field(examples=["call.wav: is 7200 s long, allowed are 3600 s"])
    fix: str = Field(examples=["cut it; /v1/models has the limits"])


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class FailedRecording(BaseModel):
    """A recording among several that has no result."""

    recording: str = Field(examples=["notes.txt"])
    error: ErrorDetail


class RecordingPrediction(BaseModel):
    """The prediction for a recording."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_PREDICTION]})

    recording: str
    emotion: str | None = Field(description="The most probable class; null where the model abstained.")
    confidence: float = Field(description="Calibrated probability of the most probable class, 0 to 1.")
    probabilities: dict[str, float]
    typicality: float | None = Field(
        description="Share of the class's dev utterances that lie at least as far from its centre."
    )
    seconds: float
    span: tuple[float, float] = Field(description="Start and end of the part that was used, in seconds.")
    warnings: list[str]
    speech_seconds: float | None = Field(
        description="How much speech lies in the span, 0 where nobody speaks; null without `check_speech`."
    )
    point: tuple[float, float] = Field(description="z on the plane that /v1/models shows.")


class PredictAnswer(BaseModel):
    """The answer of /v1/predict: one result for each file, in order."""

    model: str = Field(examples=["emodb"])
    results: list[RecordingPrediction | FailedRecording]


class RecordingEmbedding(BaseModel):
    """The feature z of a recording."""

    recording: str
    z: list[float] = Field(description="64 numbers.")


class EmbedAnswer(BaseModel):
    """The answer of /v1/embed: one result for each file, in order."""

    model: str
    results: list[RecordingEmbedding | FailedRecording]


class SegmentAnswer(BaseModel):
    """A segment with one emotion, or with none."""

    start_seconds: float
    end_seconds: float
    emotion: str | None
    confidence: float | None
    probabilities: list[float] = Field(description="In the order of the classes; empty where nobody speaks.")


class TimelineAnswer(BaseModel):
    """The answer of /v1/timeline."""

    recording: str
    duration_seconds: float
    classes: list[str]
    segments: list[SegmentAnswer]


class SentSegment(BaseModel):
    """A segment, as /v1/timeline answers it."""

    model_config = ConfigDict(extra="forbid")

    start_seconds: _Seconds
    end_seconds: _Seconds
    emotion: str | None
    confidence: _Probability | None
    probabilities: list[_Probability] = []


class SentTimeline(BaseModel):
    """A timeline, as /v1/timeline answers it."""

    model_config = ConfigDict(extra="forbid")

    recording: str
    duration_seconds: _Seconds
    classes: list[str]
    segments: list[SentSegment]

    def timeline(self) -> Timeline:
        """Return the timeline; TimelineError if its segments do not follow one another, or name no class."""
        rows = (vars(s) | {"probabilities": tuple(s.probabilities)} for s in self.segments)
        segments = (Segment(**row) for row in rows)
        return Timeline(self.recording, self.duration_seconds, tuple(self.classes), tuple(segments))


class PlaneAnswer(BaseModel):
    """The principal plane of the training z."""

    cloud: list[tuple[float, float]]
    labels: list[int] = Field(description="The class of each point of the cloud, by number.")
    centers: list[tuple[float, float]] = Field(description="Of each class.")


class ModelAnswer(BaseModel):
    """A model that the server has."""

    name: str
    default: bool
    classes: list[str]
    colors: list[str]
    window_seconds: float = Field(
        description="Length of a timeline's windows, unless a request says another."
    )
    max_seconds: float | None = Field(description="Of a longer recording, the middle is used.")
    usual_seconds: float = Field(description="99 % of the training utterances are no longer.")
    version: str
    license: list[str]
    corpora: list[str]
    card: str = Field(description="Markdown.")
    plane: PlaneAnswer


class LimitsAnswer(BaseModel):
    """The most that the server takes in one request."""

    bytes: int
    seconds: float
    files: int


class ModelsAnswer(BaseModel):
    """The answer of /v1/models."""

    models: list[ModelAnswer]
    limits: LimitsAnswer


class ExampleAnswer(BaseModel):
    """A sound to try the server with."""

    name: str = Field(examples=["angry"])
    url: str = Field(examples=["examples/angry.wav"], description="Relative to the server's address.")


class StatusAnswer(BaseModel):
    """Whether the server is alive, or ready."""

    status: Literal["alive", "ready"]


class ReadyMessage(BaseModel):
    """The first message of a stream: sound may come."""

    type: Literal["ready"]
    classes: list[str]
    latency_seconds: float = Field(description="From a sound to the middle of the first window with it.")


class WindowMessage(BaseModel):
    """The prediction for a window of a stream."""

    type: Literal["moment"]
    start_seconds: float
    end_seconds: float
    emotion: str | None = Field(
        description="By the smoothed probabilities; null where the model abstained, or nobody speaks."
    )
    confidence: float | None = Field(description="Null where nobody speaks.")
    probabilities: dict[str, float] = Field(description="Of this window alone; empty where nobody speaks.")
    smoothed: dict[str, float] = Field(description="Likewise, with the windows before.")


class SegmentMessage(SegmentAnswer):
    """A segment of a stream, once it can no longer change."""

    type: Literal["segment"]


class EndMessage(BaseModel):
    """The last message of a stream, before the server closes with 1000."""

    type: Literal["end"]
    seconds: float


class ErrorMessage(BaseModel):
    """The error that ends a stream early, before the server closes with 1008 or 1011."""

    type: Literal["error"]
    error: ErrorDetail


STREAM_MESSAGES: tuple[type[BaseModel], ...] = (
    ReadyMessage, WindowMessage, SegmentMessage, EndMessage, ErrorMessage
)  # fmt: skip


def failed_recording(name: str, error: ApiError) -> FailedRecording:
    """Return the answer for a recording that has no result."""
    return FailedRecording(recording=name, error=ErrorDetail(**error.detail))


def recording_prediction(model: Model, prediction: Prediction) -> RecordingPrediction:
    """Return a prediction with its point on the model's plane."""
    x, y = model.plane.project(prediction.z[None])[0]
    return RecordingPrediction(**prediction.facts(), point=(x, y))


def model_answer(model: Model, name: str) -> ModelAnswer:
    """Return the description of a model for /v1/models."""
    about, plane = model.about, model.plane
    centers = plane.project(np.stack([c.center for c in model.classes]))
    corpora = about["training"]["corpora"]
    readme = model.folder / CARD
    return ModelAnswer(
        name=name,
        # There is one model, so it is the one that a request without a name gets.
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
        plane=PlaneAnswer(cloud=plane.cloud.tolist(), labels=plane.labels.tolist(), centers=centers.tolist()),
    )
