"""Over HTTP: the command line's numbers, one shape of error, limits before decoding, and formats that others read."""

import concurrent.futures
import json
import re
from collections.abc import Iterator
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
from emospec.serving.limits import Limits
from served import Served, served, until, wav

KILOBYTE_HOURS = 5 * 3600


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[Served]:
    with served(hum_model) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as one:
        yield one


def files_of(pack: Pack, count: int) -> list[Path]:
    return [u.file for u in pack.utterances[:count]]


def sent(contents: list[bytes], field: str = "files") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (f"{k}.wav", content)) for k, content in enumerate(contents)]


def fault(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "fix"}
    assert error["code"] == code, error
    assert error["fix"]
    assert "\n" not in error["message"]
    return str(error["message"])


def test_predict_says_what_the_command_line_says(
    client: httpx.Client, hum_model: Path, hum_pack: Pack
) -> None:
    for file in files_of(hum_pack, 3):
        told = CliRunner().invoke(
            app, ["predict", str(file), "--model", str(hum_model), "--json", "--threads", "1"]
        )
        (expected,) = json.loads(told.stdout)
        answer = client.post("/v1/predict", files=sent([file.read_bytes()])).json()
        (said,) = answer["results"]
        point = said.pop("point")
        assert said | {"recording": str(file)} == expected
        assert answer["model"] == hum_model.name
        z = client.post("/v1/embed", files=sent([file.read_bytes()])).json()["results"][0]["z"]
        np.testing.assert_allclose(
            Recognizer(hum_model).model.plane.project(np.array([z]))[0], point, atol=1e-6
        )


def test_many_files_are_answered_in_order_and_a_bad_one_by_itself(
    client: httpx.Client, recognizer: Recognizer, hum_pack: Pack
) -> None:
    contents = [file.read_bytes() for file in files_of(hum_pack, 20)]
    contents.insert(7, b"no audio")
    for route, key in (("/v1/predict", "probabilities"), ("/v1/embed", "z")):
        results = client.post(route, files=sent(contents)).json()["results"]
        assert [r["recording"] for r in results] == [f"{k}.wav" for k in range(21)]
        bad = results.pop(7)
        assert set(bad) == {"recording", "error"}
        assert bad["error"]["code"] == "unreadable"
        for result, content in zip(results, contents[:7] + contents[8:], strict=True):
            expected = getattr(recognizer.predict(content), key)
            assert result[key] == pytest.approx(expected, abs=1e-5)


def test_abstaining(client: httpx.Client, hum_pack: Pack) -> None:
    content = files_of(hum_pack, 1)[0].read_bytes()
    answer = client.post("/v1/predict", params={"abstain_below": 1.0}, files=sent([content])).json()
    assert answer["results"][0]["emotion"] is None
    assert answer["results"][0]["confidence"] > 0


def test_requests_at_the_same_time_get_their_own_answers(
    server: Served, recognizer: Recognizer, hum_pack: Pack
) -> None:
    contents = [file.read_bytes() for file in files_of(hum_pack, 12)]
    expected = [recognizer.predict(content).probabilities for content in contents]
    with server.client() as client, concurrent.futures.ThreadPoolExecutor(24) as pool:

        def counted() -> tuple[float, float]:
            """Passes and recordings so far."""
            told = dict(re.findall(r"emospec_batch_size_(sum|count) ([\d.]+)", client.get("/metrics").text))
            return float(told["count"]), float(told["sum"])

        before = counted()

        def ask(k: int) -> dict[str, float]:
            return client.post("/v1/predict", files=sent([contents[k % 12]])).json()["results"][0][
                "probabilities"
            ]

        for k, said in enumerate(pool.map(ask, range(96))):
            assert said == pytest.approx(expected[k % 12], abs=1e-5)
        passes, recordings = (after - then for after, then in zip(counted(), before, strict=True))
    assert recordings == 96
    assert passes < recordings, "no pass was shared"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("speech", [[], ["--speech"]])
