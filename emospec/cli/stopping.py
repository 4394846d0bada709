"""Ctrl-C: each verb ends in one line that says what is left of its work and how to go on, and exit code 130."""

from typing import Any

import typer

from emospec.cli.predictions import stopped

_RUNS = "The same command with --resume keeps what is finished and goes on from the last checkpoints"
AFTER_STOP = {
    "predict": "Nothing was written to disk",
    "timeline": "The recording that was at work has no timeline",
    "listen": "Nothing was written to disk",
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
    "evaluate": "Nothing was changed",
    "compare": "Nothing was changed",
    "report": "The same command writes the report anew",
    "corpora": "Nothing was changed",
    "models": "Nothing was changed",
    "presets": "Nothing was changed",
}
"""True of each verb that was stopped, at any moment."""


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
        return stopped(AFTER_STOP.get(ctx.invoked_subcommand or "", "Nothing was changed"))
