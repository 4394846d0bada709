"""Sound over a WebSocket: what a timeline of the same sound tells, and errors in the one shape."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from fastapi import FastAPI, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from conftest import tone
from emospec.audio.samples import from_samples
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing
from emospec.serving.limits import Limits
from emospec.serving.server import uvicorn_config
from emospec.serving.websocket import run_stream
from served import Served, served, until

CHANGING = np.concatenate([tone(300, 4.0), tone(900, 4.3)])


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[Served]:
    with served(hum_model, Limits(seconds=20.0, streams=2, body_seconds=1.0)) as running:
        yield running


def opened(server: Served, query: str = "", **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/v1/stream?{query}", proxy=None, **options)


def told(socket: ClientConnection) -> list[dict[str, Any]]:
    """All that is said until the server closes."""
    said = []
    with suppress(ConnectionClosed):
        while True:
            said.append(json.loads(socket.recv(timeout=30)))
    return [*said, {"type": "closed", "code": socket.close_code}]


@pytest.mark.parametrize(("encoding", "rate", "size"), [("s16le", 16_000, 3001), ("f32le", 44_100, 100_003)])
def test_a_stream_tells_what_a_timeline_tells(
    server: Served, recognizer: Recognizer, encoding: str, rate: int, size: int
) -> None:
    samples = np.concatenate([tone(300, 4.0, rate), tone(900, 4.3, rate)])
    samples = (samples * 32768).astype("<i2") if encoding == "s16le" else samples.astype("<f4")
    timing = Timing(2.0, 0.5, 0.5, 0.5, 0.1, check_speech=False)
    query = f"sample_rate={rate}&encoding={encoding}&window=2&hop=0.5&smoothing=0.5&minimum=0.5"
    query += "&abstain_below=0.1&check_speech=false"
    content = samples.tobytes()
    with opened(server, query) as socket:
        for place in range(0, len(content), size):
            socket.send(content[place : place + size])
        socket.send("end")
        ready, *said, end, closed = told(socket)
    assert ready == {"type": "ready", "classes": list(recognizer.model.names), "latency_seconds": 1.25}
    assert closed == {"type": "closed", "code": 1000}
    assert end == {"type": "end", "seconds": 8.3}

    segments = [one for one in said if one["type"] == "segment"]
    expected = recognizer.timeline(samples, rate, timing=timing)
    assert len(segments) == len(expected.segments)
    for one, segment in zip(segments, expected.segments, strict=True):
        facts = asdict(segment)
        assert one["probabilities"] == pytest.approx(list(facts.pop("probabilities")), abs=1e-5)
        assert one["confidence"] == pytest.approx(facts.pop("confidence"), abs=1e-5)
        assert facts.items() <= one.items()
    waveform = from_samples(samples, rate)
    moments = [one for one in said if one["type"] == "moment"]
    assert [one["start_seconds"] for one in moments] == [0.5 * k for k in range(13)]
    for one in moments:
        window = waveform[round(one["start_seconds"] * 16_000) : round(one["end_seconds"] * 16_000)]
        assert list(one["probabilities"].values()) == pytest.approx(
            recognizer.forward([window])[0][0], abs=1e-5
        )
        assert one["confidence"] == max(one["smoothed"].values())


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
def test_an_error_has_the_one_shape_and_closes(
    server: Served, query: str, frames: list[bytes | str], code: str | None
) -> None:
    with opened(server, query) as socket:
        for frame in frames:
            socket.send(frame)
        *_, last, closed = told(socket)
    if code is None:
        assert (last["type"], closed["code"]) == ("end", 1000)
    else:
        assert (last["type"], last["error"]["code"], closed["code"]) == ("error", code, 1008)
        assert last["error"]["fix"]


def test_a_small_message_does_not_become_a_large_one(server: Served) -> None:
    """Compressed by its sender, a megabyte of zeros is a kilobyte, which no limit would have counted."""
    with opened(server, compression="deflate") as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


def test_who_sends_first_and_reads_later_is_not_cut_off(server: Served) -> None:
    assert uvicorn_config(FastAPI()).ws_ping_interval is None
    with opened(server, ping_interval=None) as socket:
        for _ in range(190):
            socket.send(bytes(3200))
        time.sleep(0.5)
        socket.send("end")
        *said, closed = told(socket)
    assert (said[-1]["type"], closed["code"]) == ("end", 1000)


def test_a_client_that_does_not_listen_is_taken_for_gone(server: Served) -> None:
    class Deaf:
        query_params: ClassVar = {"hop": "0.1", "window": "0.1"}

        async def receive(self) -> dict[str, object]:
            return {"type": "websocket.receive", "bytes": bytes(6400)}

        async def send_json(self, facts: dict[str, object]) -> None:
            if facts["type"] != "ready":
                await asyncio.Event().wait()

    with pytest.raises(WebSocketDisconnect):
        asyncio.run(asyncio.wait_for(run_stream(Deaf(), server.service), 30))  # type: ignore[arg-type]


def test_frames_of_nothing_do_not_keep_a_place(hum_model: Path) -> None:
    with served(hum_model, Limits(seconds=0.1, body_seconds=3.0)) as server, opened(server) as socket:
        with suppress(ConnectionClosed):
            for _ in range(100):
                socket.send(b"")
                time.sleep(0.1)
        *_, last, closed = told(socket)
    assert (last["error"]["code"], closed["code"]) == ("too_long", 1008)


def test_more_streams_than_allowed_wait_outside(server: Served) -> None:
    with opened(server) as one, opened(server) as two:
        assert json.loads(one.recv())["type"] == json.loads(two.recv())["type"] == "ready"
        with opened(server) as three:
            last, closed = told(three)
        assert (last["error"]["code"], closed["code"]) == ("busy", 1008)
        two.send("end")
        told(two)
        with opened(server) as four:
            assert json.loads(four.recv())["type"] == "ready"


def test_a_stream_bears_the_token_and_comes_from_here(hum_model: Path) -> None:
    with served(hum_model, token="open-sesame") as server:
        with opened(server, additional_headers={"Authorization": "Bearer open-sesame"}) as socket:
            assert json.loads(socket.recv())["type"] == "ready"
        with opened(server, subprotocols=["bearer", "open-sesame"]) as socket:
            assert json.loads(socket.recv())["type"] == "ready"
        for wrong in (
            {},
            {"subprotocols": ["bearer", "sesame"]},
            {"additional_headers": {"Authorization": "Bearer open-sesame"}, "origin": "http://evil.example"},
        ):
            with pytest.raises(InvalidStatus, match="403"):
                opened(server, **wrong)


def test_who_leaves_in_the_middle_is_forgotten(server: Served) -> None:
    for _ in range(4):
        until(lambda: server.service.gate.streams < 2)
        with opened(server) as socket:
            socket.send((CHANGING * 32768).astype("<i2").tobytes())
            socket.recv()
    until(lambda: server.service.gate.streams == 0)
    with opened(server) as socket:
        assert json.loads(socket.recv())["type"] == "ready"
