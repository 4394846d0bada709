"""Connections: how many there may be at a time, and how long one may be idle."""

import asyncio
import json
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from emospec.serving.errors import ApiError
from emospec.serving.limits import Limits


class LimitedConnection(H11Protocol):
    """A connection of uvicorn that is closed while idle: after a time, or when a new one needs its place.

    It is idle until the whole head of a request has come.
    """

    def __init__(self, *, limits: Limits, **protocol_options: Any) -> None:
        super().__init__(**protocol_options)
        self._limits = limits
        self._idle_since = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether it waits for a request's head."""
        return self.conn.their_state is h11.IDLE and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count among the connections."""
        super().connection_made(transport)
        self._update_deadline()
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for a head."""
        self._update_deadline(is_idle=False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the time for a head counts from its first byte, or from when the connection was made."""
        super().data_received(data)
        self._update_deadline(self.idle)

    def on_response_complete(self) -> None:
        """Count the idle time from here."""
        self._idle_since = time.monotonic()
        super().on_response_complete()

    def _update_deadline(self, is_idle: bool = True) -> None:
        if is_idle and self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self.timeout_keep_alive_handler)
        elif not is_idle and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _make_room(self) -> None:
        # The longest idle connection gives way, or this one if all others are at work.
        others = (c for c in self.connections if isinstance(c, LimitedConnection) and c is not self)
        longest_idle = min((c for c in others if c.idle), key=lambda c: c._idle_since, default=None)
        if longest_idle is not None:
            longest_idle.timeout_keep_alive_handler()
            return
        refusal = ApiError("not_ready", f"{self._limits.connections} connections are open")
        body = json.dumps({"error": refusal.detail}).encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {refusal.retry_seconds}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
