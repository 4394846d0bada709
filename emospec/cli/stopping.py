"""Ctrl-C: each verb ends in one line that says what is left of its work and how to go on, and exit code 130."""

import sys
from typing import Any, NoReturn

import typer

# The exit code after Ctrl-C, as of shells: 128 + SIGINT.
STOPPED = 130

_RUNS = "The same command with --resume keeps what is finished and goes on from the last checkpoints"
_UNCHANGED = "Nothing was changed"
_UNWRITTEN = "Nothing was written to disk"
AFTER_STOP = {
    "predict": _UNWRITTEN,
    "timeline": "The recording that was at work has no timeline",
    "listen": _UNWRITTEN,
    "embed": "No file was written",
    "score": "What is scored is kept: the same command goes on",
    "export": "No model was written: the same command starts anew",
    "serve": "The server had not begun",
    "prepare": "No pack was made: the same command starts anew",
    "train": "The same command with --resume goes on from the last checkpoint, or from the start if there was none",
    "crossval": _RUNS,
    "sweep": _RUNS,
    "reproduce": _RUNS,
    "demo": "The same command keeps what is finished and goes on",
    "report": "The same command writes the report anew",
} | dict.fromkeys(("evaluate", "compare", "corpora", "models", "presets"), _UNCHANGED)
"""Each verb's line, true at any moment at which it may be stopped."""


def stopped(state: str) -> NoReturn:
    """End a verb after Ctrl-C, with one line that says what is left of its work."""
    print(f"emospec: stopped. {state}", file=sys.stderr)
    raise typer.Exit(STOPPED)


class Verbs(typer.core.TyperGroup):
    """All verbs; one that is stopped says so in a line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb of a command line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            pass
        except ImportError as error:
            # A library that is stopped while it is loaded says that it cannot be.
            if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
                raise
        return stopped(AFTER_STOP.get(ctx.invoked_subcommand or "", _UNCHANGED))
