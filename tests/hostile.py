"""A reader that obeys hostile recordings; in a module of its own, so that a decoder imports little."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emospec.inference.recordings import DecodedRecording, Recording, RecordingReader


class Hostile(RecordingReader):
    """A reader that does the harm that its recordings name."""

    def read(self, recording: Recording, sample_rate: int | None = None, **options: Any) -> DecodedRecording:
        while recording == b"compute":
            pass
        if recording == b"hoard":
            bytearray(10**9)
        if recording == b"read":
            Path("/etc/hostname").read_bytes()
        if recording == b"crash":
            os.abort()
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(16_000)), 16_000, format="WAV")
        return super().read(file.getvalue(), **options)
