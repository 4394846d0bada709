"""Sound over a WebSocket: the predictions of a timeline of the same sound, and errors in the one shape."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from fastapi import FastAPI, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from conftest import tone
from emospec.audio.samples import from_samples
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing
from emospec.serving.limits import Limits
from emospec.serving.server import uvicorn_config
from emospec.serving.websocket import run_stream
from served import RunningServer, messages_until_close, open_stream, served, until

CHANGING = np.concatenate([tone(300, 4.0), tone(900, 4.3)])


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[RunningServer]:
    with served(hum_model, Limits(seconds=20.0, streams=2, body_seconds=1.0)) as running:
        yield running


@pytest.mark.parametrize(("encoding", "rate", "size"), [("s16le", 16_000, 3001), ("f32le", 44_100, 100_003)])
def test_a_stream_matches_its_timeline(
    server: RunningServer, recognizer: Recognizer, encoding: str, rate: int, size: int
) -> None:
    samples = np.concatenate([tone(300, 4.0, rate), tone(900, 4.3, rate)])
    samples = (samples * 32768).astype("<i2") if encoding == "s16le" else samples.astype("<f4")
    timing = Timing(2.0, 0.5, 0.5, 0.5, 0.1, check_speech=False)
    query = f"sample_rate={rate}&encoding={encoding}&window=2&hop=0.5&smoothing=0.5&minimum=0.5"
    query += "&abstain_below=0.1&check_speech=false"
    content = samples.tobytes()
    with open_stream(server, query) as socket:
        for place in range(0, len(content), size):
            socket.send(content[place : place + size])
        socket.send("end")
        ready, *predictions, end, closed = messages_until_close(socket)
    assert ready == {"type": "ready", "classes": list(recognizer.model.names), "latency_seconds": 1.25}
    assert closed == {"type": "closed", "code": 1000}
    assert end == {"type": "end", "seconds": 8.3}

    segments = [message for message in predictions if message["type"] == "segment"]
    expected = recognizer.timeline(samples, rate, timing=timing)
    assert len(segments) == len(expected.segments)
    for message, segment in zip(segments, expected.segments, strict=True):
        facts = asdict(segment)
        assert message["probabilities"] == pytest.approx(list(facts.pop("probabilities")), abs=1e-5)
        assert message["confidence"] == pytest.approx(facts.pop("confidence"), abs=1e-5)
        assert facts.items() <= message.items()
    waveform = from_samples(samples, rate)
    windows = [message for message in predictions if message["type"] == "moment"]
    assert [message["start_seconds"] for message in windows] == [0.5 * k for k in range(13)]
    for message in windows:
        start, end = (round(message[name] * 16_000) for name in ("start_seconds", "end_seconds"))
        (probabilities,) = recognizer.forward([waveform[start:end]])[0]
        assert list(message["probabilities"].values()) == pytest.approx(probabilities, abs=1e-5)
        assert message["confidence"] == max(message["smoothed"].values())


@pytest.mark.parametrize(
    ("query", "frames", "code"),
    [
        ("hop=0.001", [], "invalid"),
        ("window=15", [], "invalid"),
        ("encoding=mp3", [], "invalid"),
        ("loudness=1", [], "invalid"),
        ("sample_rate=1", [], "unreadable"),
        ("", ["stop"], "invalid"),
        ("encoding=f32le", [np.full(9, np.nan, "<f4").tobytes()], "unreadable"),
        ("encoding=f32le", [b"abc", "end"], None),
        ("", [bytes(2 * 16_000 * 15)] * 2, "too_long"),
        ("", [], "time_limit"),
    ],
)
def test_an_error_has_the_one_shape_and_closes_the_stream(
    server: RunningServer, query: str, frames: list[bytes | str], code: str | None
) -> None:
    with open_stream(server, query) as socket:
        for frame in frames:
            socket.send(frame)
        *_, last, closed = messages_until_close(socket)
    if code is None:
        assert (last["type"], closed["code"]) == ("end", 1000)
    else:
        assert (last["type"], last["error"]["code"], closed["code"]) == ("error", code, 1008)
        assert last["error"]["fix"]


def test_a_small_message_does_not_become_a_large_one(server: RunningServer) -> None:
    """Compressed by its sender, a megabyte of zeros is a kilobyte, which no limit would have counted."""
    with open_stream(server, compression="deflate") as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


def test_a_client_may_send_first_and_read_later(server: RunningServer) -> None:
    assert uvicorn_config(FastAPI()).ws_ping_interval is None
    with open_stream(server, ping_interval=None) as socket:
        for _ in range(190):
            socket.send(bytes(3200))
        time.sleep(0.5)
        socket.send("end")
        *_, last, closed = messages_until_close(socket)
    assert (last["type"], closed["code"]) == ("end", 1000)


def test_a_client_that_reads_nothing_is_taken_for_gone(server: RunningServer) -> None:
    class NonReading:
        query_params: ClassVar = {"hop": "0.1", "window": "0.1"}

        async def receive(self) -> dict[str, object]:
            return {"type": "websocket.receive", "bytes": bytes(6400)}

        async def send_json(self, facts: dict[str, object]) -> None:
            if facts["type"] != "ready":
                await asyncio.Event().wait()

    with pytest.raises(WebSocketDisconnect):
        asyncio.run(asyncio.wait_for(run_stream(NonReading(), server.service), 30))  # type: ignore[arg-type]


def test_empty_frames_do_not_keep_a_place(hum_model: Path) -> None:
    with served(hum_model, Limits(seconds=0.1, body_seconds=3.0)) as server, open_stream(server) as socket:
        with suppress(ConnectionClosed):
            for _ in range(100):
                socket.send(b"")
                time.sleep(0.1)
        *_, last, closed = messages_until_close(socket)
    assert (last["error"]["code"], closed["code"]) == ("too_long", 1008)


def test_more_streams_than_allowed_are_refused(server: RunningServer) -> None:
    with open_stream(server) as first, open_stream(server) as second:
        assert json.loads(first.recv())["type"] == json.loads(second.recv())["type"] == "ready"
        with open_stream(server) as third:
            last, closed = messages_until_close(third)
        assert (last["error"]["code"], closed["code"]) == ("busy", 1008)
        second.send("end")
        messages_until_close(second)
        with open_stream(server) as fourth:
            assert json.loads(fourth.recv())["type"] == "ready"


def test_a_stream_needs_the_token_and_an_allowed_origin(hum_model: Path) -> None:
    with served(hum_model, token="open-sesame") as server:
        with open_stream(server, additional_headers={"Authorization": "Bearer open-sesame"}) as socket:
            assert json.loads(socket.recv())["type"] == "ready"
        with open_stream(server, subprotocols=["bearer", "open-sesame"]) as socket:
            assert json.loads(socket.recv())["type"] == "ready"
        for wrong in (
            {},
            {"subprotocols": ["bearer", "sesame"]},
            {"additional_headers": {"Authorization": "Bearer open-sesame"}, "origin": "http://evil.example"},
        ):
            with pytest.raises(InvalidStatus, match="403"):
                open_stream(server, **wrong)


def test_a_client_that_leaves_frees_its_place(server: RunningServer) -> None:
    for _ in range(4):
        until(lambda: server.service.gate.streams < 2)
        with open_stream(server) as socket:
            socket.send((CHANGING * 32768).astype("<i2").tobytes())
            socket.recv()
    until(lambda: server.service.gate.streams == 0)
    with open_stream(server) as socket:
        assert json.loads(socket.recv())["type"] == "ready"
