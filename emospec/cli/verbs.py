"""Verbs: their panels in `emospec --help`, their options by the group, and their end after Ctrl-C."""

import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, NoReturn

import typer

_Verb = Callable[..., None]


class Panel(typer.Typer):
    """The verbs of one panel of `emospec --help`."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def verb(self, name: str, example: str) -> Callable[[_Verb], _Verb]:
        """Add a function as the verb `name`, with a command line that shows its use."""
        epilog = f"Example: {example}"

        def add(function: _Verb) -> _Verb:
            self.command(name, rich_help_panel=self._title, epilog=epilog)(_ungrouped(function))
            return function

        return add


def _ungrouped(verb: _Verb) -> _Verb:
    # typer reads a signature: there each parameter that is a dataclass, a group of options, becomes its fields.
    # Several verbs take the same group, so each option is written once.
    groups: dict[str, Any] = {}
    parameters: list[Parameter] = []
    for parameter in signature(verb, eval_str=True).parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            parameters += signature(group, eval_str=True).parameters.values()
        else:
            parameters.append(parameter)

    # typer calls a verb with one value for each option.
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field: values.pop(field) for field in group.__dataclass_fields__})
        verb(**values)

    run.__doc__ = verb.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    by_name = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = Signature(by_name)  # type: ignore[attr-defined]
    return run


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
