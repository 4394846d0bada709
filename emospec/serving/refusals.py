"""How the server says no: a code, a message, what to do; one shape for every error."""

from typing import Any

from starlette.responses import JSONResponse

from emospec.errors import AudioError, EmospecError, LongAudioError, ServingError

KINDS: dict[str, tuple[int, str, str]] = {
    "unauthorized": (401, "this server wants a token", "send the header `Authorization: Bearer TOKEN`"),
    "forbidden": (403, "the request comes from another site", "start the server with --allow-origin ORIGIN"),
    "not_found": (404, "there is no such address", "see /openapi.json"),
    "unknown_model": (404, "there is no such model", "see /v1/models"),
    "method_not_allowed": (405, "the address does not know this method", "see /openapi.json"),
    "time_limit": (408, "the time limit has passed", "send less at once, or try again later"),
    "too_large": (413, "the request is too large", "send fewer or smaller files; /v1/models has the limits"),
    "too_long": (413, "the recording is too long", "cut it; /v1/models has the limits"),
    "invalid": (422, "the request is not what the address takes", "see /openapi.json"),
    "unreadable": (422, "the recording cannot be read", "send WAV, FLAC, AIFF, MP3, Ogg Vorbis or Opus"),
    "busy": (429, "the server is busy", "wait as long as Retry-After says and send it again"),
    "gone": (499, "the one who asked has gone", "send it again"),
    "internal": (500, "the server failed", "try again; if it fails again, report it"),
    "not_ready": (503, "the server is not ready or shutting down", "try again in a moment"),
}
"""Code: status, message and what to do."""


class RefusedError(ServingError):
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
        if self.code in ("busy", "not_ready"):
            headers["Retry-After"] = str(self.retry_seconds)
        if self.code == "unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": self.facts}, self.status, headers)


def refusal_of(error: EmospecError) -> RefusedError:
    """What a user's mistake is called over HTTP."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, LongAudioError):
        return RefusedError("too_long", str(error))
    return RefusedError("unreadable" if isinstance(error, AudioError) else "invalid", str(error))
