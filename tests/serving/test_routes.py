"""The routes: the command line's numbers over HTTP, one shape of error, and formats that other programs read."""

import concurrent.futures
import json
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from conftest import tone
from emospec.cli import app
from emospec.data.corpora.demo import utterance
from emospec.data.pack import Pack
from emospec.inference.formats import FORMATS
from emospec.inference.recognizer import Recognizer
from emospec.palette import class_colors
from emospec.serving.examples import synthesised
from served import CLIP, RunningServer, check_error, messages_until_close, multipart, open_stream, wav

ROUTES = ("/v1/predict", "/v1/embed", "/v1/timeline")
TIMELINE = {
    "recording": "grüße an.wav",
    "duration_seconds": 3.0,
    "classes": ["calm", "sad"],
    "segments": [
        {"start_seconds": 0.0, "end_seconds": 1.0, "emotion": None, "confidence": None, "probabilities": []},
        {"start_seconds": 1.0, "end_seconds": 2.5, "emotion": "sad", "confidence": 0.75, "probabilities": [0.25, 0.75]},
    ],
}  # fmt: skip


def contents_of(pack: Pack, count: int) -> list[bytes]:
    return [u.file.read_bytes() for u in pack.utterances[:count]]


def rounded(text: str) -> str:
    """Return a text with its numbers to five digits: passes through the graph differ by 1e-7."""
    number = r"\d+\.\d{6,}(e-\d+)?"
    return re.sub(number, lambda match: f"{float(match[0]):.5f}", text.replace("\r\n", "\n"))


def test_predict_answers_as_the_command_line(client: httpx.Client, hum_model: Path, hum_pack: Pack) -> None:
    plane = Recognizer(hum_model).model.plane
    for file in (u.file for u in hum_pack.utterances[:3]):
        arguments = ["predict", str(file), "--model", str(hum_model), "--json", "--threads", "1"]
        (expected,) = json.loads(CliRunner().invoke(app, arguments).stdout)
        answer = client.post("/v1/predict", files=multipart([file.read_bytes()])).json()
        (result,) = answer["results"]
        point = result.pop("point")
        assert result | {"recording": str(file)} == expected
        assert answer["model"] == hum_model.name
        z = client.post("/v1/embed", files=multipart([file.read_bytes()])).json()["results"][0]["z"]
        np.testing.assert_allclose(plane.project(np.array([z]))[0], point, atol=1e-6)


def test_many_files_are_answered_in_order_and_a_bad_one_has_its_own_error(
    client: httpx.Client, recognizer: Recognizer, hum_pack: Pack
) -> None:
    contents = contents_of(hum_pack, 20)
    contents.insert(7, b"no audio")
    for route, key in (("/v1/predict", "probabilities"), ("/v1/embed", "z")):
        results = client.post(route, files=multipart(contents)).json()["results"]
        assert [r["recording"] for r in results] == [f"{k}.wav" for k in range(21)]
        bad = results.pop(7)
        assert set(bad) == {"recording", "error"}
        assert bad["error"]["code"] == "unreadable"
        for result, content in zip(results, contents[:7] + contents[8:], strict=True):
            expected = getattr(recognizer.predict(content), key)
            assert result[key] == pytest.approx(expected, abs=1e-5)


def test_a_low_confidence_has_no_emotion(client: httpx.Client, hum_pack: Pack) -> None:
    files = multipart(contents_of(hum_pack, 1))
    answer = client.post("/v1/predict", params={"abstain_below": 1.0}, files=files).json()
    assert answer["results"][0]["emotion"] is None
    assert answer["results"][0]["confidence"] > 0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("speech", [[], ["--speech"]])
def test_a_timeline_is_that_of_the_command_line(
    client: httpx.Client, hum_model: Path, tmp_path: Path, form: str, speech: list[str]
) -> None:
    file = tmp_path / "grüße an.wav"
    rng = np.random.default_rng(0)
    soundfile.write(file, np.concatenate([tone(300, 4), tone(900, 5)]) + rng.normal(0, 0.01, 144_000), 16_000)
    options = ["--window", "2", "--hop", "0.5", "--smoothing", "0", "--minimum", "0.5", "--threads", "1"]
    options.append("--no-speech-check")  # tones
    command = ["timeline", str(file), "--model", str(hum_model), *speech]
    expected = CliRunner().invoke(app, [*command, "--format", form, *options]).stdout
    query = {"format": form, "window": 2, "hop": 0.5, "smoothing": 0, "minimum": 0.5, "speech": bool(speech)}
    query["check_speech"] = False
    answer = client.post("/v1/timeline", params=query, files={"file": (file.name, file.read_bytes())})
    assert answer.status_code == 200, answer.text
    if speech:  # segments of speech have no hop, so a long one is no mistake
        params, files = query | {"hop": 9}, {"file": file.read_bytes()}
        assert client.post("/v1/timeline", params=params, files=files).status_code == 200
        assert CliRunner().invoke(app, [*command, "--hop", "9"]).exit_code == 0
    if form == "json":
        assert rounded(json.dumps(answer.json())) == rounded(json.dumps(json.loads(expected)))
    else:
        assert rounded(answer.text) == rounded(expected)
        assert f"gr%C3%BC%C3%9Fe%20an{FORMATS[form].suffix}" in answer.headers["content-disposition"]