def test_timelines_are_the_command_lines(
    client: httpx.Client, hum_model: Path, tmp_path: Path, form: str, speech: list[str]
) -> None:
    file = tmp_path / "grüße an.wav"
    rng = np.random.default_rng(0)
    soundfile.write(file, np.concatenate([tone(300, 4), tone(900, 5)]) + rng.normal(0, 0.01, 144_000), 16_000)
    options = ["--window", "2", "--hop", "0.5", "--smoothing", "0", "--minimum", "0.5", "--threads", "1"]
    options.append("--no-speech-check")  # tones
    told = CliRunner().invoke(
        app, ["timeline", str(file), "--model", str(hum_model), "--format", form, *options, *speech]
    )
    query = {"format": form, "window": 2, "hop": 0.5, "smoothing": 0, "minimum": 0.5, "speech": bool(speech)}
    query["check_speech"] = False
    answer = client.post("/v1/timeline", params=query, files={"file": (file.name, file.read_bytes())})
    assert answer.status_code == 200, answer.text
    if speech:  # of which there are no hops
        assert (
            client.post(
                "/v1/timeline", params=query | {"hop": 9}, files={"file": file.read_bytes()}
            ).status_code
            == 200
        )
        assert (
            CliRunner()
            .invoke(app, ["timeline", str(file), "--model", str(hum_model), "--hop", "9", *speech])
            .exit_code
            == 0
        )
    if form == "json":
        assert _rounded(answer.json()) == _rounded(json.loads(told.stdout))
    else:
        assert _rounded(answer.text) == _rounded(
            told.stdout.replace("\r\n", "\n") if form == "csv" else told.stdout
        )
        assert f"gr%C3%BC%C3%9Fe%20an{FORMATS[form].suffix}" in answer.headers["content-disposition"]


def test_speech_is_looked_for_where_it_is_asked(client: httpx.Client, recognizer: Recognizer) -> None:
    speech = np.concatenate([utterance(1, "angry", k) for k in (1, 2)]).astype(np.float32)
    contents = [wav(tone(300, 3.0)), wav(speech)]
    plain = client.post("/v1/predict", files=sent(contents)).json()["results"]
    assert [one["speech_seconds"] for one in plain] == [None, None]
    query = {"check_speech": True}
    checked = client.post("/v1/predict", params=query, files=sent(contents)).json()["results"]
    for content, one in zip(contents, checked, strict=True):
        said = recognizer.predict(content, check_speech=True)
        assert one["speech_seconds"] == said.speech_seconds
        assert tuple(one["warnings"]) == said.warnings
    assert checked[0]["speech_seconds"] == 0.0
    assert any("no speech found" in words for words in checked[0]["warnings"])
    assert checked[1]["speech_seconds"] > 1.0


def test_a_timeline_without_speech_has_no_emotion(client: httpx.Client) -> None:
    file = {"file": wav(tone(300, 5.0))}
    (segment,) = client.post("/v1/timeline", files=file).json()["segments"]
    assert (segment["emotion"], segment["confidence"], segment["probabilities"]) == (None, None, [])
    judged = client.post("/v1/timeline", params={"check_speech": False}, files=file).json()["segments"]
    assert judged[0]["emotion"] is not None


def _rounded(said: object) -> object:
    """What is told, its numbers to five digits: passes through the graph differ by 1e-7."""
    text = json.dumps(said) if not isinstance(said, str) else said.replace("\r\n", "\n")
    return re.sub(r"\d+\.\d{6,}(e-\d+)?", lambda found: f"{float(found[0]):.5f}", text)


def test_models_say_what_a_page_needs(client: httpx.Client, hum_model: Path) -> None:
    answer = client.get("/v1/models").json()
    (one,) = answer["models"]
    model = Recognizer(hum_model).model
    assert one["name"] == hum_model.name
    assert one["default"]
    assert one["classes"] == list(model.names)
    assert one["colors"] == class_colors(model.names)
    assert one["max_seconds"] == 14.0
    assert one["card"].startswith("---")
    assert len(one["plane"]["cloud"]) == len(one["plane"]["labels"])
    centers = model.plane.project(np.stack([c.center for c in model.classes]))
    np.testing.assert_allclose(one["plane"]["centers"], centers)
    assert answer["limits"] == {"bytes": 100_000_000, "seconds": 3600.0, "files": 64}


