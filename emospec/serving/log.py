"""The log: each line on standard error is one JSON object, whoever says it."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

Trace = tuple[type[BaseException], BaseException, TracebackType | None]


class JsonLines(logging.Formatter):
    """A record as one line: time, level, then `facts` of the record, or its logger and message; a trace, if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower()}
        line |= getattr(record, "facts", None) or {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr() -> None:
    """Log requests, and what libraries warn of; warnings and failures of any thread are lines like others."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("emospec.serving").setLevel(logging.INFO)
    logging.captureWarnings(True)
    sys.excepthook = lambda *trace: _log_failure(trace)
    threading.excepthook = lambda failed: _log_failure(
        (failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
    )
    sys.unraisablehook = lambda failed: _log_failure(
        (failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
    )


def _log_failure(trace: Trace) -> None:
    logging.getLogger("emospec").error("an exception was not caught", exc_info=trace)