def test_speech_is_checked_only_if_asked(client: httpx.Client, recognizer: Recognizer) -> None:
    speech = np.concatenate([utterance(1, "angry", k) for k in (1, 2)]).astype(np.float32)
    contents = [wav(tone(300, 3.0)), wav(speech)]
    plain = client.post("/v1/predict", files=multipart(contents)).json()["results"]
    assert [result["speech_seconds"] for result in plain] == [None, None]
    query = {"check_speech": True}
    checked = client.post("/v1/predict", params=query, files=multipart(contents)).json()["results"]
    for content, result in zip(contents, checked, strict=True):
        expected = recognizer.predict(content, check_speech=True)
        assert result["speech_seconds"] == expected.speech_seconds
        assert tuple(result["warnings"]) == expected.warnings
    assert checked[0]["speech_seconds"] == 0.0
    assert any("no speech found" in warning for warning in checked[0]["warnings"])
    assert checked[1]["speech_seconds"] > 1.0


def test_a_timeline_without_speech_has_no_emotion(client: httpx.Client) -> None:
    file = {"file": wav(tone(300, 5.0))}
    (segment,) = client.post("/v1/timeline", files=file).json()["segments"]
    assert (segment["emotion"], segment["confidence"], segment["probabilities"]) == (None, None, [])
    segments = client.post("/v1/timeline", params={"check_speech": False}, files=file).json()["segments"]
    assert segments[0]["emotion"] is not None


def test_a_channel_is_chosen_by_its_number(client: httpx.Client) -> None:
    low, high = tone(300, 2.0), tone(900, 2.0)
    both = wav(np.stack([low, high], axis=1))
    for channel, alone in ((1, low), (2, high)):
        for route in ("predict", "embed"):
            expected = client.post(f"/v1/{route}", files=multipart([wav(alone)])).json()["results"]
            answer = client.post(f"/v1/{route}?channel={channel}", files=multipart([both]))
            assert answer.json()["results"] == expected
        answers = [
            client.post("/v1/timeline?check_speech=false", params=query, files=multipart([content], "file"))
            for content, query in ((both, {"channel": channel}), (wav(alone), {}))
        ]
        chosen, expected = (answer.json()["segments"] for answer in answers)
        assert chosen == expected
    answer = client.post("/v1/predict?channel=3", files=multipart([both]))
    assert "has 2 channels, so there is no channel 3. Choose 1 to 2" in check_error(answer, 422, "unreadable")
    check_error(client.post("/v1/predict?channel=0", files=multipart([both])), 422, "invalid")


def test_models_describes_the_model_and_the_limits(client: httpx.Client, hum_model: Path) -> None:
    answer = client.get("/v1/models").json()
    (described,) = answer["models"]
    model = Recognizer(hum_model).model
    assert described["name"] == hum_model.name
    assert described["default"]
    assert described["classes"] == list(model.names)
    assert described["colors"] == class_colors(model.names)
    assert described["max_seconds"] == 14.0
    assert described["card"].startswith("---")
    assert len(described["plane"]["cloud"]) == len(described["plane"]["labels"])
    centers = model.plane.project(np.stack([c.center for c in model.classes]))
    np.testing.assert_allclose(described["plane"]["centers"], centers)
    assert answer["limits"] == {"bytes": 100_000_000, "seconds": 3600.0, "files": 64}


def test_health_readiness_and_metrics_are_reported(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}
    client.post("/v1/predict", files=multipart([b"no audio"]))
    text = client.get("/metrics").text
    assert re.search(r'emospec_requests_total\{method="POST",route="/v1/predict",status="422"\} [1-9]', text)
    assert re.search(r'emospec_decode_failures_total\{code="unreadable"\} [1-9]', text)
    assert re.search(r"emospec_audio_seconds_total [\d.]+", text)
    assert "emospec_queue_depth 0.0" in text
    assert "emospec_held_bytes 0.0" in text
    assert ".wav" not in text.replace("{name}.wav", "")


