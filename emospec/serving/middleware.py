"""The door: who may come in, what every answer carries, what is counted and logged; no names of files."""

import hmac
import logging
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emospec.serving.errors import ApiError
from emospec.serving.metrics import Metrics

log = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Swagger UI sets styles of its own, and its stylesheet has pictures.
STYLED = "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "WS")
GUARDED = ("/v1/", "/metrics")
POLICY_VIOLATION, GONE = 1008, 1006  # RFC 6455, section 7.4.1


class AccessMiddleware:
    """An ASGI middleware around the whole application.

    Args:
        app: what is behind it.
        metrics: where it counts.
        token: that every request to `GUARDED` must bear; empty for none.
        hosts: by which the server may be called, so that no other site's name can point at it; none for any.
        origins: other sites whose pages may send requests.
        root_path: under which a proxy has the server, such as `/emo`; the proxy may leave it on or take it off.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        token: str = "",
        hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        root_path: str = "",
    ) -> None:
        self._root = root_path
        self._app, self._metrics = app, metrics
        self._token, self._hosts, self._origins = token.encode(), hosts, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or not."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._stream(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), GONE

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "websocket.close":
                status = message.get("code", status)
            await send(message)

        inner = self._inner(scope)
        try:
            if refusal := self._refusal(scope):
                await told({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.code})
            else:
                await self._app(inner, receive, told)
        finally:
            self._count(inner, "WS", status, time.perf_counter() - began)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status, inner = time.perf_counter(), 0, self._inner(scope)

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(message, self._address(scope))
                _make_relative(message)
            await send(message)

        try:
            if refusal := self._refusal(scope):
                await refusal.response(scope, receive, told)
            elif not self._address(scope):  # the page's links are relative to a folder
                await RedirectResponse(f"{self._root}/", 308)(scope, receive, told)
            else:
                await self._app(inner, receive, told)
        except Exception:  # our own mistakes, of any kind: logged with their trace, and told as a 500
            log.exception("a request failed")
            if status:
                raise  # the answer has begun: the client must see that it is cut off
            await ApiError("internal").response(scope, receive, told)
        finally:
            self._count(inner, scope["method"], status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            called, sender = urlsplit(f"//{host}").hostname, urlsplit(origin or "").netloc
        except ValueError:  # such as a bracket that is never closed
            return ApiError("forbidden")
        if self._hosts and called not in self._hosts:
            fix = f"call it {self._hosts[0]}, or start it with --allow-origin ORIGIN"
            return ApiError("forbidden", "the server is not called so", fix)
        sends = scope["type"] == "websocket" or scope["method"] == "POST"
        if sends and origin and sender != host and not {origin, "*"} & {*self._origins}:
            return ApiError("forbidden")
        borne = _borne(headers) or _offered(headers)
        guarded = self._token and self._address(scope).startswith(GUARDED)
        if guarded and not hmac.compare_digest(borne.encode(), self._token):
            return ApiError("unauthorized")
        return None

    def _address(self, scope: Scope) -> str:
        """Return the path that was asked for, without the root path."""
        path = str(scope["path"])
        below = path == self._root or path.startswith(f"{self._root}/")
        return path.removeprefix(self._root) if below else path

    def _inner(self, scope: Scope) -> Scope:
        """Return a request as the application takes it: its path with the root path, and GET for HEAD."""
        inner = {**scope, "root_path": self._root, "path": self._root + self._address(scope)}
        return inner | ({"method": "GET"} if scope.get("method") == "HEAD" else {})

    def _count(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = method if method in METHODS else "other"  # a client may invent any number of them
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.latency.labels(route).observe(seconds)
        line = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1)}
        log.info("a request", extra={"facts": line})


def _add_headers(message: MutableMapping[str, Any], path: str) -> None:
    headers = MutableHeaders(scope=message)
    headers.update(HEADERS)
    if path == "/docs":
        headers["Content-Security-Policy"] += f"; {STYLED}"
    # The page's files go together: one from another version, out of a browser's cache, breaks the rest.
    headers["Cache-Control"] = "no-store" if path.startswith(GUARDED) else "no-cache"


def _make_relative(message: MutableMapping[str, Any]) -> None:
    """Leave scheme and host out of where a client is sent: a proxy may speak TLS, under another name."""
    headers = MutableHeaders(scope=message)
    if "location" in headers:
        headers["Location"] = urlsplit(headers["Location"])._replace(scheme="", netloc="").geturl()


def _borne(headers: Headers) -> str:
    """Return the token of the header `Authorization: Bearer TOKEN`, whose scheme is of any case (RFC 9110, 11.1)."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _offered(headers: Headers) -> str:
    """Return the token of a page's WebSocket, which can set no other header: protocols `bearer, TOKEN`."""
    first, _, second = headers.get("sec-websocket-protocol", "").partition(",")
    return second.strip() if first.strip().lower() == "bearer" else ""
