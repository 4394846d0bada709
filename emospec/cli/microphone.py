"""Sound from a microphone, chunk by chunk, through PortAudio (the extra `mic`)."""

import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emospec.cli.options import needs
from emospec.errors import AudioError

_CHUNK_SECONDS = 0.1
# So much sound may wait to be predicted.
_WAITING_SECONDS = 10.0
# After so long without a chunk the microphone is gone.
_LOST_SECONDS = 5.0

# The number of samples dropped before a chunk, and its own samples.
_Chunk = tuple[int, NDArray[np.float32]]


@contextmanager
def microphone(device: str, seconds: float = 0.0) -> Iterator[tuple[int, Iterator[NDArray[np.float32]]]]:
    """Open a microphone; yield its rate in Hz, and an iterator of (samples, 1) chunks.

    Args:
        device: its name or number; empty is the system's own.
        seconds: how long to listen, dropped sound included; 0 goes on.
    """
    try:
        with needs("mic"):
            import sounddevice
    except OSError as error:
        raise AudioError("a microphone needs PortAudio; on Debian: apt-get install libportaudio2") from error
    waiting: queue.Queue[_Chunk] = queue.Queue(round(_WAITING_SECONDS / _CHUNK_SECONDS))

    def take(samples: NDArray[np.float32], *_: Any) -> None:
        # Sound that has piled up is dropped, so that the next chunk is the present again.
        dropped = _drop_all(waiting) if waiting.full() else 0
        waiting.put((dropped, samples.copy()))

    name_or_number = int(device) if device.isdecimal() else device or None
    try:
        rate = int(sounddevice.query_devices(name_or_number, "input")["default_samplerate"])
        chunk_samples = int(_CHUNK_SECONDS * rate)
        options = {"channels": 1, "dtype": "float32", "callback": take}
        stream = sounddevice.InputStream(rate, chunk_samples, name_or_number, **options)
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(f"the microphone {device or 'of the system'} cannot be opened: {error}") from error
    with stream:
        yield rate, _until(waiting, rate, round(seconds * rate))


def _drop_all(waiting: "queue.Queue[_Chunk]") -> int:
    # A waiting chunk may bear samples that were dropped before it: they count too.
    dropped = 0
    with suppress(queue.Empty):
        while True:
            before, chunk = waiting.get_nowait()
            dropped += before + len(chunk)
    return dropped


def _until(waiting: "queue.Queue[_Chunk]", rate: int, samples: int) -> Iterator[NDArray[np.float32]]:
    # Without end where `samples` is 0. Dropped sound is time that has passed, so it counts.
    come = 0
    while not samples or come < samples:
        try:
            dropped, chunk = waiting.get(timeout=_LOST_SECONDS)
        except queue.Empty:
            message = f"the microphone gave nothing for {_LOST_SECONDS:g} s. Is it still connected?"
            raise AudioError(message) from None
        if dropped:
            print(
                f"emospec: {dropped / rate:.1f} s of sound were dropped, and times leave them out: predicting is slower "
                "than the sound. Take a longer --hop, or --int8",
                file=sys.stderr,
            )
        come += dropped + len(chunk)
        yield chunk
