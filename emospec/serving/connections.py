"""Connections: how many there may be, how long one may be idle, and what becomes of a body that nobody reads."""

import asyncio
import json
import time
from collections.abc import MutableMapping
from typing import Any

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from emospec.serving.errors import ApiError
from emospec.serving.limits import Limits

DRAINED_BYTES, DRAINED_SECONDS = 8_000_000, 5.0  # of a body that nobody reads


class Connection(H11Protocol):
    """uvicorn's, closed where no whole request head comes in time, or where others need its place while it is idle.

    Args:
        limits: of connections, and of seconds for a head.
        uvicorns: what uvicorn gives.
    """

    def __init__(self, *, limits: Limits, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._limits = limits
        self._began = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether it waits for a request's head."""
        return self.conn.their_state is h11.IDLE and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take its place among the connections."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the time for a head counts from its first byte, or from when the connection was made."""
        super().data_received(data)
        if self.idle:
            self._watch()
        else:
            self._forget()

    def on_response_complete(self) -> None:
        """Count its idle time from here."""
        self._began = time.monotonic()
        super().on_response_complete()

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self.timeout_keep_alive_handler)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _make_room(self) -> None:
        """Close the connection that has been idle for longest; this one where all others are at work."""
        idle = [
            one for one in self.connections if isinstance(one, Connection) and one.idle and one is not self
        ]
        if idle:
            min(idle, key=lambda one: one._began).timeout_keep_alive_handler()
            return
        refusal = ApiError("not_ready", f"{self._limits.connections} connections are open")
        body = json.dumps({"error": refusal.facts}).encode()
        head = (
            "HTTP/1.1 503 Service Unavailable",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"Retry-After: {refusal.retry_seconds}",
            "Connection: close",
        )
        self.transport.write("\r\n".join((*head, "", "")).encode() + body)
        self.transport.close()


class UnreadBodies:
    """An ASGI middleware that closes connections whose request was answered before its body was read.

    Such an answer says so. What the client goes on sending is thrown away for a while, as it might not see its
    answer otherwise: to close a socket with unread bytes resets the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        # Of an older specification, starlette reads on while it sends a file: uncounted, and for as long as that takes.
        scope = {**scope, "asgi": {**scope["asgi"], "spec_version": "2.4"}}
        whole = False

        async def reading() -> Message:
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body", False)  # a client that has gone sends no more
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and not whole:
                MutableHeaders(scope=message)["Connection"] = "close"
            if message["type"] == "http.response.body" and not message.get("more_body") and not whole:
                await send({**message, "more_body": True})
                await _throw_away(reading)
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, reading, sending)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _throw_away(receive: Receive) -> None:
    """Read the rest of a body, no more than `DRAINED_BYTES` nor for longer than `DRAINED_SECONDS`."""
    left = DRAINED_BYTES
    try:
        async with asyncio.timeout(DRAINED_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
