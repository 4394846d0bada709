"""A server in a thread, on a free port, as `emospec serve` runs it."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import soundfile
import uvicorn

from emospec.serving.app import create_app
from emospec.serving.batching import SharedRecognizer
from emospec.serving.decoding import PRELOAD
from emospec.serving.limits import Limits
from emospec.serving.metrics import Metrics
from emospec.serving.middleware import Access
from emospec.serving.server import bind, uvicorn_config
from emospec.serving.service import Service

PRELOAD.append(
    "pytest"
)  # here it is the program that each decoder would import anew, as `emospec.cli` is elsewhere


@dataclass
class Served:
    """A server that runs: its port, its insides, and how to end it."""

    port: int
    service: Service
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)


@contextmanager
def served(model: Path, limits: Limits | None = None, **options: Any) -> Iterator[Served]:
    metrics = Metrics()
    recognizer = SharedRecognizer(model, threads=2, on_pass=metrics.passes.observe)
    limits = limits or Limits()
    service = Service(recognizer, limits, metrics)
    server = uvicorn.Server(uvicorn_config(create_app(service, Access(**options)), limits))
    with bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.01)
            yield Served(port, service, server)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server did not end"


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def wav(samples: Any, rate: int = 16_000, **options: Any) -> bytes:
    """Samples as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "FLOAT"} | options)
    return file.getvalue()
