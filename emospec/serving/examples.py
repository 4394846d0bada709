"""Examples to try the server with: synthetic voices with the emotions that the model predicts for them."""

import asyncio
import io
from collections.abc import Mapping

import soundfile

from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.corpora import demo
from emospec.inference.prediction import Prediction
from emospec.serving.errors import ApiError
from emospec.serving.service import Service
from emospec.serving.uploads import Upload

# Seed, speaker and index of `demo.utterance`. Among 1,500 voices, the bundled model is sure of these, they lie near
# the centre of their class, and the voice detector finds speech in them.
VOICES = {"neutral": (16, 6, 1), "happy": (8, 3, 2), "angry": (7, 1, 1), "sad": (31, 6, 1)}


class Examples:
    """The examples that suit a service's model, made when they are first asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._sounds: Mapping[str, bytes] | None = None

    async def sounds(self) -> Mapping[str, bytes]:
        """Return a WAV file for each emotion whose example the model predicts as it is named."""
        if self._sounds is None:
            names = [name for name in VOICES if name in self._service.recognizer.model.names]
            contents = await asyncio.to_thread(lambda: [synthesised(name) for name in names])
            uploads = [Upload(f"{name}.wav", content) for name, content in zip(names, contents, strict=True)]
            results = await self._service.predict(uploads, 0.0)
            sounds = {
                name: content
                for name, content, result in zip(names, contents, results, strict=True)
                if isinstance(result, Prediction) and result.emotion == name
            }
            if any(isinstance(result, ApiError) for result in results):
                # Such as a decoder that died: the next request tries again.
                return sounds
            self._sounds = sounds
        return self._sounds


def synthesised(emotion: str) -> bytes:
    """Return a WAV file, 16 kHz and 16 bits, of a voice of `VOICES`."""
    seed, speaker, index = VOICES[emotion]
    file = io.BytesIO()
    soundfile.write(file, demo.utterance(speaker, emotion, index, seed), SAMPLE_RATE, "PCM_16", format="WAV")
    return file.getvalue()
