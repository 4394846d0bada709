"""Live sound over a WebSocket: each stream of the recogniser, window by window."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, WebSocket, WebSocketDisconnect
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import HTTPConnection

from emospec.errors import EmospecError
from emospec.inference.streaming import Timing, WindowPrediction
from emospec.inference.timeline import Segment
from emospec.serving.errors import ApiError, api_error_of, check_query
from emospec.serving.routes import SHORTEST_HOP_SECONDS, InjectedService, error_responses
from emospec.serving.service import Service

_log = logging.getLogger(__name__)
stream_router = APIRouter()

_Send = Callable[..., Awaitable[None]]
# RFC 6455, section 7.4.1.
_NORMAL, _REFUSED, _FAILED = 1000, 1008, 1011


class StreamQuery(BaseModel):
    """The query of a stream."""

    model_config = ConfigDict(extra="forbid")

    sample_rate: int = 16_000
    encoding: Literal["s16le", "f32le"] = "s16le"
    window: float = Field(3.0, ge=SHORTEST_HOP_SECONDS)
    hop: float = Field(1.0, ge=SHORTEST_HOP_SECONDS)
    smoothing: float = Field(1.0, ge=0)
    minimum: float = Field(1.0, ge=0)
    abstain_below: float = Field(0.0, ge=0, le=1)
    check_speech: bool = True

    @property
    def timing(self) -> Timing:
        """Windows, smoothing and segments."""
        return Timing(
            window_seconds=self.window,
            hop_seconds=self.hop,
            smoothing_seconds=self.smoothing,
            minimum_seconds=self.minimum,
            abstain_below=self.abstain_below,
            check_speech=self.check_speech,
        )


class _SampleDecoder:
    def __init__(self, query: StreamQuery) -> None:
        self._type = np.dtype("<i2" if query.encoding == "s16le" else "<f4")
        self._block_samples = query.sample_rate
        self._rest = b""

    def decode(self, frame: bytes) -> list[NDArray[np.float32]]:
        """Return blocks of a second at most: (samples,) each, nominally in [-1, 1]."""
        content = self._rest + frame
        size = len(content) // self._type.itemsize * self._type.itemsize
        self._rest = content[size:]
        samples = np.frombuffer(content[:size], self._type)
        scaled = samples.astype(np.float32) / np.float32(32768 if self._type.kind == "i" else 1)
        return [scaled[k : k + self._block_samples] for k in range(0, len(scaled), self._block_samples)]


def check_stream_query(connection: HTTPConnection) -> None:
    """Raise ApiError for a query parameter that a stream does not take."""
    names = (name for name, _ in connection.query_params.multi_items())
    check_query(names, [*StreamQuery.model_fields])


@stream_router.get(
    "/v1/stream",
    name="stream_by_websocket",
    dependencies=[Depends(check_stream_query)],
    responses=error_responses((401, 403, 422, 426)),
)
async def refuse_http(query: Annotated[StreamQuery, Query()]) -> None:
    """Predict the emotions of live sound over a WebSocket, window by window; without its handshake, an error."""
    raise ApiError("upgrade_required")


@stream_router.websocket("/v1/stream")
async def serve_stream(socket: WebSocket, service: InjectedService) -> None:
    """Take PCM and send windows and segments, until the text `end`."""
    offered = (protocol for protocol in socket.scope["subprotocols"] if protocol.lower() == "bearer")
    await socket.accept(next(offered, None))
    with suppress(WebSocketDisconnect), service.gate.stream():
        error = await _error_of_stream(socket, service)
        if error:
            await socket.send_json({"type": "error", "error": error.detail})
            await socket.close(_FAILED if error.status >= 500 else _REFUSED)
        else:
            await socket.close(_NORMAL)


async def _error_of_stream(socket: WebSocket, service: Service) -> ApiError | None:
    """Run a stream, and return the error that ends it early, if there is one."""
    try:
        service.gate.check_streams()
        check_stream_query(socket)
        await run_stream(socket, service)
    except EmospecError as error:
        return api_error_of(error)
    except WebSocketDisconnect:
        raise
    except Exception:  # our own mistakes, of any kind: logged with their trace, and sent before the close
        _log.exception("a stream failed")
        return ApiError("internal")
    return None


async def run_stream(socket: WebSocket, service: Service) -> None:
    """Run a stream to its end; EmospecError if a frame or the query cannot be used, or a limit is reached."""
    try:
        query = StreamQuery.model_validate(dict(socket.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        raise ApiError("invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    stream, decoder = service.recognizer.stream(query.sample_rate, query.timing), _SampleDecoder(query)
    limits = service.limits

    async def send(**message: Any) -> None:
        try:
            async with asyncio.timeout(limits.body_seconds):
                await socket.send_json(message)
        except TimeoutError:  # a client that reads nothing for so long is taken for gone
            raise WebSocketDisconnect(_NORMAL) from None

    classes = list(service.recognizer.model.names)
    await send(type="ready", classes=classes, latency_seconds=query.timing.latency_seconds)
    clock, longest_open = asyncio.get_running_loop().time, limits.seconds + limits.body_seconds
    began = clock()
    while (frame := await _next_frame(socket, limits.body_seconds)) is not None:
        # Empty frames add no sound, so without this limit they would keep a place for ever.
        if clock() - began > longest_open:
            message = f"the stream was open for over {longest_open:g} s"
            raise ApiError("too_long", message, "open another")
        for block in decoder.decode(frame):
            predictions = await service.in_thread(lambda block=block: stream.push(block))  # type: ignore[misc]
            await _send_predictions(send, predictions)
            if stream.seconds > limits.seconds:
                message = f"the stream is longer than {limits.seconds:g} s"
                raise ApiError("too_long", message, "open another")
    predictions, segments = await service.in_thread(stream.finish)
    await _send_predictions(send, predictions)
    await _send_segments(send, segments)
    await send(type="end", seconds=stream.seconds)


async def _next_frame(socket: WebSocket, seconds: float) -> bytes | None:
    try:
        async with asyncio.timeout(seconds):
            message: dict[str, Any] = dict(await socket.receive())
    except TimeoutError as error:
        fix = "end a stream with the text 'end'"
        raise ApiError("time_limit", f"nothing came for {seconds:g} s", fix) from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", _NORMAL))
    if message.get("text") == "end":
        return None
    if message.get("bytes") is None:
        raise ApiError("invalid", "a stream takes binary frames and the text 'end'")
    return bytes(message["bytes"])


async def _send_predictions(send: _Send, predictions: list[WindowPrediction]) -> None:
    for prediction in predictions:
        facts = {name: value for name, value in vars(prediction).items() if name != "segments"}
        await send(type="moment", **facts)
        await _send_segments(send, prediction.segments)


async def _send_segments(send: _Send, segments: Sequence[Segment]) -> None:
    for segment in segments:
        await send(type="segment", **asdict(segment))
