"""What a verb says where an extra is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from emospec.errors import EmospecError

_OWN_EXTRA = ("tensorboard",)  # packages that are an extra by themselves


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Name the extra that brings a missing package; `extra` brings all but those with one of their own."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "emospec":
            raise
        named = error.name if error.name in _OWN_EXTRA else extra
        raise EmospecError(
            f"this needs an extra ({error.name} is not installed): pip install 'emospec[{named}]'"
        ) from error
