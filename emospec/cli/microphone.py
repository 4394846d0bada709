"""Sound from a microphone, chunk by chunk, through PortAudio (the extra `mic`)."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.errors import AudioError, EmospecError

CHUNK_SECONDS = 0.1


@contextmanager
def microphone(device: str, seconds: float = 0.0) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a microphone at its own rate.

    Args:
        device: its name or number; empty is the system's own.
        seconds: how long to listen; 0 goes on.

    Returns:
        The rate in Hz, and an iterator of (samples, 1) chunks.

    Raises:
        EmospecError: the extra is missing.
        AudioError: there is no such microphone, or it cannot be opened.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise EmospecError("a microphone needs an extra: pip install 'emospec[mic]'") from error
    except OSError as error:
        raise AudioError("a microphone needs PortAudio; on Debian: apt-get install libportaudio2") from error
    chunks: queue.Queue[NDArray[np.float32]] = queue.Queue()

    def take(samples: NDArray[np.float32], *_: Any) -> None:
        chunks.put(samples.copy())

    named = None if not device else int(device) if device.isdecimal() else device
    try:
        rate = int(sounddevice.query_devices(named, "input")["default_samplerate"])
        opened = sounddevice.InputStream(
            rate, int(CHUNK_SECONDS * rate), named, channels=1, dtype="float32", callback=take
        )
        opened.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"the microphone {device or 'of the system'} cannot be opened: {error}") from error
    with opened:
        yield rate, _until(chunks, round(seconds * rate))


def _until(chunks: "queue.Queue[NDArray[np.float32]]", samples: int) -> Iterator[NDArray[np.float32]]:
    """Chunks until so many samples have come."""
    taken = 0
    while not samples or taken < samples:
        chunk = chunks.get()
        taken += len(chunk)
        yield chunk
