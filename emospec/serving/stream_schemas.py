"""The messages of a stream as schemas, for the API's document."""

from typing import Literal

from pydantic import BaseModel, Field

from emospec.serving.schemas import Fault, Spoken


class StreamReady(BaseModel):
    """The first message: sound may come."""

    type: Literal["ready"]
    classes: list[str]
    latency_seconds: float = Field(description="From a sound to the middle of what is said of it.")


class Window(BaseModel):
    """A window that was judged."""

    type: Literal["moment"]
    start_seconds: float
    end_seconds: float
    emotion: str | None = Field(
        description="By the smoothed probabilities; null where the model abstained, or nobody speaks."
    )
    confidence: float | None = Field(description="Null where nobody speaks.")
    probabilities: dict[str, float] = Field(description="Of this window alone; empty where nobody speaks.")
    smoothed: dict[str, float] = Field(description="Likewise, with the windows before.")


class Settled(Spoken):
    """A segment, once it can no longer change."""

    type: Literal["segment"]


class End(BaseModel):
    """The last message, before the server closes with 1000."""

    type: Literal["end"]
    seconds: float


class StreamTrouble(BaseModel):
    """The error that ends a stream early, before the server closes with 1008 or 1011."""

    type: Literal["error"]
    error: Fault


MESSAGES: tuple[type[BaseModel], ...] = (StreamReady, Window, Settled, End, StreamTrouble)
