"""What several verbs share: options, the model that they name, and the extra that they need."""

import math
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from emospec.errors import EmospecError

_OF_EXTRA = {
    "tensorboard": "tensorboard",
    "distributed": "cluster",
}  # package -> the extra of a single option


def command_line() -> str:
    """Return the command line as it was given, for the record of a run."""
    return shlex.join(["emospec", *sys.argv[1:]])


def finite(value: float) -> float:
    """Return a number of an option; refuse NaN and infinity, which pass typer's ranges."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number that can be used")
    return value


ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="A model folder, a bundled model's name, or hf:OWNER/NAME@REVISION. [default: base, which comes with emospec]",
    ),
]
Int8 = Annotated[bool, typer.Option("--int8", help="Compute the convolutions in 8 bits.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads; 0 takes all cores.")]
AbstainBelow = Annotated[
    float, typer.Option(min=0.0, max=1.0, callback=finite, help="No emotion where the confidence is lower.")
]
Window = Annotated[float, typer.Option(help="Seconds that are predicted at once.")]
Hop = Annotated[float, typer.Option(help="Seconds from one window to the next.")]
Smoothing = Annotated[
    float, typer.Option(help="Time constant of the mean over windows, in seconds; 0 is none.")
]
Minimum = Annotated[float, typer.Option(help="The shortest segment, in seconds.")]
NoSpeechCheck = Annotated[
    bool, typer.Option("--no-speech-check", help="Predict windows in which nobody speaks, too.")
]
Channel = Annotated[
    int | None,
    typer.Option(min=1, help="Predict this channel of each recording, from 1; else the mean over all."),
]
Ffmpeg = Annotated[
    bool, typer.Option("--ffmpeg", help="Decode m4a, mp4, webm and others by the program ffmpeg.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def model_or_default(model: str) -> str:
    """Return the model that the user names, else the default one; print on standard error what that is."""
    if model:
        return model
    from emospec.inference.model import DEFAULT

    print(default_terms(), file=sys.stderr)
    return DEFAULT


def default_terms() -> str:
    """Return what the default model is, and on what terms it may be used."""
    from emospec.inference.model import DEFAULT, load_model

    model = load_model(DEFAULT)
    corpora = ", ".join(corpus["title"] for corpus in model.about["training"]["corpora"])
    return (
        f"model {DEFAULT}: {', '.join(model.names)}; learned from {corpora}; licence of its weights: "
        f"{model.terms}. `emospec models` tells more, --model names another"
    )


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Name the extra that brings a missing package.

    Args:
        extra: the one that brings what the verb imports, apart from the packages of a single option.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "emospec":
            raise
        missing = _OF_EXTRA.get(error.name or "", extra)
        raise EmospecError(
            f"this needs the extra {missing} ({error.name} is not installed): in the sources, pip install '.[{missing}]'"
        ) from error
