"""The addresses of the API: each parses a request, calls the service once, and answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from functools import partial
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ValidationError
from starlette.requests import HTTPConnection

from emospec.audio.kinds import stem_of
from emospec.audio.waveform import MAX_CHANNELS
from emospec.inference.formats import FORMATS, format_named, render
from emospec.inference.prediction import Prediction
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Timeline
from emospec.serving import schemas
from emospec.serving.errors import ApiError, check_query
from emospec.serving.examples import Examples
from emospec.serving.service import RETRY_SECONDS, Service
from emospec.serving.uploads import FILE_FIELD, Upload, read_timeline, read_uploads

# A shorter hop would make too many windows of an hour.
SHORTEST_HOP_SECONDS = 0.1

_MEDIA_TYPES = {
    "csv": "text/csv", "json": "application/json", "elan": "application/xml", "vtt": "text/vtt",
    "srt": "application/x-subrip",
}  # fmt: skip
_TIMELINE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {} for kind in sorted({"text/plain", *_MEDIA_TYPES.values()})}}
}

_Result = TypeVar("_Result")


def error_responses(statuses: Iterable[int]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of an address that may answer with these errors."""
    return {status: {"model": schemas.ErrorAnswer} for status in statuses}


async def allowed_query(request: Request) -> list[str]:
    """Return the names of the query parameters that an address takes; raise ApiError for another one."""
    allowed = [field.alias for field in request.scope["route"].dependant.query_params]
    check_query((name for name, _ in request.query_params.multi_items()), allowed)
    return allowed


_DEPENDENCIES = [Depends(allowed_query)]
_RECORDING_ERRORS = error_responses((401, 403, 404, 405, 408, 413, 422, 429, 500, 503))
_FORMAT_ERRORS = error_responses((401, 403, 405, 408, 413, 422, 429, 500))
_EXAMPLE_ERRORS = error_responses((404, 405, 422, 500))
recordings_router = APIRouter(dependencies=_DEPENDENCIES, responses=_RECORDING_ERRORS)
formats_router = APIRouter(dependencies=_DEPENDENCIES, responses=_FORMAT_ERRORS)
examples_router = APIRouter(dependencies=_DEPENDENCIES, responses=_EXAMPLE_ERRORS)


def service_of(connection: HTTPConnection) -> Service:
    """Return the service of the application."""
    service: Service = connection.app.state.service
    return service


InjectedService = Annotated[Service, Depends(service_of)]


async def _uploads_of(
    request: Request, service: InjectedService, allowed: Annotated[list[str], Depends(allowed_query)]
) -> AsyncIterator[list[Upload]]:
    # The files of a body are held until the answer has gone.
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
        uploads = await read_uploads(request, allowed, gate.limits, add)
        with gate.place():
            yield uploads


_Files = Annotated[list[Upload], Depends(_uploads_of)]
_Threshold = Annotated[float, Query(ge=0, le=1, description="No emotion where the confidence is lower.")]
_Channel = Annotated[
    int | None, Query(ge=1, le=MAX_CHANNELS, description="Use this channel, from 1; else the mean over all.")
]
_ModelName = Annotated[str, Query(description="A model's name; else the default one.")]


def _multipart(several: bool) -> dict[str, Any]:
    file = {"type": "string", "format": "binary", "description": "WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus."}
    field = {"type": "array", "items": file, "minItems": 1} if several else file
    schema = {"type": "object", "properties": {FILE_FIELD: field}, "required": [FILE_FIELD]}
    content = {"multipart/form-data": {"schema": schema | {"additionalProperties": False}}}
    return {"requestBody": {"required": True, "content": content}}


@recordings_router.post("/v1/predict", name="predict", openapi_extra=_multipart(several=True))
async def predict_files(
    request: Request,
    service: InjectedService,
    files: _Files,
    abstain_below: _Threshold = 0.0,
    check_speech: Annotated[
        bool, Query(description="Say how much speech is in it, and warn of none.")
    ] = False,
    channel: _Channel = None,
    model: _ModelName = "",
) -> schemas.PredictAnswer:
    """Predict the emotion of recordings, in order. If only one is sent and it cannot be used, the answer is an error."""
    work = service.predict(files, abstain_below, check_speech, channel)
    answer = partial(schemas.recording_prediction, service.recognizer.model)
    results = await _results(request, service, files, work=work, answer=answer)
    return schemas.PredictAnswer(model=service.name, results=results)


@recordings_router.post("/v1/embed", name="embed", openapi_extra=_multipart(several=True))
async def embed_files(
    request: Request,
    service: InjectedService,
    files: _Files,
    channel: _Channel = None,
    model: _ModelName = "",
) -> schemas.EmbedAnswer:
    """Compute the feature z of recordings, in order, to search or cluster them by."""
    work = service.predict(files, abstain_below=0.0, channel=channel)

    def embedding(prediction: Prediction) -> schemas.RecordingEmbedding:
        return schemas.RecordingEmbedding(recording=prediction.recording, z=prediction.z.tolist())

    results = await _results(request, service, files, work=work, answer=embedding)
    return schemas.EmbedAnswer(model=service.name, results=results)


