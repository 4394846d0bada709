"""Verbs: each stands in a panel of `emospec --help`, ends its help with an example, and takes options by the group."""

from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any

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
    """Return the verb as typer can read it: each parameter that is a dataclass becomes its fields."""
    # Several verbs take the same group of options, so each option is written once.
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
