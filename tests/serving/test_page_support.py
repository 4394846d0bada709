"""What the page needs of the server: examples, colours, timelines written in other formats. No browser."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from test_serving import fault

import emospec
from emospec.audio.reader import read_audio
from emospec.data.corpora.demo import utterance
from emospec.inference.formats import FORMATS
from emospec.inference.recognizer import Recognizer
from emospec.inference.vad import find_speech
from emospec.palette import EMOTION_COLORS, OTHER_COLORS, class_colors
from emospec.serving.examples import VOICES, synthesised
from emospec.vocabulary import EMOTIONS
from served import Served, served, until, wav

BASE = Path(emospec.__file__).parent / "models" / "base"
TIMELINE = {
    "recording": "grüße an.wav",
    "duration_seconds": 3.0,
    "classes": ["calm", "sad"],
    "segments": [
        {"start_seconds": 0.0, "end_seconds": 1.0, "emotion": None, "confidence": None, "probabilities": []},
        {"start_seconds": 1.0, "end_seconds": 2.5, "emotion": "sad", "confidence": 0.75, "probabilities": [0.25, 0.75]},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(BASE) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as one:
        yield one


def test_the_bundled_model_is_fairly_sure_of_every_example_and_speech_is_found_in_it() -> None:
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
def test_examples_are_those_that_the_model_at_work_gets_right(
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
    assert [one["name"] for one in examples] == right
    for one in examples:
        assert not one["url"].startswith("/")  # also behind a prefix
        answer = client.get(f"/{one['url']}")
        assert answer.headers["content-type"] == "audio/wav"
        assert answer.content == synthesised(one["name"])
    fault(client.get("/examples/merry.wav"), 404, "not_found")


@pytest.fixture(scope="module")
def timeline(server: Served) -> dict[str, object]:
    with server.client() as client:
        answer = client.post("/v1/timeline", files={"file": ("grüße an.wav", synthesised("sad"))})
    made: dict[str, object] = answer.json()
    return made


@pytest.mark.parametrize("form", FORMATS)
def test_a_timeline_is_written_in_any_format_without_its_recording(
    client: httpx.Client, timeline: dict[str, object], form: str
) -> None:
    sound = {"file": ("grüße an.wav", synthesised("sad"))}
    expected = client.post("/v1/timeline", params={"format": form}, files=sound)
    answer = client.post(f"/v1/formats/{form}", json=timeline)
    assert answer.text == expected.text
    for header in ("content-type", "content-disposition"):
        assert answer.headers.get(header) == expected.headers.get(header)


def test_who_has_gone_is_not_worked_for(server: Served, client: httpx.Client) -> None:
    content = wav(np.tile(utterance(1, "sad", 1), 400))  # twenty minutes

    def seconds() -> float:
        found = re.search(r"emospec_audio_seconds_total ([\d.e+]+)", client.get("/metrics").text)
        assert found
        return float(found[1])

    begun = seconds()
    with pytest.raises(httpx.ReadTimeout), server.client() as hasty:
        hasty.post("/v1/timeline", files={"file": ("long.wav", content)}, timeout=1.0)
    until(lambda: server.service.gate.requests == 0)
    until(lambda: seconds() == (time.sleep(0.5), seconds())[1])
    assert seconds() < begun + 900


def test_what_is_no_timeline_is_refused(client: httpx.Client) -> None:
    def refused(content: bytes | str, code: str = "invalid", status: int = 422, form: str = "csv") -> str:
        return fault(client.post(f"/v1/formats/{form}", content=content), status, code)

    text = json.dumps(TIMELINE)
    assert client.post("/v1/formats/csv", content=text).status_code == 200
    assert "did you mean 'srt'" in refused(text, form="strt")
    assert "JSON" in refused("")
    assert "segments" in refused(json.dumps(TIMELINE | {"segments": 3}))
    assert "duration_seconds" in refused(text.replace("3.0", "1e300"))
    assert "duration_seconds" in refused(text.replace("3.0", "NaN"))
    assert "end_seconds" in refused(text.replace("2.5", "Infinity"))
    assert "confidence" in refused(text.replace("0.75", "7", 1))
    assert "extra" in refused(json.dumps(TIMELINE | {"extra": 1}))
    assert "segment 1" in refused(text.replace("2.5", "0.5"))
    assert "none of the classes" in refused(text.replace('"emotion": "sad"', '"emotion": "angry"'))
    refused("[" * 100_000)
    refused(b" " * 10_000_001, "too_large", 413)
    assert client.get("/metrics").text.count("emospec_held_bytes 0.0") == 1


def test_an_emotion_has_one_color_whatever_the_order_of_the_classes() -> None:
    four = ["neutral", "happy", "angry", "sad"]
    assert class_colors(four)[::-1] == class_colors(four[::-1])
    assert class_colors(["anger", "sad"]) == class_colors(["angry", "sadness"])
    assert class_colors(["bored", "sad"])[1] == class_colors(four)[3]
    assert len(set(class_colors(EMOTIONS))) == len(EMOTIONS)
    others = ["zeal", "awe", "calm", "Calm", "doubt"]
    assert len(set(class_colors(others))) == len(others)
    assert class_colors(others)[::-1] == class_colors(others[::-1])
    assert len(class_colors([str(k) for k in range(40)])) == 40


@pytest.mark.parametrize("color", [*EMOTION_COLORS.values(), *OTHER_COLORS])
def test_colors_of_emotions_are_seen_on_white(color: str) -> None:
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 3