def test_every_error_has_one_shape(client: httpx.Client) -> None:
    check_error(client.get("/nowhere"), 404, "not_found")
    check_error(client.get("/v1/predict"), 405, "method_not_allowed")
    check_error(client.post("/v1/predict", content=b"x"), 422, "invalid")
    check_error(client.post("/v1/predict", data={"files": "x"}), 422, "invalid")
    check_error(client.post("/v1/predict", files=multipart([b"x"], "sound")), 422, "invalid")
    check_error(
        client.post("/v1/predict", content=b"x", headers={"content-type": "multipart/form-data"}),
        422,
        "invalid",
    )
    broken = {"content-type": "multipart/form-data; boundary=a"}
    check_error(client.post("/v1/predict", content=b"--b\r\n\r\n", headers=broken), 422, "invalid")
    check_error(client.post("/v1/predict?abstain_below=2", files=multipart([b"x"])), 422, "invalid")
    check_error(client.post("/v1/predict?model=other", files=multipart([b"x"])), 404, "unknown_model")
    assert "cannot be decoded" in check_error(
        client.post("/v1/predict", files=multipart([b"x"])), 422, "unreadable"
    )
    check_error(client.post("/v1/predict", files=multipart([b"x"] * 65)), 422, "invalid")
    clip = multipart([CLIP], "file")
    assert "did you mean 'srt'" in check_error(
        client.post("/v1/timeline?format=strt", files=clip), 422, "invalid"
    )
    check_error(client.post("/v1/timeline?hop=0.001", files=clip), 422, "invalid")
    check_error(client.post("/v1/timeline?window=15", files=clip), 422, "invalid")
    check_error(client.post("/v1/timeline?smoothing=nan", files=clip), 422, "invalid")
    check_error(client.post("/v1/timeline", files=clip * 2), 422, "invalid")
    check_error(client.post("/v1/timeline", files=multipart([b""], "file")), 422, "unreadable")


def test_unknown_query_parameters_are_refused_by_name(client: httpx.Client) -> None:
    for route in ROUTES:
        answer = client.post(f"{route}?modell=hum", files=multipart([CLIP], "file"))
        assert "'modell', did you mean 'model'?" in check_error(answer, 422, "invalid")
        assert "model" in answer.json()["error"]["fix"]
    for route in ("/v1/models", "/examples", "/examples/angry.wav", "/health", "/ready", "/metrics"):
        assert "'verbose'" in check_error(client.get(f"{route}?verbose=1"), 422, "invalid")
    assert "'samplerate', did you mean 'sample_rate'?" in check_error(
        client.get("/v1/stream?samplerate=8000"), 422, "invalid"
    )
    answer = client.post("/v1/timeline?window=2&window=3", files=multipart([CLIP], "file"))
    assert "'window' is given twice" in check_error(answer, 422, "invalid")


def test_an_unknown_query_parameter_of_a_stream_is_refused_by_name(server: RunningServer) -> None:
    with open_stream(server, "samplerate=8000") as socket:
        last, closed = messages_until_close(socket)
    assert (last["error"]["code"], closed["code"]) == ("invalid", 1008)
    assert "'samplerate', did you mean 'sample_rate'?" in last["error"]["message"]


@pytest.mark.parametrize("route", ROUTES)
def test_an_error_names_its_file(client: httpx.Client, route: str) -> None:
    for content, status, code in ((b"x", 422, "unreadable"), (b"", 422, "unreadable")):
        answer = client.post(route, files={"file": ("my call.wav", content)})
        assert check_error(answer, status, code).startswith("my call.wav: ")
    if route != "/v1/timeline":
        two = [("file", ("a.wav", CLIP)), ("file", ("b.wav", b"x"))]
        assert client.post(route, files=two).json()["results"][1]["error"]["message"].startswith("b.wav: ")


@pytest.fixture(scope="module")
def timeline(server: RunningServer) -> dict[str, object]:
    with server.client() as client:
        answer = client.post("/v1/timeline", files={"file": ("grüße an.wav", synthesised("sad"))})
    body: dict[str, object] = answer.json()
    return body


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


def test_an_invalid_timeline_is_refused(client: httpx.Client) -> None:
    def refused(content: bytes | str, code: str = "invalid", status: int = 422, form: str = "csv") -> str:
        return check_error(client.post(f"/v1/formats/{form}", content=content), status, code)

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


def test_requests_at_the_same_time_get_their_own_answers(
    server: RunningServer, recognizer: Recognizer, hum_pack: Pack
) -> None:
    contents = [u.file.read_bytes() for u in hum_pack.utterances[:12]]
    expected = [recognizer.predict(content).probabilities for content in contents]
    with server.client() as client, concurrent.futures.ThreadPoolExecutor(24) as pool:

        def counted() -> tuple[float, float]:
            """Return the numbers of passes and recordings so far."""
            counts = dict(re.findall(r"emospec_batch_size_(sum|count) ([\d.]+)", client.get("/metrics").text))
            return float(counts["count"]), float(counts["sum"])

        before = counted()

        def ask(k: int) -> dict[str, float]:
            answer = client.post("/v1/predict", files=multipart([contents[k % 12]])).json()
            return answer["results"][0]["probabilities"]

        for k, probabilities in enumerate(pool.map(ask, range(96))):
            assert probabilities == pytest.approx(expected[k % 12], abs=1e-5)
        passes, recordings = (after - then for after, then in zip(counted(), before, strict=True))
    assert passes == recordings == 96
