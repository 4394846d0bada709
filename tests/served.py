"""A server in a thread, on a free port, as `emospec serve` runs it, and how tests talk to it."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import soundfile
import uvicorn
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from conftest import tone
from emospec.serving.app import create_app
from emospec.serving.decoding import PRELOAD
from emospec.serving.limits import Limits
from emospec.serving.metrics import Metrics
from emospec.serving.middleware import Access
from emospec.serving.server import bind, uvicorn_config
from emospec.serving.service import Service, SharedRecognizer

# In tests each decoder would import this program anew, as `emospec.cli` elsewhere.
PRELOAD.append("pytest")


@dataclass
class RunningServer:
    """A server that runs: its port, its service, and uvicorn's server, by which it ends."""

    port: int
    service: Service
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)


@contextmanager
def served(model: Path, limits: Limits | None = None, **access: Any) -> Iterator[RunningServer]:
    metrics = Metrics()
    recognizer = SharedRecognizer(model, threads=2, on_pass=metrics.passes.observe)
    limits = limits or Limits()
    service = Service(recognizer, limits, metrics)
    server = uvicorn.Server(uvicorn_config(create_app(service, Access(**access)), limits))
    with bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            yield RunningServer(port, service, server)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server did not end"


def until(is_true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until a condition is true; fail if it is not within some seconds."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def wav(samples: Any, rate: int = 16_000, **options: Any) -> bytes:
    """Return samples as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "FLOAT"} | options)
    return file.getvalue()


CLIP = wav(tone(440, 1.0))


def multipart(contents: list[bytes], field: str = "files") -> list[tuple[str, tuple[str, bytes]]]:
    """Return the files of a request, named 0.wav, 1.wav and so on."""
    return [(field, (f"{k}.wav", content)) for k, content in enumerate(contents)]


def check_error(answer: httpx.Response, status: int, code: str) -> str:
    """Check that an answer is this error, in the one shape, and return its message."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "fix"}
    assert error["code"] == code, error
    assert error["fix"]
    assert "\n" not in error["message"]
    return str(error["message"])


def connected(server: RunningServer, sent: bytes = b"") -> socket.socket:
    """Return a connection that has sent some bytes."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(sent)
    return connection


def open_stream(server: RunningServer, query: str = "", **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/v1/stream?{query}", proxy=None, **options)


def messages_until_close(stream: ClientConnection) -> list[dict[str, Any]]:
    """Return the messages that the server sends until it closes, and the code with which it does."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(stream.recv(timeout=30)))
    return [*messages, {"type": "closed", "code": stream.close_code}]
