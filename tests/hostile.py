"""What a recording might make of a decoder that it has taken over; apart, so that a decoder imports little."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emospec.inference.recordings import DecodedRecording, Recording, RecordingReader


class Hostile(RecordingReader):
    """Obeys its recordings."""

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
