"""The command line: each verb parses its options, calls one function of a wing, and prints the result."""

import re
import sys
from typing import Annotated, Any

import typer
from typer import Option

import emospec
from emospec.cli.data import data_verbs
from emospec.cli.experiments import experiment_verbs
from emospec.cli.inference import inference_verbs
from emospec.cli.models import model_verbs
from emospec.cli.results import result_verbs
from emospec.cli.streams import flush, prepare_streams
from emospec.cli.verbs import STOPPED, Verbs
from emospec.errors import EmospecError, closest_word, did_you_mean, exit_on_error

# typer gives the base class of its errors of usage no public name.
_UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(name="emospec", cls=Verbs, no_args_is_help=True, pretty_exceptions_enable=False)


def run_command_line() -> None:
    """Run the command line; an error of the user's is one line and exit code 2."""
    try:
        prepare_streams()
        with exit_on_error("emospec"):
            try:
                sys.exit(_run())
            finally:
                flush()
    # The reader of our output has gone, such as `head`.
    except BrokenPipeError:
        sys.exit(1)
    # Ctrl-C came once more, or before a verb had begun.
    except KeyboardInterrupt:
        print("emospec: stopped", file=sys.stderr)
        sys.exit(STOPPED)


def _run() -> int:
    # A mistake in the command line is one line instead of typer's box.
    try:
        return app(standalone_mode=False) or 0
    except _UsageError as error:
        # Without any word typer shows the help.
        if len(sys.argv) == 1:
            return app() or 0
        message = _message_of(error)
        # typer ends some of its messages with a full stop, and others with nothing.
        if not message.endswith((".", "?")):
            message += "."
        verb = error.ctx.command_path if error.ctx else "emospec"
        raise EmospecError(f"{message} `{verb} --help` tells more") from error


def _message_of(error: Any) -> str:
    # typer lists several verbs or options that it takes for near; we name the nearest.
    if hasattr(error, "possibilities"):
        parameters = error.ctx.command.get_params(error.ctx)
        options = [name.lstrip("-") for parameter in parameters for name in parameter.opts]
        near = closest_word(error.option_name.lstrip("-"), options)
        return str(error.message) + (f", did you mean '--{near}'?" if near else _setting_for(error))
    message = str(error.format_message())
    if unknown := re.match(r"No such command '(.*?)'\.", message):
        return unknown[0][:-1] + did_you_mean(unknown[1], tuple(error.ctx.command.commands))
    return message


def _setting_for(error: Any) -> str:
    # `--learning-rate` of a training verb is a setting, which is changed by --set.
    option = getattr(error, "option_name", "").lstrip("-").replace("-", "_")
    if not option or not any("--set" in parameter.opts for parameter in error.ctx.command.params):
        return ""
    from emospec.config import setting_keys

    key = closest_word(option, setting_keys())
    return f". --set {key}=VALUE changes that setting" if key else ""


@app.callback(invoke_without_command=True)
def _version(show: Annotated[bool, Option("--version", help="Print the version.")] = False) -> None:
    """Speech emotion recognition from spectrograms, learned with centre loss."""
    if show:
        print(emospec.__version__)
        raise typer.Exit


# The order of the panels in `emospec --help`.
for _verbs in (inference_verbs, data_verbs, experiment_verbs, result_verbs, model_verbs):
    app.add_typer(_verbs)
