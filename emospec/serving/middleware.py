"""Middleware around the whole application: access, headers, counting and logging; bodies that nobody reads."""

import asyncio
import hmac
import logging
import time
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from emospec.serving.errors import ApiError
from emospec.serving.metrics import Metrics

_log = logging.getLogger(__name__)

GUARDED = ("/v1/", "/metrics")
"""The addresses that want the token begin with one of these."""
# So much of a body that nobody reads is read and dropped.
DRAINED_BYTES, DRAINED_SECONDS = 8_000_000, 5.0

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Swagger UI sets inline styles, and its stylesheet has pictures.
_SWAGGER_POLICY = "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "WS")
# RFC 6455, section 7.4.1.
_POLICY_VIOLATION, _ABNORMAL_CLOSURE = 1008, 1006


@dataclass(frozen=True)
class Access:
    """Who may use the server, and where.

    Attributes:
        token: that every request to `GUARDED` must bear; empty for none.
        hosts: by which the server may be called, so that no other site's name can point at it; none for any.
        origins: other sites whose pages may send requests.
        root_path: under which a proxy has the server, such as `/emo`; the proxy may leave it on or take it off.
    """

    token: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    root_path: str = ""


class AccessMiddleware:
    """An ASGI middleware that checks, counts and logs every request, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access: Access) -> None:
        self._app, self._metrics, self._access = app, metrics, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or a WebSocket, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        root, address, is_http = self._access.root_path, self._address(scope), scope["type"] == "http"
        # For the application, the path has the root path, and HEAD is GET.
        inner = {**scope, "root_path": root, "path": root + address}
        if scope.get("method") == "HEAD":
            inner["method"] = "GET"
        began, status = time.perf_counter(), 0 if is_http else _ABNORMAL_CLOSURE

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _finish_headers(message, address)
            elif message["type"] == "websocket.close":
                status = message.get("code", status)
            await send(message)

        try:
            await self._answering(scope, address)(inner, receive, send_with_headers)
        except Exception:  # our own mistakes, of any kind: logged with their trace, and answered as a 500
            if is_http:
                _log.exception("a request failed")
            if not is_http or status:
                # The answer has begun: the client must see that it is cut off.
                raise
            await ApiError("internal").response(scope, receive, send_with_headers)
        finally:
            self._count(inner, scope.get("method", "WS"), status, time.perf_counter() - began)

    def _answering(self, scope: Scope, address: str) -> ASGIApp:
        is_http = scope["type"] == "http"
        if refusal := self._refusal(scope, address):
            return refusal.response if is_http else WebSocketClose(_POLICY_VIOLATION, refusal.code)
        # The page's links are relative to a folder.
        if is_http and not address:
            return RedirectResponse(f"{self._access.root_path}/", 308)
        return self._app

    def _refusal(self, scope: Scope, address: str) -> ApiError | None:
        access, headers = self._access, Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            called, sender = urlsplit(f"//{host}").hostname, urlsplit(origin or "").netloc
        except ValueError:  # such as a bracket that is never closed
            return ApiError("forbidden")
        if access.hosts and called not in access.hosts:
            fix = f"call it {access.hosts[0]}, or start it with --allow-origin ORIGIN"
            return ApiError("forbidden", "the header Host names another server", fix)
        sends = scope["type"] == "websocket" or scope["method"] == "POST"
        if sends and origin and sender != host and not {origin, "*"} & {*access.origins}:
            return ApiError("forbidden")
        # The scheme is of any case (RFC 9110, 11.1). A page's WebSocket can set no header but its protocols.
        scheme, _, token = headers.get("authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            scheme, _, token = headers.get("sec-websocket-protocol", "").partition(",")
        token = token.strip() if scheme.strip().lower() == "bearer" else ""
        guarded = access.token and address.startswith(GUARDED)
        if guarded and not hmac.compare_digest(token.encode(), access.token.encode()):
            return ApiError("unauthorized")
        return None

    def _address(self, scope: Scope) -> str:
        root, path = self._access.root_path, str(scope["path"])
        return path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path

    def _count(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        # A client may invent any number of them.
        method = method if method in _METHODS else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.latency.labels(route).observe(seconds)
        line = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1)}
        _log.info("a request", extra={"facts": line})


class UnreadBodyMiddleware:
    """An ASGI middleware that closes a connection whose request was answered before its body was read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            await self._app(scope, receive, send)
            return
        # For an older version of ASGI, starlette reads the body on, uncounted, for as long as it sends a file.
        scope = {**scope, "asgi": {**scope["asgi"], "spec_version": "2.4"}}
        is_read = False

        async def receive_noting_end() -> Message:
            nonlocal is_read
            message = await receive()
            # A client that has gone sends no more.
            is_read = is_read or not message.get("more_body", False)
            return message

        async def send_last(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and not is_read:
                MutableHeaders(scope=message)["Connection"] = "close"
            if message["type"] == "http.response.body" and not message.get("more_body") and not is_read:
                await send({**message, "more_body": True})
                await _drain(receive_noting_end)
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, receive_noting_end, send_last)


def _finish_headers(message: MutableMapping[str, Any], path: str) -> None:
    headers = MutableHeaders(scope=message)
    headers.update(_HEADERS)
    if path == "/docs":
        headers["Content-Security-Policy"] += f"; {_SWAGGER_POLICY}"
    # The page's files belong together: one of another version, from a browser's cache, would break the rest.
    headers["Cache-Control"] = "no-store" if path.startswith(GUARDED) else "no-cache"
    # A redirect names no scheme and host: a proxy may speak TLS, under another name.
    if "location" in headers:
        headers["Location"] = urlsplit(headers["Location"])._replace(scheme="", netloc="").geturl()


async def _drain(receive: Receive) -> None:
    # Closing a socket with unread bytes resets the connection, and the client might not see its answer.
    bytes_left = DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAINED_SECONDS):
            while bytes_left > 0:
                message = await receive()
                bytes_left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
