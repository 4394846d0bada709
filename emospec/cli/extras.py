"""What a verb says where an extra is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from emospec.errors import EmospecError

_OF_EXTRA = {"tensorboard": "tensorboard", "distributed": "cluster"}  # packages that bring one option


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Name the extra that brings a missing package; `extra` brings all but those of an option's own."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "emospec":
            raise
        named = _OF_EXTRA.get(error.name or "", extra)
        raise EmospecError(
            f"this needs the extra {named} ({error.name} is not installed): in the sources, pip install '.[{named}]'"
        ) from error
