"""The server as a process: its socket, its address, its log, its end."""

import logging
import re
import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from emospec.cores import cores
from emospec.errors import ServingError
from emospec.serving.app import create_app
from emospec.serving.batching import PASS_SAMPLES, SharedRecognizer
from emospec.serving.limits import Limits
from emospec.serving.metrics import Metrics
from emospec.serving.service import Service

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_FRAME_BYTES = 2**20  # of a WebSocket
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^\s/\[\]:@]+|\[[0-9a-f:.]+\])(:\d+)?")
CLOSING_SECONDS = 60  # to finish what there is


class _Server(uvicorn.Server):
    """Says where it is, once it is there."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or []:
            host, port = one.getsockname()[:2]
            print(f"emospec: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


def serve(
    model: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    int8: bool = False,
    threads: int = 0,
    token: str = "",
    origins: tuple[str, ...] = (),
    limits: Limits | None = None,
    pass_samples: int = PASS_SAMPLES,
) -> None:
    """Serve a model until the process is told to end; what has come by then is finished.

    Args:
        model: as of `Recognizer`.
        host: to bind; other than this machine's own, anybody who reaches it may use it.
        port: 0 takes a free one.
        int8, threads, pass_samples: as of `SharedRecognizer`.
        token: that requests must bear; empty for none.
        origins: other sites whose pages may send requests.
        limits: what is taken at most.

    Raises:
        ServingError: the address cannot be bound, or a token or an origin is none.
        ModelError: there is no such model.
    """
    _refuse_unusable(token, origins)
    bound = bind(host, port)
    if host not in LOOPBACK and not token:
        print(f"emospec: {host} is open to others and there is no token: set EMOSPEC_TOKEN", file=sys.stderr)
    with bound:
        metrics, threads = Metrics(), threads or cores()
        recognizer = SharedRecognizer(
            model, int8=int8, threads=threads, pass_samples=pass_samples, told=metrics.passes.observe
        )
        service = Service(recognizer, limits or Limits(), metrics, decoders=threads)
        names = (*LOOPBACK, *(urlsplit(origin).hostname or "" for origin in origins))
        app = create_app(service, token=token, hosts=names if host in LOOPBACK else (), origins=origins)
        _log_to_stderr()
        # Clients that connect and say nothing cost a descriptor each, and nothing else.
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        with suppress(KeyboardInterrupt):
            _Server(config_of(app)).run(sockets=[bound])


def _refuse_unusable(token: str, origins: tuple[str, ...]) -> None:
    """ServingError for a token that no WebSocket can bear (RFC 6455, section 4.1), or an origin that no browser sends."""
    if token and not TOKEN.fullmatch(token):
        raise ServingError(
            "the token holds a sign other than letters, digits and !#$%&'*+-.^_`|~, which no WebSocket can bear. "
            "`openssl rand -hex 32` makes one"
        )
    if wrong := [origin for origin in origins if origin != "*" and not ORIGIN.fullmatch(origin)]:
        raise ServingError(
            f"--allow-origin {wrong[0]!r} is no origin. Say SCHEME://HOST or SCHEME://HOST:PORT, and nothing behind it"
        )


def bind(host: str, port: int) -> socket.socket:
    """The socket; ServingError where it cannot be had."""
    try:
        bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ServingError(f"{host} port {port} cannot be bound ({error}). Name another --port") from error
    # Connections inherit it; asyncio sets it on sockets of its own making alone. Without it the body of an answer
    # waits some 40 ms for the client to acknowledge its head (Nagle's algorithm).
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def config_of(app: FastAPI) -> uvicorn.Config:
    """How uvicorn runs the application."""
    return uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        ws_max_size=LARGEST_FRAME_BYTES,
        ws_per_message_deflate=False,  # else a small message can become any number of bytes in memory
        ws_ping_interval=None,  # a client that sends faster than it reads answers late; silence and deafness have limits of their own
        timeout_graceful_shutdown=CLOSING_SECONDS,
        server_header=False,
    )


def _log_to_stderr() -> None:
    """A line of JSON per request; of the libraries, warnings."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("emospec.serving").setLevel(logging.INFO)
