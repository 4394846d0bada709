"""The server as a process: its socket, its address, its log, its end."""

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
from emospec.serving.batching import PASS_SAMPLES, SharedRecognizer
from emospec.serving.connections import Connection
from emospec.serving.decoding import DECODER
from emospec.serving.limits import Limits
from emospec.serving.log import log_to_stderr
from emospec.serving.metrics import Metrics
from emospec.serving.service import Service

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_FRAME_BYTES = 2**20  # of a WebSocket
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^\s/\[\]:@]+|\[[0-9a-f:.]+\])(:\d+)?")
ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
CLOSING_SECONDS = 60  # to finish what there is
UNREAD_SECONDS = 30  # that a client may leave an answer unread


class _Server(uvicorn.Server):
    """Says where it is, once it is there, and how it ended."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or []:
            host, port = one.getsockname()[:2]
            print(f"emospec: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            log.warning("stopped at once: what was at work has no answer")
        else:
            log.info(
                "stopped: what had come by then was finished, if it took no more than %d s", CLOSING_SECONDS
            )


def serve(
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
    pass_samples: int = PASS_SAMPLES,
    ffmpeg: bool = False,
    notes: Sequence[str] = (),
) -> None:
    """Serve a model until the process is told to end; what has come by then is finished.

    Args:
        model: as of `Recognizer`.
        host: to bind; other than this machine's own, anybody who reaches it may use it.
        port: 0 takes a free one.
        int8, threads, pass_samples, ffmpeg: as of `SharedRecognizer`.
        token: that requests must bear; empty for none.
        origins: other sites whose pages may send requests.
        root_path: under which a proxy has the server, such as `/emo`; empty for none.
        limits: what is taken at most.
        notes: what the log says first.

    Raises:
        ServingError: the address cannot be bound, or a token, an origin or a root path is none.
        ModelError: there is no such model.
    """
    _refuse_unusable(token, origins, root_path)
    found = load_model(model)  # an error is printed before the log begins
    bound = bind(host, port)
    log_to_stderr()
    for note in notes:
        log.info(note)
    if host not in LOOPBACK and not token:
        log.warning("%s is open to others and there is no token: set EMOSPEC_TOKEN", host)
    with bound, current_folder_off_path():
        limits = limits or Limits()
        metrics, threads = Metrics(), threads or cores()
        recognizer = SharedRecognizer(
            found,
            int8=int8,
            threads=threads,
            pass_samples=pass_samples,
            told=metrics.passes.observe,
            ffmpeg=ffmpeg,
        )
        service = Service(recognizer, limits, metrics, decoders=threads)
        names = (*LOOPBACK, *(urlsplit(origin).hostname or "" for origin in origins))
        hosts = names if host in LOOPBACK else ()
        app = create_app(service, token=token, hosts=hosts, origins=origins, root_path=root_path)
        # Clients that connect and say nothing cost a descriptor each, and nothing else.
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        try:
            with suppress(KeyboardInterrupt):
                _Server(config_of(app, limits)).run(sockets=[bound])
        finally:
            service.decoders.stop()
            for child in multiprocessing.active_children():
                if child.name == DECODER:
                    child.kill()  # it is deaf to the SIGTERM by which multiprocessing would end it


def _refuse_unusable(token: str, origins: tuple[str, ...], root_path: str) -> None:
    """Refuse a token that no WebSocket can bear (RFC 6455, section 4.1), an origin that no browser sends, a path that is none."""
    if token and not TOKEN.fullmatch(token):
        raise ServingError(
            "the token holds a sign other than letters, digits and !#$%&'*+-.^_`|~, which no WebSocket can bear. "
            "`openssl rand -hex 32` makes one"
        )
    if wrong := [origin for origin in origins if origin != "*" and not ORIGIN.fullmatch(origin)]:
        raise ServingError(
            f"--allow-origin {wrong[0]!r} is no origin. Say SCHEME://HOST or SCHEME://HOST:PORT, and nothing behind it"
        )
    if root_path and not ROOT_PATH.fullmatch(root_path):
        raise ServingError(
            f"--root-path {root_path!r} is no path. Say it as the proxy has it, as /emo, without a slash at its end"
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
    # Connections whose client reads nothing of what it was sent are ended by the kernel.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNREAD_SECONDS)
    return bound


def config_of(app: FastAPI, limits: Limits | None = None) -> uvicorn.Config:
    """Return how uvicorn runs the application."""
    connection: Any = partial(Connection, limits=limits or Limits())
    return uvicorn.Config(
        app,
        http=connection,
        access_log=False,
        log_config=None,
        log_level="warning",
        ws_max_size=LARGEST_FRAME_BYTES,
        ws_per_message_deflate=False,  # else a small message can become any number of bytes in memory
        ws_ping_interval=None,  # a client that sends faster than it reads answers late; silence and deafness have limits of their own
        timeout_graceful_shutdown=CLOSING_SECONDS,
        server_header=False,
    )
