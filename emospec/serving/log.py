"""The log: each line on standard error is one JSON object, whether emospec or a library writes it."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType


class JsonLines(logging.Formatter):
    """A formatter: one JSON object for each record, with time, level, and either its `facts` or logger and message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with the trace of an exception if there is one."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower()}
        line |= getattr(record, "facts", None) or {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr() -> None:
    """Log requests, the warnings of libraries, and exceptions that no thread caught, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("emospec.serving").setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread
    sys.unraisablehook = _log_uncaught_of_thread


def _log_uncaught_of_thread(failed: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> None:
    _log_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    logging.getLogger("emospec").error("an exception was not caught", exc_info=(kind, error or kind(), trace))
