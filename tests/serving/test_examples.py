"""The examples: the bundled model is sure of them, and a model gets those that it predicts as they are named."""

from pathlib import Path

import httpx
import pytest

import emospec
from emospec.audio.reader import read_audio
from emospec.inference.recognizer import Recognizer
from emospec.inference.vad import find_speech
from emospec.serving.examples import VOICES, synthesised
from served import check_error, served

BASE = Path(emospec.__file__).parent / "models" / "base"


def test_the_bundled_model_is_sure_of_every_example_and_finds_speech_in_it() -> None:
    recognizer = Recognizer(BASE, threads=1)
    assert set(VOICES) == set(recognizer.model.names)
    for name in VOICES:
        content = synthesised(name)
        prediction = recognizer.predict(content)
        assert (prediction.emotion, prediction.warnings) == (name, ())
        assert prediction.confidence > 0.7
        assert prediction.typicality is None or prediction.typicality > 0.2
        spoken = sum(end - start for start, end in find_speech([read_audio(content)]))
        assert spoken > 0.7 * prediction.seconds


@pytest.mark.parametrize("kind", ["bundled", "another"])
def test_examples_are_those_that_the_model_predicts_as_they_are_named(
    kind: str, request: pytest.FixtureRequest
) -> None:
    model = BASE if kind == "bundled" else request.getfixturevalue("hum_model")
    with served(model) as running, running.client() as client:
        check_examples(client, Recognizer(model, threads=1))


def check_examples(client: httpx.Client, recognizer: Recognizer) -> None:
    examples = client.get("/examples").json()
    right = [
        name
        for name in VOICES
        if name in recognizer.model.names and recognizer.predict(synthesised(name)).emotion == name
    ]
    assert [example["name"] for example in examples] == right
    for example in examples:
        assert not example["url"].startswith("/")  # also behind a prefix
        answer = client.get(f"/{example['url']}")
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.content == synthesised(example["name"])
    check_error(client.get("/examples/merry.wav"), 404, "not_found")
