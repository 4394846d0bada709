"""Uploads: fields are checked by name, limits hold before anything is decoded, and names are never opened."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from conftest import tone
from emospec.serving.limits import Limits
from served import CLIP, check_error, multipart, served, until, wav

ROUTES = ("/v1/predict", "/v1/embed", "/v1/timeline")


@pytest.mark.parametrize("route", ROUTES)
def test_fields_are_checked_by_name(client: httpx.Client, route: str) -> None:
    for field in ("file", "files"):
        assert client.post(route, files=multipart([CLIP], field)).status_code == 200
    for more, words in (
        ({"abstain_below": "0.6"} if route != "/v1/embed" else {"model": "hum"}, "is a query parameter"),
        ({"note": "x" * 9}, "no field 'note'"),
        ({"file": "call.wav"}, "'file' holds text, no file"),
    ):
        for form in (
            {"files": multipart([CLIP], "file"), "data": more},
            {"files": [(n, (None, v)) for n, v in more.items()]},
        ):
            assert words in check_error(client.post(route, **form), 422, "invalid")  # type: ignore[arg-type]
    assert "no field 'fil', did you mean 'file'?" in check_error(
        client.post(route, files=multipart([CLIP], "fil")), 422, "invalid"
    )


def test_a_body_without_its_last_boundary_is_refused(client: httpx.Client) -> None:
    """The file in which it ends would be left out of the answer without a word."""
    whole = client.build_request("POST", "/v1/predict", files=multipart([CLIP, CLIP], "file"))
    for left in (len(CLIP) + 500, len(whole.read()) - 100):
        kind = {"Content-Type": whole.headers["content-type"]}
        answer = client.post("/v1/predict", content=whole.content[:left], headers=kind)
        assert "its last boundary is missing" in check_error(answer, 422, "invalid")


def test_bytes_and_seconds_are_limited(hum_model: Path) -> None:
    limits = Limits(bytes=100_000, held_bytes=150_000, seconds=2.0)
    with served(hum_model, limits) as server, server.client() as client:
        assert client.post("/v1/predict", files=multipart([wav(tone(440, 1.0))])).status_code == 200
        long = wav(tone(440, 2.1), subtype="PCM_16")
        check_error(client.post("/v1/predict", files=multipart([long])), 413, "too_long")
        check_error(client.post("/v1/predict", files=multipart([bytes(100_001)])), 413, "too_large")

        def pieces() -> Iterator[bytes]:
            yield b'--a\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            yield from [bytes(1000)] * 200

        answer = client.post(
            "/v1/predict", content=pieces(), headers={"content-type": "multipart/form-data; boundary=a"}
        )
        check_error(answer, 413, "too_large")
        assert client.get("/v1/models").json()["limits"]["bytes"] == 100_000
        until(lambda: server.service.gate.bytes == 0)


def test_hours_in_a_kilobyte_are_refused_before_they_are_decoded(client: httpx.Client) -> None:
    content = wav(np.zeros(5 * 3600 * 1000, np.int16), 1000, format="FLAC", subtype="PCM_16")
    assert len(content) < 100_000
    for route, field in (("/v1/predict", "files"), ("/v1/embed", "files"), ("/v1/timeline", "file")):
        message = check_error(client.post(route, files=multipart([content], field)), 413, "too_long")
        assert "18000 s long, allowed are 3600 s" in message


def test_the_rate_and_channels_of_a_header_are_checked(client: httpx.Client) -> None:
    for options in ({"rate": 500}, {"rate": 400_000}):
        message = check_error(
            client.post("/v1/predict", files=multipart([wav(np.zeros(999), **options)])), 422, "unreadable"
        )
        assert "sample rate" in message
    message = check_error(
        client.post("/v1/predict", files=multipart([wav(np.zeros((99, 65)))])), 422, "unreadable"
    )
    assert "channels" in message


def test_names_are_shown_again_but_never_opened(client: httpx.Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, tone(440, 1.0), 16_000)
    for name in (str(secret), f"../..{secret}", f"C:\\{secret}", "a\nb.wav", "x" * 500 + ".wav"):
        answer = client.post("/v1/predict", files={"files": (name, b"no audio")})
        check_error(answer, 422, "unreadable")
        answer = client.post("/v1/embed", files=[("files", (name, b"")), ("files", (name, b""))])
        for shown in (result["recording"] for result in answer.json()["results"]):
            assert "/" not in shown
            assert "\n" not in shown
            assert 0 < len(shown) <= 255
