"""A recording as Python code hands it over -> a file, its bytes, or samples with their rate; or one clear error."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from numpy.typing import NDArray

from emospec.audio.reader import printable
from emospec.audio.samples import is_array_like
from emospec.errors import AudioError

KINDS = (
    "a file's path or bytes, an open binary file, samples with their sample_rate, "
    "or a dict with 'array' and 'sampling_rate', or with 'bytes' or 'path'"
)


class ArrayLike(Protocol):
    """An array or a tensor."""

    def __array__(self) -> NDArray[Any]: ...


Recording = os.PathLike[str] | str | bytes | bytearray | memoryview | BinaryIO | Mapping[str, Any] | ArrayLike


@dataclass(frozen=True)
class Given:
    """A recording that was handed over.

    Attributes:
        content: a path, bytes of a file, or an array or tensor of samples.
        sample_rate: Hz, of samples.
        name: as of `name_of`.
        channel: the one to take, from 1; None is the mean of all.
    """

    content: Path | str | bytes | Any
    sample_rate: int | None
    name: str
    channel: int | None = None

    @property
    def is_samples(self) -> bool:
        """Whether it is samples in memory."""
        return not isinstance(self.content, (Path, str, bytes))


def taken(recording: Recording | Any, sample_rate: int | None = None) -> Given:
    """Take a recording of any kind; an open file is read from its beginning.

    Raises:
        AudioError: it is none, or a dict whose rate is not `sample_rate`.

    Example:
        >>> taken({"array": [0.0], "sampling_rate": 8000, "path": "a.wav"}).name
        'a.wav'
    """
    name = name_of(recording)
    if isinstance(recording, Mapping):
        recording, sample_rate = _of_dict(recording, sample_rate)
        if isinstance(recording, (list, tuple)):  # as datasets give samples that no format is set for
            return Given(recording, sample_rate, name)
    if isinstance(recording, (str, Path, bytes)):
        return Given(recording, sample_rate, name)
    if isinstance(recording, os.PathLike):
        return Given(Path(os.fsdecode(recording)), sample_rate, name)
    if isinstance(recording, Number) or not (_is_content(recording) or is_array_like(recording)):
        raise AudioError(f"{type(recording).__name__} is no kind of recording. Give {KINDS}")
    if is_array_like(recording):
        return Given(recording, sample_rate, name)
    return Given(_bytes_of(recording), sample_rate, name)


def name_of(recording: Recording | Any) -> str:
    """Return the name of a recording: its path as it was given, on one line; `recording` where it has none."""
    if isinstance(recording, Mapping):
        recording = recording.get("path")
    elif hasattr(recording, "read"):
        recording = getattr(recording, "name", None)
    if isinstance(recording, (str, os.PathLike)) and os.fsdecode(recording):
        return printable(os.fsdecode(recording))
    return "recording"


def _of_dict(recording: Mapping[str, Any], sample_rate: int | None) -> tuple[Any, int | None]:
    """The array, bytes or path of a dict as Hugging Face's datasets have it."""
    if recording.get("array") is not None:
        rate = recording.get("sampling_rate", sample_rate)
        if sample_rate is not None and rate != sample_rate:
            raise AudioError(f"the recording says {rate} Hz, and sample_rate is {sample_rate}. Leave one out")
        return recording["array"], rate
    for key in ("bytes", "path"):
        if recording.get(key) is not None:
            return recording[key], sample_rate
    keys = ", ".join(repr(key) for key in recording)[:80] or "nothing"
    raise AudioError(f"a dict with {keys} is no recording. Give {KINDS}")


def _is_content(recording: Any) -> bool:
    return isinstance(recording, (bytearray, memoryview)) or hasattr(recording, "read")


def _bytes_of(recording: Any) -> bytes:
    """All bytes of a buffer or of an open file."""
    if isinstance(recording, (bytearray, memoryview)):
        return bytes(recording)
    try:
        if recording.seekable():  # what was just written stands at its end
            recording.seek(0)
        content = recording.read()
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise AudioError(f"{name_of(recording)}: an open file that cannot be read ({error})") from error
    if not isinstance(content, bytes):
        raise AudioError(f"{name_of(recording)}: is open as text. Open it with mode 'rb'")
    return content
