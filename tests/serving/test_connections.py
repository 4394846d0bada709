"""Connections end if nobody reads their body, or if their client sends no request or reads no answer."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import anonymous_bytes
from emospec.serving import middleware
from emospec.serving.limits import Limits
from emospec.serving.middleware import DRAINED_BYTES
from emospec.serving.server import UNREAD_SECONDS, bind
from served import CLIP, RunningServer, check_error, connected, multipart, served, until

CHUNK = bytes(1_000_000)
BODY = b'--a\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
FORM = "Content-Type: multipart/form-data; boundary=a\r\n"


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[RunningServer]:
    limits = Limits(bytes=1_000_000, body_seconds=0.5, head_seconds=0.5, connections=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(middleware, "DRAINED_SECONDS", 0.5)
        with served(hum_model, limits, token="open-sesame") as running:
            yield running


def head(
    path: str, more: str = "", method: str = "POST", token: str = "open-sesame", size: int = 10**12
) -> bytes:
    lines = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    return f"{lines}Content-Length: {size}\r\n{more}\r\n".encode()


def send_until_closed(connection: socket.socket, most: int = 200_000_000) -> int:
    """Return how many bytes are taken before the connection is closed."""
    count = 0
    with contextlib.suppress(OSError):
        while count < most:
            connection.sendall(CHUNK)
            count += len(CHUNK)
    return count


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("/v1/predict", token="wrong"), 401),
        (head("/v1/models", method="GET"), 200),
        (head("/page/page.js", method="GET"), 200),
        (head("/docs/swagger-ui.css", method="GET"), 200),
        (head("/nowhere"), 404),
        (head("/v1/predict", method="PUT"), 405),
        (head("/v1/predict", FORM), 413),
        (head("/v1/predict", "Content-Type: text/plain\r\n", size=900_000), 422),
        (head("/v1/predict?window=1", FORM, size=900_000), 422),
        (head("/v1/predict", FORM, size=900_000) + BODY, 408),
    ],
)
def test_a_body_that_nobody_reads_ends_its_connection(
    server: RunningServer, request_head: bytes, status: int
) -> None:
    """The answer comes, and says that it is the last; then the connection is closed, whatever the client does."""
    with connected(server, request_head) as connection:
        answer = connection.recv(65_536)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert send_until_closed(connection) < 4 * DRAINED_BYTES
    with connected(server, request_head.replace(b"900000", b"90")) as trickling:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while trickling.recv(65_536):
                pass
        assert time.monotonic() - began < 10
    until(lambda: not server.server.server_state.connections)


def test_a_client_that_goes_on_sending_takes_no_memory(server: RunningServer) -> None:
    def send() -> None:
        for _ in range(3):
            with connected(server, head("/v1/predict", FORM)) as connection:
                send_until_closed(connection)

    before = anonymous_bytes()
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert anonymous_bytes() - before < 40_000_000
    until(lambda: server.service.gate.bytes == 0)


def test_an_answer_to_half_a_body_is_read_by_its_client(server: RunningServer) -> None:
    with server.client(headers={"Authorization": "Bearer open-sesame"}) as client:
        for _ in range(3):
            check_error(client.post("/v1/predict", files=multipart([CHUNK * 4], "file")), 413, "too_large")
        assert client.post("/v1/predict", files=multipart([CLIP], "file")).status_code == 200


def test_connections_without_a_request_are_closed(server: RunningServer) -> None:
    for first in (b"", b"GET /health HTTP/1.1\r\nX: "):
        with connected(server, first) as idle:
            began = time.monotonic()
            with contextlib.suppress(OSError):  # a byte of a head now and then does not help
                while time.monotonic() - began < 0.4:
                    idle.sendall(b"x" if first else b"")
                    time.sleep(0.1)
            assert idle.recv(1000) == b""
            assert time.monotonic() - began < 5
    with connected(server, b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") as later:
        until(lambda: b"alive" in later.recv(10_000))
        later.sendall(b"GET /health")  # and then no more
        assert later.recv(1000) == b""


def test_idle_connections_give_way_to_new_ones(hum_model: Path) -> None:
    with served(hum_model, Limits(connections=10)) as server:
        idle = [connected(server) for _ in range(25)]
        with server.client() as client:
            assert client.get("/health").status_code == 200
        assert len(server.server.server_state.connections) <= 10
        assert idle[0].recv(1) == b""
        for connection in idle:
            connection.close()
        busy = [connected(server, head("/v1/predict", FORM) + BODY) for _ in range(10)]
        until(lambda: sum(not connection.idle for connection in server.server.server_state.connections) == 10)
        with connected(server) as refused:
            answer = refused.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1\r\n" in answer
            assert b'"not_ready"' in answer
        for connection in busy:
            connection.close()


def test_the_kernel_ends_connections_whose_client_reads_nothing() -> None:
    with bind("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            limit = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit == 1000 * UNREAD_SECONDS
