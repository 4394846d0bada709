"""Options of several verbs, the model that they name, and the extra that they need."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from emospec.errors import EmospecError

if TYPE_CHECKING:
    from emospec.inference.recognizer import Recognizer

# Packages that belong to a single option -> the extra that brings them.
_OF_EXTRA = {"tensorboard": "tensorboard", "distributed": "cluster"}


def finite(value: float) -> float:
    """Return a number of an option; refuse NaN and infinity, which pass typer's ranges."""
    if not math.isfinite(value):
        raise BadParameter(f"{value} is no number that can be used")
    return value


AsJson = Annotated[bool, Option("--json", help="Print JSON, for machines.")]
Ffmpeg = Annotated[bool, Option("--ffmpeg", help="Decode m4a, mp4, webm and others by the program ffmpeg.")]
Int8 = Annotated[bool, Option("--int8", help="Compute the convolutions in 8 bits.")]
# rich would take the bracket for markup.
_MODELS = "A model folder, a bundled model's name, or hf:OWNER/NAME@REVISION. \\[default: base, which comes with emospec]"
ModelName = Annotated[str, Option("--model", help=_MODELS)]


@dataclass(frozen=True)
class ModelOptions:
    """The model that a verb runs in its own process."""

    model: ModelName = ""
    int8: Int8 = False
    threads: int = Option(0, min=0, help="Threads; 0 takes all cores.")

    def recognizer(self, ffmpeg: bool = False) -> "Recognizer":
        """Open the model."""
        from emospec.inference.recognizer import Recognizer

        return Recognizer(model_or_default(self.model), int8=self.int8, threads=self.threads, ffmpeg=ffmpeg)


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
    """Name the extra that brings a missing package: `extra`, unless the package is of a single option."""
    try:
        yield
    except ModuleNotFoundError as error:
        # A missing module of our own is a mistake of ours, which no extra mends.
        if (error.name or "").split(".")[0] == "emospec":
            raise
        missing = _OF_EXTRA.get(error.name or "", extra)
        raise EmospecError(
            f"this needs the extra {missing} ({error.name} is not installed): in the sources, pip install '.[{missing}]'"
        ) from error
