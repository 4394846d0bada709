"""Options that several verbs take, and the model that they name."""

import math
import sys
from typing import Annotated

import typer


def finite(value: float) -> float:
    """NaN and infinity pass typer's ranges."""
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
    float,
    typer.Option(min=0.0, max=1.0, callback=finite, help="No emotion where the confidence is lower."),
]
Window = Annotated[float, typer.Option(help="Seconds that are judged at once.")]
Hop = Annotated[float, typer.Option(help="Seconds from one window to the next.")]
Smoothing = Annotated[
    float, typer.Option(help="Time constant of the mean over windows, in seconds; 0 is none.")
]
Minimum = Annotated[float, typer.Option(help="The shortest segment, in seconds.")]
NoSpeechCheck = Annotated[
    bool, typer.Option("--no-speech-check", help="Judge windows in which nobody speaks, too.")
]
Channel = Annotated[
    int | None,
    typer.Option(min=1, help="Judge this channel of each recording, from 1; else the mean over all."),
]
Ffmpeg = Annotated[
    bool, typer.Option("--ffmpeg", help="Decode m4a, mp4, webm and others by the program ffmpeg.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def model_named(named: str) -> str:
    """The model that is named; else the default one, which says what it is and on what terms."""
    if named:
        return named
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
