"""The limits of the server, and the gate that counts what it holds."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from emospec.serving.errors import ApiError

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """The most that the server takes.

    Attributes:
        bytes: of one request's body.
        seconds: of a recording, by its own header, and of a stream.
        files: in one request.
        held_bytes: of the bodies of all requests together.
        waiting: requests whose body has come and whose answer has not gone.
        recordings: decoded or predicted at the same time; the others wait, undecoded.
        streams, timelines: at the same time.
        connections: that are open; idle ones give way to new ones.
        head_seconds: for the head of a request to come.
        body_seconds: for a body to come, and a second more for each `slowest_bytes` of it; for a stream to send something.
        answer_seconds, timeline_seconds: for the answer to be made.
    """

    bytes: int = 100 * MEGABYTE
    seconds: float = 3600.0
    files: int = 64
    held_bytes: int = 400 * MEGABYTE
    waiting: int = 512
    recordings: int = 32
    streams: int = 32
    timelines: int = 2
    connections: int = 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    slowest_bytes: int = 100_000
    answer_seconds: float = 30.0
    timeline_seconds: float = 600.0


class Gate:
    """The counts of what the server holds, which refuse more than its limits; for one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.bytes = self.requests = self.streams = 0
        self._latest_seconds = 1.0

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while it is open, one too many included: it is open until its error is sent."""
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def check_streams(self) -> None:
        """Raise ApiError if the latest stream is one too many."""
        if self.streams > self.limits.streams:
            raise ApiError("busy", f"{self.limits.streams} streams are open")

    def check(self) -> None:
        """Raise ApiError, before a body is read, if no more requests may wait."""
        if self.requests >= self.limits.waiting:
            retry_seconds = math.ceil(self._latest_seconds)
            raise ApiError("busy", f"{self.requests} requests are waiting", retry_seconds=retry_seconds)

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Hold a request's body: yield a function to call with the number of bytes of each chunk as it comes."""
        held = 0

        def add(count: int) -> None:
            nonlocal held
            if held + count > self.limits.bytes:
                raise ApiError("too_large", f"the request is larger than {self.limits.bytes} bytes")
            if self.bytes + count > self.limits.held_bytes:
                raise ApiError("busy", "the server holds as many bytes as it may")
            held += count
            self.bytes += count

        try:
            yield add
        finally:
            self.bytes -= held

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a request while it waits for its answer."""
        self.check()
        self.requests += 1
        began = time.monotonic()
        try:
            yield
        finally:
            self.requests -= 1
            # A full queue frees its next place after about as long as the request that leaves now has waited.
            self._latest_seconds = time.monotonic() - began
