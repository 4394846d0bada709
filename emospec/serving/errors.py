"""How the server says no: a code, a message, what to do; one shape for every error."""

from collections.abc import Collection, Iterable
from typing import Any

from starlette.responses import JSONResponse

from emospec.errors import AudioError, EmospecError, LongAudioError, ServingError, nearest

KINDS: dict[str, tuple[int, str, str]] = {
    "unauthorized": (401, "this server wants a token", "send the header `Authorization: Bearer TOKEN`"),
    "forbidden": (403, "the request comes from another site", "start the server with --allow-origin ORIGIN"),
    "not_found": (404, "there is no such address", "see /openapi.json"),
    "unknown_model": (404, "there is no such model", "see /v1/models"),
    "method_not_allowed": (405, "the address does not know this method", "see /openapi.json"),
    "time_limit": (408, "the request came too slowly", "send it faster"),
    "too_large": (413, "the request is too large", "send fewer or smaller files; /v1/models has the limits"),
    "too_long": (413, "the recording is too long", "cut it; /v1/models has the limits"),
    "invalid": (422, "the request is not what the address takes", "see /openapi.json"),
    "unreadable": (422, "the recording cannot be read", "convert it, or send another recording"),
    "upgrade_required": (426, "a stream is a WebSocket", "open it by ws:// or wss://"),
    "busy": (429, "the server is busy", "wait as long as Retry-After says and send it again"),
    "gone": (499, "the one who asked has gone", "send it again"),
    "internal": (500, "the server failed", "try again; if it fails again, report it"),
    "interrupted": (
        503,
        "the recording's decoder was killed",
        "wait as long as Retry-After says and send it again",
    ),
    "overloaded": (
        503,
        "the answer takes too long",
        "send less at once, or again after as long as Retry-After says",
    ),
    "not_ready": (503, "the server is not ready or shutting down", "try again in a moment"),
}
"""Code: status, message and what to do."""
NAMELESS = "the recording: "
COME_AGAIN = ("busy", "interrupted", "overloaded", "not_ready")  # with Retry-After


class ApiError(ServingError):
    """A request that is not answered.

    Args:
        code: one of `KINDS`.
        message: what is wrong, where more is known than the kind.
        fix: what to do, likewise.
        retry_seconds: when to come again.
    """

    def __init__(self, code: str, message: str = "", fix: str = "", retry_seconds: int = 1) -> None:
        self.code = code
        self.status, usual, to_do = KINDS[code]
        self.message = " ".join((message or usual).split())
        self.fix = fix or to_do
        self.retry_seconds = retry_seconds
        super().__init__(f"{self.message}: {self.fix}")

    @property
    def facts(self) -> dict[str, str]:
        """Code, message and fix."""
        return {"code": self.code, "message": self.message, "fix": self.fix}

    @property
    def response(self) -> JSONResponse:
        """The answer over HTTP."""
        headers: dict[str, Any] = {}
        if self.code in COME_AGAIN:
            headers["Retry-After"] = str(self.retry_seconds)
        if self.code == "unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        if self.code == "upgrade_required":
            headers["Upgrade"] = "websocket"
        return JSONResponse({"error": self.facts}, self.status, headers)


def api_error_of(error: EmospecError, name: str = "") -> ApiError:
    """Return what a user's mistake is called over HTTP.

    Args:
        error: the mistake.
        name: of the recording, which is only `the recording` to what reads its bytes.
    """
    if isinstance(error, ApiError):
        return error
    message = str(error)
    if name and message.startswith(NAMELESS):
        message = f"{name}: {message.removeprefix(NAMELESS)}"
    if isinstance(error, LongAudioError):
        return ApiError("too_long", message)
    return ApiError("unreadable" if isinstance(error, AudioError) else "invalid", message)


def check_query(names: Iterable[str], known: Collection[str]) -> None:
    """Refuse query parameters that an address does not take, or that are there twice.

    Raises:
        RefusedError: it names the first.
    """
    seen: set[str] = set()
    for name in names:
        if name not in known:
            near = nearest(name, [*known])
            fix = f"the address takes {', '.join(known)}" if known else "the address takes none"
            raise ApiError("invalid", f"there is no query parameter {name[:80]!r}{near}", fix)
        if name in seen:
            raise ApiError("invalid", f"the query parameter {name!r} is there twice", "send it once")
        seen.add(name)
