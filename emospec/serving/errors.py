"""API errors: a status, a code, a message and what to do, in one shape for every request that is refused."""

from collections.abc import Collection, Iterable

from starlette.responses import JSONResponse

from emospec.errors import AudioError, EmospecError, LongAudioError, ServingError, did_you_mean

_RETRY = "wait as long as Retry-After says and send it again"
ERROR_KINDS: dict[str, tuple[int, str, str]] = {
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
    "busy": (429, "the server is busy", _RETRY),
    "gone": (499, "the client has disconnected", "send it again"),
    "internal": (500, "the server failed", "try again; if it fails again, report it"),
    "interrupted": (503, "the recording's decoder was killed", _RETRY),
    "overloaded": (503, "the answer takes too long", "send less at once, or again after as long as Retry-After says"),
    "not_ready": (503, "the server is not ready or shutting down", "try again in a moment"),
}  # fmt: skip
"""Status, message and what to do, by code."""
_UNNAMED = "the recording: "
_RETRIED_CODES = ("busy", "interrupted", "overloaded", "not_ready")


class ApiError(ServingError):
    """A request that is refused, by a code of `ERROR_KINDS`; message and fix may be more detailed than the kind's."""

    def __init__(self, code: str, message: str = "", fix: str = "", retry_seconds: int = 1) -> None:
        self.code = code
        self.status, usual_message, usual_fix = ERROR_KINDS[code]
        self.message = " ".join((message or usual_message).split())
        self.fix = fix or usual_fix
        self.retry_seconds = retry_seconds
        super().__init__(f"{self.message}: {self.fix}")

    @property
    def detail(self) -> dict[str, str]:
        """The error as JSON."""
        return {"code": self.code, "message": self.message, "fix": self.fix}

    @property
    def response(self) -> JSONResponse:
        """The answer over HTTP."""
        headers: dict[str, str] = {}
        if self.code in _RETRIED_CODES:
            headers["Retry-After"] = str(self.retry_seconds)
        if self.code == "unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        if self.code == "upgrade_required":
            headers["Upgrade"] = "websocket"
        return JSONResponse({"error": self.detail}, self.status, headers)


def api_error_of(error: EmospecError, name: str = "") -> ApiError:
    """Return the API error for a user's mistake, which may name the recording."""
    if isinstance(error, ApiError):
        return error
    message = str(error)
    # A decoder sees the bytes alone and knows no name.
    if name and message.startswith(_UNNAMED):
        message = f"{name}: {message.removeprefix(_UNNAMED)}"
    if isinstance(error, LongAudioError):
        return ApiError("too_long", message)
    return ApiError("unreadable" if isinstance(error, AudioError) else "invalid", message)


def check_query(names: Iterable[str], allowed: Collection[str]) -> None:
    """Raise ApiError for the first query parameter that an address does not take, or that is given twice."""
    seen: set[str] = set()
    for name in names:
        if name not in allowed:
            hint = did_you_mean(name, [*allowed])
            fix = f"the address takes {', '.join(allowed)}" if allowed else "the address takes none"
            raise ApiError("invalid", f"there is no query parameter {name[:80]!r}{hint}", fix)
        if name in seen:
            raise ApiError("invalid", f"the query parameter {name!r} is given twice", "send it once")
        seen.add(name)
