"""The addresses of the API: each parses, calls the service once, and answers."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.requests import HTTPConnection

from emospec.audio.waveform import MAX_CHANNELS
from emospec.inference.formats import FORMATS, format_named
from emospec.inference.recognizer import Prediction
from emospec.inference.streaming import Timing
from emospec.serving import schemas as answers
from emospec.serving.conversion import KINDS, response_of
from emospec.serving.errors import ApiError, check_query
from emospec.serving.service import RETRY_SECONDS, Service
from emospec.serving.uploads import FIELD, Upload, read_uploads

SHORTEST_HOP_SECONDS = 0.1  # so that no recording has windows without number


async def known_query(request: Request) -> list[str]:
    """Return the query parameters that an address takes; one that it does not take is refused."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    check_query((name for name, _ in request.query_params.multi_items()), known)
    return known


router = APIRouter(
    responses={
        code: {"model": answers.Trouble} for code in (401, 403, 404, 405, 408, 413, 422, 429, 500, 503)
    },
)
Result = TypeVar("Result")


def service_of(connection: HTTPConnection) -> Service:
    """The service of the application."""
    service: Service = connection.app.state.service
    return service


Served = Annotated[Service, Depends(service_of)]


async def uploads_of(
    request: Request, service: Served, known: Annotated[list[str], Depends(known_query)]
) -> AsyncIterator[list[Upload]]:
    """Take the files of a body in, with room for them until the answer has gone."""
    if not service.ready:
        raise ApiError("not_ready")
    model = request.query_params.get("model")
    if model not in (None, "", service.name):
        raise ApiError("unknown_model", f"there is no model {model[:80]!r}, there is {service.name!r}")
    gate = service.gate
    gate.check()
    with gate.body() as add:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > gate.limits.bytes:
            raise ApiError("too_large", f"the request is larger than {gate.limits.bytes} bytes")
        uploads = await read_uploads(request, known, gate.limits, add)
        with gate.place():
            yield uploads


Files = Annotated[list[Upload], Depends(uploads_of)]
Share = Annotated[float, Query(ge=0, le=1, description="No emotion where the confidence is lower.")]
Channel = Annotated[
    int | None,
    Query(ge=1, le=MAX_CHANNELS, description="Judge this channel, from 1; else the mean over all."),
]
Model = Annotated[str, Query(description="A model's name; else the default one.")]


def _multipart(several: bool) -> dict[str, Any]:
    file = {"type": "string", "format": "binary", "description": "WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus."}
    sent = {"type": "array", "items": file, "minItems": 1} if several else file
    schema = {
        "type": "object",
        "properties": {FIELD: sent},
        "required": [FIELD],
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post("/v1/predict", openapi_extra=_multipart(several=True))
async def predict(
    request: Request,
    service: Served,
    files: Files,
    abstain_below: Share = 0.0,
    check_speech: Annotated[
        bool, Query(description="Say how much speech is in it, and warn of none.")
    ] = False,
    channel: Channel = None,
    model: Model = "",
) -> answers.Predictions:
    """The emotion of recordings, in order; where the only one cannot be judged, an error."""
    known = service.recognizer.model
    results = await _results(request, service, files, abstain_below, check_speech, channel)
    said = [answers.judged(known, *one) for one in results]
    return answers.Predictions(model=service.name, results=said)


@router.post("/v1/embed", openapi_extra=_multipart(several=True))
async def embed(
    request: Request, service: Served, files: Files, channel: Channel = None, model: Model = ""
) -> answers.Embeddings:
    """The feature z of recordings, in order, to search or cluster them by."""
    said = [answers.embedded(*one) for one in await _results(request, service, files, 0.0, channel=channel)]
    return answers.Embeddings(model=service.name, results=said)


@router.post(
    "/v1/timeline",
    openapi_extra=_multipart(several=False),
    response_model=answers.Heard,
    responses=KINDS,
)
async def timeline(
    request: Request,
    service: Served,
    files: Files,
    window: Annotated[float, Query(ge=SHORTEST_HOP_SECONDS, description="Seconds judged at once.")] = 3.0,
    hop: Annotated[float, Query(ge=SHORTEST_HOP_SECONDS, description="Seconds between windows.")] = 1.0,
    smoothing: Annotated[float, Query(ge=0, description="Time constant in seconds; 0 is none.")] = 1.0,
    minimum: Annotated[float, Query(ge=0, description="The shortest segment, in seconds.")] = 1.0,
    abstain_below: Share = 0.0,
    check_speech: Annotated[bool, Query(description="No emotion in windows where nobody speaks.")] = True,
    speech: Annotated[bool, Query(description="Judge stretches of speech instead of windows.")] = False,
    form: Annotated[str, Query(alias="format", json_schema_extra={"enum": [*FORMATS]})] = "json",
    channel: Channel = None,
    model: Model = "",
) -> Response:
    """The emotions of a recording over its time."""
    format_named(form)
    if len(files) > 1:
        raise ApiError("invalid", "a timeline is of one file", f"send one in the field {FIELD!r}")
    timing = Timing(
        window, min(hop, window) if speech else hop, smoothing, minimum, abstain_below, check_speech
    )
    work = service.timeline(files[0], timing, speech, channel)
    return response_of(form, await _unless_gone(request, service.limits.timeline_seconds, work))


@router.get("/v1/models")
def models(service: Served) -> answers.Models:
    """What the server has, and what it takes at most."""
    limits = service.limits
    most = answers.Most(bytes=limits.bytes, seconds=limits.seconds, files=limits.files)
    return answers.Models(models=[answers.card_of(service.recognizer.model, service.name)], limits=most)


@router.get("/health")
def health() -> answers.State:
    """Whether the server lives."""
    return answers.State(status="alive")


@router.get("/ready")
async def ready(service: Served) -> answers.State:
    """Whether it takes requests: a recording is decoded to see."""
    await service.prove()
    return answers.State(status="ready")


@router.get("/metrics", response_class=Response)
def metrics(service: Served) -> Response:
    """What Prometheus collects."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _results(
    request: Request,
    service: Service,
    files: list[Upload],
    abstain_below: float,
    check_speech: bool = False,
    channel: int | None = None,
) -> list[tuple[str, Prediction | ApiError]]:
    """The name of each file and its result; the only one's refusal is raised."""
    work = service.predict(files, abstain_below, check_speech, channel)
    results = await _unless_gone(request, service.limits.answer_seconds, work)
    if len(results) == 1 and isinstance(results[0], ApiError):
        raise results[0]
    return [(file.name, result) for file, result in zip(files, results, strict=True)]


async def _unless_gone(request: Request, seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of some work; it is cancelled when time is over, or when the one who asked has gone."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    both = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if both[0].done():
                return both[0].result()
            raise ApiError("gone")
    except TimeoutError as error:
        raise ApiError(
            "overloaded", f"the answer takes longer than {seconds:g} s", retry_seconds=RETRY_SECONDS
        ) from error
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
