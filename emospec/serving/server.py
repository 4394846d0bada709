"""The server as a process: its socket, its address, its log and its end."""

import logging
import multiprocessing
import re
import resource
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from emospec.cores import cores
from emospec.errors import ServingError
from emospec.inference.model import load_model
from emospec.processes import current_folder_off_path
from emospec.serving.app import create_app
from emospec.serving.connections import LimitedConnection
from emospec.serving.decoding import DECODER_NAME
from emospec.serving.limits import Limits
from emospec.serving.log import log_to_stderr
from emospec.serving.metrics import Metrics
from emospec.serving.middleware import Access
from emospec.serving.service import Service, SharedRecognizer

_log = logging.getLogger(__name__)

# A client may leave an answer unread for so long.
UNREAD_SECONDS = 30

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# A WebSocket's frame is held in memory whole.
_LARGEST_FRAME_BYTES = 2**20
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^\s/\[\]:@]+|\[[0-9a-f:.]+\])(:\d+)?")
_ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
# Requests that have come by the signal are finished within this time.
_CLOSING_SECONDS = 60


class _Server(uvicorn.Server):
    """A server that prints its address once it is there, and logs how it ended."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or []:
            host, port = bound.getsockname()[:2]
            print(f"emospec: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            _log.warning("stopped at once: what was at work has no answer")
            return
        message = "stopped: what had come by then was finished, if it took no more than %d s"
        _log.info(message, _CLOSING_SECONDS)


def run_server(
    model: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    int8: bool = False,
    threads: int = 0,
    token: str = "",
    origins: tuple[str, ...] = (),
    root_path: str = "",
    limits: Limits | None = None,
    ffmpeg: bool = False,
    notes: Sequence[str] = (),
) -> None:
    """Serve a model until a signal ends the process; requests that have come by then are finished.

    Args:
        model: as of `Recognizer`.
        host: to bind; anybody who reaches it may use the server.
        port: 0 takes a free one.
        int8, threads, ffmpeg: as of `SharedRecognizer`.
        token, origins, root_path: as of `Access`.
        notes: the first lines of the log.

    Raises:
        ServingError: the address cannot be bound, or the token, an origin or the root path is not valid.
        ModelError: there is no such model.
    """
    _check_options(token, origins, root_path)
    # An error is printed before the log begins.
    loaded = load_model(model)
    bound = bind(host, port)
    log_to_stderr()
    for note in notes:
        _log.info(note)
    if host not in _LOOPBACK and not token:
        _log.warning("%s is open to others and there is no token: set EMOSPEC_TOKEN", host)
    with bound, current_folder_off_path():
        limits = limits or Limits()
        metrics, threads = Metrics(), threads or cores()
        on_pass = metrics.passes.observe
        recognizer = SharedRecognizer(loaded, int8=int8, threads=threads, on_pass=on_pass, ffmpeg=ffmpeg)
        service = Service(recognizer, limits, metrics, decoders=threads)
        own_hosts = (*_LOOPBACK, *(urlsplit(origin).hostname or "" for origin in origins))
        access = Access(token, own_hosts if host in _LOOPBACK else (), origins, root_path)
        app = create_app(service, access)
        _run_until_stopped(_Server(uvicorn_config(app, limits)), service, bound)


def _run_until_stopped(server: _Server, service: Service, bound: socket.socket) -> None:
    # Clients that connect and send nothing cost a file descriptor each, and nothing else.
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[bound])
    finally:
        service.decoders.stop()
        for child in multiprocessing.active_children():
            if child.name == DECODER_NAME:
                # It ignores the SIGTERM by which multiprocessing would end it.
                child.kill()


def _check_options(token: str, origins: tuple[str, ...], root_path: str) -> None:
    # RFC 6455, section 4.1: a page's WebSocket bears the token as a protocol, whose signs are few.
    if token and not _TOKEN.fullmatch(token):
        signs = "letters, digits and !#$%&'*+-.^_`|~"
        advice = "`openssl rand -hex 32` makes one"
        raise ServingError(
            f"the token holds a sign other than {signs}, which no WebSocket can bear. {advice}"
        )
    if wrong := [origin for origin in origins if origin != "*" and not _ORIGIN.fullmatch(origin)]:
        advice = "Say SCHEME://HOST or SCHEME://HOST:PORT, and nothing behind it"
        raise ServingError(f"--allow-origin {wrong[0]!r} is no origin. {advice}")
    if root_path and not _ROOT_PATH.fullmatch(root_path):
        advice = "Say it as the proxy has it, as /emo, without a slash at its end"
        raise ServingError(f"--root-path {root_path!r} is no path. {advice}")


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; ServingError if the address cannot be bound."""
    try:
        bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise ServingError(f"{host} port {port} cannot be bound ({error}). Name another --port") from error
    # Connections inherit it; asyncio sets it on its own sockets alone. Without it the body of an answer waits some
    # 40 ms for the client to acknowledge its head (Nagle's algorithm).
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel ends connections whose client reads nothing of its answer.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNREAD_SECONDS)
    return bound


def uvicorn_config(app: FastAPI, limits: Limits | None = None) -> uvicorn.Config:
    """Return the configuration by which uvicorn runs the application."""
    connection: Any = partial(LimitedConnection, limits=limits or Limits())
    return uvicorn.Config(
        app,
        http=connection,
        access_log=False,
        log_config=None,
        log_level="warning",
        ws_max_size=_LARGEST_FRAME_BYTES,
        # Else a small message can become any number of bytes in memory.
        ws_per_message_deflate=False,
        # A client that sends faster than it reads answers pings late; idle and non-reading clients have limits anyway.
        ws_ping_interval=None,
        timeout_graceful_shutdown=_CLOSING_SECONDS,
        server_header=False,
    )