@recordings_router.post(
    "/v1/timeline",
    name="timeline",
    openapi_extra=_multipart(several=False),
    response_model=schemas.TimelineAnswer,
    responses=_TIMELINE_RESPONSES,
)
async def timeline_of_file(
    request: Request,
    service: InjectedService,
    files: _Files,
    window: Annotated[
        float, Query(ge=SHORTEST_HOP_SECONDS, description="Length of a window in seconds.")
    ] = 3.0,
    hop: Annotated[float, Query(ge=SHORTEST_HOP_SECONDS, description="Seconds between windows.")] = 1.0,
    smoothing: Annotated[float, Query(ge=0, description="Time constant in seconds; 0 is none.")] = 1.0,
    minimum: Annotated[float, Query(ge=0, description="The shortest segment, in seconds.")] = 1.0,
    abstain_below: _Threshold = 0.0,
    check_speech: Annotated[bool, Query(description="No emotion in windows where nobody speaks.")] = True,
    speech: Annotated[bool, Query(description="Use segments of speech instead of windows.")] = False,
    form: Annotated[str, Query(alias="format", json_schema_extra={"enum": [*FORMATS]})] = "json",
    channel: _Channel = None,
    model: _ModelName = "",
) -> Response:
    """Predict the emotions of a recording over its time."""
    format_named(form)
    if len(files) > 1:
        raise ApiError("invalid", "a timeline is of one file", f"send one in the field {FILE_FIELD!r}")
    timing = Timing.from_request(
        speech=speech,
        window_seconds=window,
        hop_seconds=hop,
        smoothing_seconds=smoothing,
        minimum_seconds=minimum,
        abstain_below=abstain_below,
        check_speech=check_speech,
    )
    work = service.timeline(files[0], timing, speech, channel)
    return _formatted(form, await _until_disconnect(request, service.limits.timeline_seconds, work))


@recordings_router.get("/v1/models", name="models")
def list_models(service: InjectedService) -> schemas.ModelsAnswer:
    """List the models of the server, and its limits."""
    most = service.limits
    limits = schemas.LimitsAnswer(bytes=most.bytes, seconds=most.seconds, files=most.files)
    model = schemas.model_answer(service.recognizer.model, service.name)
    return schemas.ModelsAnswer(models=[model], limits=limits)


@recordings_router.get("/health", name="health")
def report_health() -> schemas.StatusAnswer:
    """Say that the server is alive."""
    return schemas.StatusAnswer(status="alive")


@recordings_router.get("/ready", name="ready")
async def report_readiness(service: InjectedService) -> schemas.StatusAnswer:
    """Say whether the server takes requests: it decodes a recording to see."""
    await service.check_readiness()
    return schemas.StatusAnswer(status="ready")


@recordings_router.get("/metrics", name="metrics", response_class=Response)
def report_metrics(service: InjectedService) -> Response:
    """Return the metrics for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _timeline_body() -> dict[str, Any]:
    schema = schemas.SentTimeline.model_json_schema()
    schema["properties"]["segments"]["items"] = schema.pop("$defs")["SentSegment"]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@formats_router.post(
    "/v1/formats/{form}",
    name="convert",
    openapi_extra=_timeline_body(),
    response_class=Response,
    responses=_TIMELINE_RESPONSES,
)
async def convert_timeline(
    request: Request,
    form: Annotated[str, Path(json_schema_extra={"enum": [*FORMATS]})],
    service: InjectedService,
) -> Response:
    """Write a timeline in a format, as /v1/timeline would have; the recording need not be sent again."""
    format_named(form)
    with service.gate.body() as add:
        content = await read_timeline(request, add, service.limits.body_seconds)
        return await asyncio.to_thread(_converted, form, content)


@examples_router.get("/examples", name="examples")
async def list_examples(request: Request) -> list[schemas.ExampleAnswer]:
    """List sounds to try the server with, synthesised: no human speech."""
    examples: Examples = request.app.state.examples
    return [schemas.ExampleAnswer(name=name, url=f"examples/{name}.wav") for name in await examples.sounds()]


@examples_router.get("/examples/{name}.wav", name="example", response_class=Response)
async def send_example(request: Request, name: str) -> Response:
    """Return the WAV file of an example."""
    sounds = await request.app.state.examples.sounds()
    if name not in sounds:
        raise ApiError("not_found", f"there is no example {name[:80]!r}", "see /examples")
    return Response(sounds[name], media_type="audio/wav")


async def _results(
    request: Request,
    service: Service,
    files: list[Upload],
    work: Coroutine[Any, Any, list[Prediction | ApiError]],
    answer: Callable[[Prediction], _Result],
) -> list[_Result | schemas.FailedRecording]:
    results = await _until_disconnect(request, service.limits.answer_seconds, work)
    if len(results) == 1 and isinstance(results[0], ApiError):
        raise results[0]
    return [
        schemas.failed_recording(file.name, result) if isinstance(result, ApiError) else answer(result)
        for file, result in zip(files, results, strict=True)
    ]


def _converted(form: str, content: bytes) -> Response:
    try:
        sent = schemas.SentTimeline.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise ApiError("invalid", f"{place}: {first['msg']}", "send what /v1/timeline answers") from error
    return _formatted(form, sent.timeline())


def _formatted(form: str, timeline: Timeline) -> Response:
    # All but JSON is a file to save, named after the recording.
    name = quote(stem_of(timeline.recording) + FORMATS[form].suffix)
    headers = {} if form == "json" else {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(render(form, timeline), media_type=_MEDIA_TYPES.get(form, "text/plain"), headers=headers)


async def _until_disconnect(request: Request, seconds: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    # The work is cancelled when its time is over, or when the client has gone.

    async def wait_for_disconnect() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    result, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(wait_for_disconnect())
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait((result, disconnect), return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return result.result()
            raise ApiError("gone")
    except TimeoutError as error:
        message = f"the answer takes longer than {seconds:g} s"
        raise ApiError("overloaded", message, retry_seconds=RETRY_SECONDS) from error
    finally:
        for task in (result, disconnect):
            task.cancel()
        await asyncio.gather(result, disconnect, return_exceptions=True)