def test_state_and_metrics(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready"}
    client.post("/v1/predict", files=sent([b"no audio"]))
    text = client.get("/metrics").text
    assert re.search(r'emospec_requests_total\{method="POST",route="/v1/predict",status="422"\} [1-9]', text)
    assert re.search(r'emospec_decode_failures_total\{code="unreadable"\} [1-9]', text)
    assert re.search(r"emospec_audio_seconds_total [\d.]+", text)
    assert "emospec_queue_depth 0.0" in text
    assert "emospec_held_bytes 0.0" in text
    assert ".wav" not in text.replace("{name}.wav", "")


def test_invented_methods_are_counted_as_one(client: httpx.Client) -> None:
    for method in ("BREW", "PROPFIND"):
        fault(client.request(method, "/health"), 405, "method_not_allowed")
    text = client.get("/metrics").text
    assert 'method="other"' in text
    assert "BREW" not in text


def test_every_error_has_one_shape(client: httpx.Client) -> None:
    fault(client.get("/nowhere"), 404, "not_found")
    fault(client.get("/v1/predict"), 405, "method_not_allowed")
    fault(client.post("/v1/predict", content=b"x"), 422, "invalid")
    fault(client.post("/v1/predict", data={"files": "x"}), 422, "invalid")
    fault(client.post("/v1/predict", files=sent([b"x"], "sound")), 422, "invalid")
    fault(
        client.post("/v1/predict", content=b"x", headers={"content-type": "multipart/form-data"}),
        422,
        "invalid",
    )
    broken = {"content-type": "multipart/form-data; boundary=a"}
    fault(client.post("/v1/predict", content=b"--b\r\n\r\n", headers=broken), 422, "invalid")
    fault(client.post("/v1/predict?abstain_below=2", files=sent([b"x"])), 422, "invalid")
    fault(client.post("/v1/predict?model=other", files=sent([b"x"])), 404, "unknown_model")
    assert "cannot be decoded" in fault(client.post("/v1/predict", files=sent([b"x"])), 422, "unreadable")
    fault(client.post("/v1/predict", files=sent([b"x"] * 65)), 422, "invalid")
    one = sent([wav(tone(440, 1.0))], "file")
    assert "did you mean 'srt'" in fault(client.post("/v1/timeline?format=strt", files=one), 422, "invalid")
    fault(client.post("/v1/timeline?hop=0.001", files=one), 422, "invalid")
    fault(client.post("/v1/timeline?window=15", files=one), 422, "invalid")
    fault(client.post("/v1/timeline?smoothing=nan", files=one), 422, "invalid")
    fault(client.post("/v1/timeline", files=one * 2), 422, "invalid")
    fault(client.post("/v1/timeline", files=sent([b""], "file")), 422, "unreadable")


def test_hours_in_a_kilobyte_are_refused_before_they_are_decoded(client: httpx.Client) -> None:
    content = wav(np.zeros(KILOBYTE_HOURS * 1000, np.int16), 1000, format="FLAC", subtype="PCM_16")
    assert len(content) < 100_000
    for route, field in (("/v1/predict", "files"), ("/v1/embed", "files"), ("/v1/timeline", "file")):
        said = fault(client.post(route, files=sent([content], field)), 413, "too_long")
        assert "18000 s long, allowed are 3600 s" in said


def test_what_the_header_says_of_rate_and_channels_is_checked(client: httpx.Client) -> None:
    for options in ({"rate": 500}, {"rate": 400_000}):
        message = fault(
            client.post("/v1/predict", files=sent([wav(np.zeros(999), **options)])), 422, "unreadable"
        )
        assert "sample rate" in message
    message = fault(client.post("/v1/predict", files=sent([wav(np.zeros((99, 65)))])), 422, "unreadable")
    assert "channels" in message


def test_names_are_said_again_but_never_opened(client: httpx.Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, tone(440, 1.0), 16_000)
    for name in (str(secret), f"../..{secret}", f"C:\\{secret}", "a\nb.wav", "x" * 500 + ".wav"):
        answer = client.post("/v1/predict", files={"files": (name, b"no audio")})
        fault(answer, 422, "unreadable")
        answer = client.post("/v1/embed", files=[("files", (name, b"")), ("files", (name, b""))])
        for said in (result["recording"] for result in answer.json()["results"]):
            assert "/" not in said
            assert "\n" not in said
            assert 0 < len(said) <= 255


def test_answers_carry_what_protects_a_browser(client: httpx.Client) -> None:
    for path in ("/health", "/nowhere", "/v1/models"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers
    assert client.get("/v1/models").headers["cache-control"] == "no-store"


def test_other_sites_are_refused_unless_allowed(
    hum_model: Path, server: Served, client: httpx.Client
) -> None:
    content = sent([wav(tone(440, 1.0))])
    fault(
        client.post("/v1/predict", files=content, headers={"Origin": "http://evil.example"}), 403, "forbidden"
    )
    assert client.post("/v1/predict", files=content, headers={"Origin": server.url}).status_code == 200
    origin = {"Origin": "https://good.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    options = {"origins": (origin["Origin"],), "hosts": ("127.0.0.1",)}
    with served(hum_model, **options) as other, other.client() as client:
        answer = client.post("/v1/predict", files=content, headers=origin)
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
        assert client.options("/v1/predict", headers=origin | asked).status_code == 200
        fault(client.get("/v1/models", headers={"Host": f"evil.example:{other.port}"}), 403, "forbidden")
        for malformed in ({"Host": "["}, {"Origin": "http://["}):
            fault(client.post("/v1/predict", files=content, headers=malformed), 403, "forbidden")


def test_a_token_guards_the_api(hum_model: Path) -> None:
    with served(hum_model, token="open-sesame") as server, server.client() as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer open-sesam"}, {"Authorization": "Basic open-sesame"}):
            answer = client.get("/v1/models", headers=headers)
            fault(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            fault(client.get("/metrics", headers=headers), 401, "unauthorized")
        assert client.get("/v1/models", headers={"Authorization": "Bearer open-sesame"}).status_code == 200


def test_limits_of_bytes_and_seconds(hum_model: Path) -> None:
    limits = Limits(bytes=100_000, held_bytes=150_000, seconds=2.0)
    with served(hum_model, limits) as server, server.client() as client:
        assert client.post("/v1/predict", files=sent([wav(tone(440, 1.0))])).status_code == 200
        long = wav(tone(440, 2.1), subtype="PCM_16")
        fault(client.post("/v1/predict", files=sent([long])), 413, "too_long")
        fault(client.post("/v1/predict", files=sent([bytes(100_001)])), 413, "too_large")

        def pieces() -> Iterator[bytes]:
            yield b'--a\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            yield from [bytes(1000)] * 200

        answer = client.post(
            "/v1/predict", content=pieces(), headers={"content-type": "multipart/form-data; boundary=a"}
        )
        fault(answer, 413, "too_large")
        assert client.get("/v1/models").json()["limits"]["bytes"] == 100_000
        until(lambda: server.service.gate.bytes == 0)


def test_a_channel_is_chosen_over_http(client: httpx.Client) -> None:
    low, high = tone(300, 2.0), tone(900, 2.0)
    both = wav(np.stack([low, high], axis=1))
    for channel, alone in ((1, low), (2, high)):
        for route in ("predict", "embed"):
            expected = client.post(f"/v1/{route}", files=sent([wav(alone)])).json()["results"]
            answer = client.post(f"/v1/{route}?channel={channel}", files=sent([both]))
            assert answer.json()["results"] == expected
        query = {"channel": channel, "check_speech": False}
        said = client.post("/v1/timeline", params=query, files=sent([both], "file")).json()["segments"]
        plain = {"check_speech": False}
        assert (
            said
            == client.post("/v1/timeline", params=plain, files=sent([wav(alone)], "file")).json()["segments"]
        )
    answer = client.post("/v1/predict?channel=3", files=sent([both]))
    assert "has 2 channels, so there is no channel 3. Choose 1 to 2" in fault(answer, 422, "unreadable")
    fault(client.post("/v1/predict?channel=0", files=sent([both])), 422, "invalid")
