"""Helpers of the tests of corpora: trees of files, and the message of an error."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from emospec.errors import EmospecError


def touch(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        # A WAV by its first bytes, unlike any other.
        (root / name).write_bytes(b"RIFF\0\0\0\0WAVE" + os.fsencode(name))
    return root


def message_of(error: type[EmospecError], act: Callable[[], object]) -> str:
    """Return the one line that an action is refused with."""
    with pytest.raises(error) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    return message
