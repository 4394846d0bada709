"""Sound from a microphone, chunk by chunk, through PortAudio (the extra `mic`)."""

import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.errors import AudioError, EmospecError

CHUNK_SECONDS = 0.1
WAITING_SECONDS = 10.0  # of sound that may wait to be judged
LOST_SECONDS = 5.0  # without a chunk, and the microphone is gone

_Chunk = tuple[int, NDArray[np.float32]]  # samples dropped before it, and its own


@contextmanager
def microphone(device: str, seconds: float = 0.0) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a microphone at its own rate.

    At most 10 s of sound wait to be taken. Where they have piled up they are dropped, so that what is heard
    is the present again; a line on standard error says how much was lost.

    Args:
        device: its name or number; empty is the system's own.
        seconds: how long to listen; 0 goes on.

    Returns:
        The rate in Hz, and an iterator of (samples, 1) chunks. What was dropped counts as listened to.

    Raises:
        EmospecError: the extra is missing.
        AudioError: there is no such microphone, or it cannot be opened; from the iterator, no more chunks come.
    """
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise EmospecError(
            "a microphone needs the extra mic: in the sources, pip install '.[mic]'"
        ) from error
    except OSError as error:
        raise AudioError("a microphone needs PortAudio; on Debian: apt-get install libportaudio2") from error
    waiting: queue.Queue[_Chunk] = queue.Queue(round(WAITING_SECONDS / CHUNK_SECONDS))

    def take(samples: NDArray[np.float32], *_: Any) -> None:
        dropped = _emptied(waiting) if waiting.full() else 0
        waiting.put((dropped, samples.copy()))

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
        yield rate, _until(waiting, rate, round(seconds * rate))


def _emptied(waiting: "queue.Queue[_Chunk]") -> int:
    """Drop all that waits; how many samples that were, with those dropped before them."""
    dropped = 0
    with suppress(queue.Empty):
        while True:
            before, chunk = waiting.get_nowait()
            dropped += before + len(chunk)
    return dropped


def _until(waiting: "queue.Queue[_Chunk]", rate: int, samples: int) -> Iterator[NDArray[np.float32]]:
    """Chunks until so many samples have come."""
    heard = 0
    while not samples or heard < samples:
        try:
            dropped, chunk = waiting.get(timeout=LOST_SECONDS)
        except queue.Empty:
            raise AudioError(
                f"the microphone gave nothing for {LOST_SECONDS:g} s. Is it still connected?"
            ) from None
        if dropped:
            print(
                f"emospec: {dropped / rate:.1f} s of sound were dropped, and times leave them out: judging is slower "
                "than the sound. Take a longer --hop, or --int8",
                file=sys.stderr,
            )
        heard += dropped + len(chunk)
        yield chunk
