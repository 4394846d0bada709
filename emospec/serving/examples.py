"""Examples to try the server with: synthetic voices, of which the model at work predicts what they are named."""

import asyncio
import io
from collections.abc import Mapping

import soundfile
from fastapi import APIRouter, Request, Response

from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.corpora import demo
from emospec.inference.recognizer import Prediction
from emospec.serving import schemas as answers
from emospec.serving.errors import ApiError
from emospec.serving.service import Service
from emospec.serving.uploads import Upload

# Seed, speaker and index of `demo.utterance`: chosen among 1,500, of which the bundled model is sure, which are near
# the centre of their class, and in which the voice detector finds speech.
VOICES = {"neutral": (16, 6, 1), "happy": (8, 3, 2), "angry": (7, 1, 1), "sad": (31, 6, 1)}

router = APIRouter(responses={code: {"model": answers.Trouble} for code in (404, 405, 422, 500)})


class Examples:
    """The examples that suit a service's model, made when they are first asked for.

    Args:
        service: its model is asked.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._sounds: Mapping[str, bytes] | None = None

    async def sounds(self) -> Mapping[str, bytes]:
        """Return WAV files by the name of their emotion; none for a model that hears all of them otherwise."""
        if self._sounds is None:
            names = [name for name in VOICES if name in self._service.recognizer.model.names]
            contents = await asyncio.to_thread(lambda: [synthesised(name) for name in names])
            uploads = [Upload(f"{name}.wav", content) for name, content in zip(names, contents, strict=True)]
            results = await self._service.predict(uploads, 0.0)
            fits = [
                isinstance(one, Prediction) and one.emotion == name
                for name, one in zip(names, results, strict=True)
            ]
            sounds = {name: content for name, content, fit in zip(names, contents, fits, strict=True) if fit}
            if any(isinstance(one, ApiError) for one in results):
                return sounds  # such as a decoder that died: the next one asks again
            self._sounds = sounds
        return self._sounds


def synthesised(emotion: str) -> bytes:
    """Return a WAV file, 16 kHz and 16 bits, of a voice of `VOICES`."""
    seed, speaker, index = VOICES[emotion]
    file = io.BytesIO()
    soundfile.write(file, demo.utterance(speaker, emotion, index, seed), SAMPLE_RATE, "PCM_16", format="WAV")
    return file.getvalue()


@router.get("/examples")
async def examples(request: Request) -> list[answers.Example]:
    """Sounds to try the server with, synthesised: no human speech."""
    made: Examples = request.app.state.examples
    return [answers.Example(name=name, url=f"examples/{name}.wav") for name in await made.sounds()]


@router.get("/examples/{name}.wav", response_class=Response)
async def example(request: Request, name: str) -> Response:
    """One of them."""
    made: Examples = request.app.state.examples
    sounds = await made.sounds()
    if name not in sounds:
        raise ApiError("not_found", f"there is no example {name[:80]!r}", "see /examples")
    return Response(sounds[name], media_type="audio/wav")
