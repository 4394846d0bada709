"""A timeline that was made before, as text for another program: the recording need not be sent again."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from emospec.audio.kinds import stem_of
from emospec.inference.formats import FORMATS, format_named, render
from emospec.inference.timeline import Segment, Timeline
from emospec.serving import schemas as answers
from emospec.serving.errors import ApiError
from emospec.serving.limits import Gate

MEDIA_TYPES = {
    "csv": "text/csv", "json": "application/json", "elan": "application/xml", "vtt": "text/vtt",
    "srt": "application/x-subrip",
}  # fmt: skip
KINDS: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in sorted({"text/plain", *MEDIA_TYPES.values()})}}
}
"""Of the document: what a timeline may be sent as."""
MOST_BYTES = 10_000_000  # an hour of the finest timeline has some five million
LATEST_SECONDS = 1e9  # so that every format can count ticks

router = APIRouter(
    responses={code: {"model": answers.Trouble} for code in (401, 403, 405, 408, 413, 422, 429, 500)}
)
Seconds = Annotated[float, Field(ge=0, le=LATEST_SECONDS)]
Share = Annotated[float, Field(ge=0, le=1)]


class SegmentSent(BaseModel):
    """A segment, as /v1/timeline answers it."""

    model_config = ConfigDict(extra="forbid")

    start_seconds: Seconds
    end_seconds: Seconds
    emotion: str | None
    confidence: Share | None
    probabilities: list[Share] = []


class TimelineSent(BaseModel):
    """A timeline, as /v1/timeline answers it."""

    model_config = ConfigDict(extra="forbid")

    recording: str
    duration_seconds: Seconds
    classes: list[str]
    segments: list[SegmentSent]

    def timeline(self) -> Timeline:
        """Return it; TimelineError where its segments do not follow one another, or name no class."""
        segments = (
            Segment(s.start_seconds, s.end_seconds, s.emotion, s.confidence, tuple(s.probabilities))
            for s in self.segments
        )
        return Timeline(self.recording, self.duration_seconds, tuple(self.classes), tuple(segments))


def _body_schema() -> dict[str, Any]:
    """The document of the body, its segments' schema within it."""
    schema = TimelineSent.model_json_schema()
    schema["properties"]["segments"]["items"] = schema.pop("$defs")["SegmentSent"]
    return {"required": True, "content": {"application/json": {"schema": schema}}}


@router.post(
    "/v1/formats/{form}",
    openapi_extra={"requestBody": _body_schema()},
    response_class=Response,
    responses=KINDS,
)
async def convert(
    request: Request, form: Annotated[str, Path(json_schema_extra={"enum": [*FORMATS]})]
) -> Response:
    """Write a timeline in a format, as /v1/timeline would have."""
    format_named(form)
    gate: Gate = request.app.state.service.gate
    with gate.body() as add:
        content = await _body(request, add, gate.limits.body_seconds)
        return await asyncio.to_thread(_converted, form, content)


def _converted(form: str, content: bytes) -> Response:
    try:
        sent = TimelineSent.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise ApiError("invalid", f"{place}: {first['msg']}", "send what /v1/timeline answers") from error
    return response_of(form, sent.timeline())


def response_of(form: str, timeline: Timeline) -> Response:
    """Return a timeline in a format; all but JSON as a file to save, named after the recording."""
    name = quote(stem_of(timeline.recording) + FORMATS[form].suffix)
    headers = {} if form == "json" else {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(render(form, timeline), media_type=MEDIA_TYPES.get(form, "text/plain"), headers=headers)


async def _body(request: Request, add: Callable[[int], None], seconds: float) -> bytes:
    """The body of a request, counted as it comes; `ApiError` where it is too large or too slow."""
    content = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                add(len(piece))
                content += piece
                if len(content) > MOST_BYTES:
                    raise ApiError("too_large", f"the timeline is larger than {MOST_BYTES} bytes")
    except TimeoutError as error:
        raise ApiError("time_limit", "the body came too slowly") from error
    except ClientDisconnect as error:
        raise ApiError("gone") from error
    return bytes(content)
