"""Sound over a WebSocket -> what is heard, hop by hop: the recogniser's own stream."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, WebSocket, WebSocketDisconnect
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import HTTPConnection

from emospec.errors import EmospecError
from emospec.inference.streaming import Stream, Timing, WindowPrediction
from emospec.inference.timeline import Segment
from emospec.serving import schemas as answers
from emospec.serving.errors import ApiError, api_error_of, check_query
from emospec.serving.routes import SHORTEST_HOP_SECONDS, Served
from emospec.serving.service import Service

log = logging.getLogger(__name__)
router = APIRouter()

Tell = Callable[..., Awaitable[None]]
NORMAL, REFUSED, FAILED = 1000, 1008, 1011  # RFC 6455, section 7.4.1


class Asked(BaseModel):
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
            self.window, self.hop, self.smoothing, self.minimum, self.abstain_below, self.check_speech
        )


class Pieces:
    """Samples from bytes that come in frames of any size, in pieces of a second at most."""

    def __init__(self, asked: Asked) -> None:
        self._type = np.dtype("<i2" if asked.encoding == "s16le" else "<f4")
        self._most = asked.sample_rate
        self._rest = b""

    def __call__(self, frame: bytes) -> list[NDArray[np.float32]]:
        """(samples,) each, nominally in [-1, 1]."""
        joined = self._rest + frame
        whole = len(joined) // self._type.itemsize * self._type.itemsize
        self._rest = joined[whole:]
        samples = np.frombuffer(joined[:whole], self._type)
        scaled = samples.astype(np.float32) / np.float32(32768 if self._type.kind == "i" else 1)
        return [scaled[first : first + self._most] for first in range(0, len(scaled), self._most)]


def known_query(connection: HTTPConnection) -> None:
    """Refuse query parameters that a stream does not take."""
    check_query((name for name, _ in connection.query_params.multi_items()), [*Asked.model_fields])


@router.get(
    "/v1/stream",
    dependencies=[Depends(known_query)],
    responses={code: {"model": answers.Trouble} for code in (401, 403, 422, 426)},
)
async def stream_by_websocket(asked: Annotated[Asked, Query()]) -> None:
    """Emotions of live sound, hop by hop, over a WebSocket; without its handshake, an error."""
    raise ApiError("upgrade_required")


@router.websocket("/v1/stream")
async def stream(socket: WebSocket, service: Served) -> None:
    """PCM in, moments and segments out, until the text `end`."""
    offered = (one for one in socket.scope["subprotocols"] if one.lower() == "bearer")
    await socket.accept(next(offered, None))
    with suppress(WebSocketDisconnect), service.gate.stream():
        refusal = await _refusal(socket, service)
        if refusal:
            await socket.send_json({"type": "error", "error": refusal.facts})
            await socket.close(FAILED if refusal.status >= 500 else REFUSED)
        else:
            await socket.close(NORMAL)


async def _refusal(socket: WebSocket, service: Service) -> ApiError | None:
    """What ends a stream before its end, if anything does."""
    try:
        service.gate.check_streams()
        known_query(socket)
        await _listen(socket, service)
    except EmospecError as error:
        return api_error_of(error)
    except WebSocketDisconnect:
        raise
    except Exception:  # our own mistakes, of any kind: logged with their trace, and told before the close
        log.exception("a stream failed")
        return ApiError("internal")
    return None


async def _listen(socket: WebSocket, service: Service) -> None:
    try:
        asked = Asked.model_validate(dict(socket.query_params))
    except ValidationError as error:
        first = error.errors()[0]
        raise ApiError("invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    heard, pieces = service.recognizer.stream(asked.sample_rate, asked.timing), Pieces(asked)
    classes = list(service.recognizer.model.names)
    latency = asked.timing.latency_seconds

    async def tell(**facts: Any) -> None:
        """To a client; one that takes nothing for so long is taken for gone."""
        try:
            async with asyncio.timeout(service.limits.body_seconds):
                await socket.send_json(facts)
        except TimeoutError:
            raise WebSocketDisconnect(NORMAL) from None

    await tell(type="ready", classes=classes, latency_seconds=latency)
    clock, most = asyncio.get_running_loop().time, service.limits.seconds + service.limits.body_seconds
    began = clock()
    while (frame := await _frame(socket, service.limits.body_seconds)) is not None:
        if clock() - began > most:  # frames of nothing would keep its place for ever
            raise ApiError("too_long", f"the stream was open for over {most:g} s", "open another")
        for piece in pieces(frame):
            await _say(tell, await service.in_thread(lambda piece=piece: heard.push(piece)))  # type: ignore[misc]
            _check_length(heard, service)
    moments, segments = await service.in_thread(heard.finish)
    await _say(tell, moments)
    await _say_segments(tell, segments)
    await tell(type="end", seconds=heard.seconds)


def _check_length(heard: Stream, service: Service) -> None:
    if heard.seconds > service.limits.seconds:
        raise ApiError("too_long", f"the stream is longer than {service.limits.seconds:g} s", "open another")


async def _frame(socket: WebSocket, seconds: float) -> bytes | None:
    """The next binary frame; None at the end."""
    try:
        async with asyncio.timeout(seconds):
            message: dict[str, Any] = dict(await socket.receive())
    except TimeoutError as error:
        raise ApiError(
            "time_limit", f"nothing came for {seconds:g} s", "end a stream with the text 'end'"
        ) from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", NORMAL))
    if message.get("text") == "end":
        return None
    if message.get("bytes") is None:
        raise ApiError("invalid", "a stream takes binary frames and the text 'end'")
    return bytes(message["bytes"])


async def _say(tell: Tell, moments: list[WindowPrediction]) -> None:
    for moment in moments:
        facts = {name: value for name, value in vars(moment).items() if name != "segments"}
        await tell(type="moment", **facts)
        await _say_segments(tell, moment.segments)


async def _say_segments(tell: Tell, segments: list[Segment] | tuple[Segment, ...]) -> None:
    for segment in segments:
        await tell(type="segment", **asdict(segment))
