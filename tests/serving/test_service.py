"""The service under trouble that one client or one recording makes, and that the others must not notice."""

import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import emospec
from conftest import tone
from emospec.audio.waveform import Waveform
from emospec.data.corpora.demo import utterance
from emospec.inference.recognizer import Recognizer
from emospec.inference.recordings import DecodedRecording
from emospec.serving.decoding import ATTEMPTS, Decoder, DecoderLostError
from emospec.serving.limits import Limits
from emospec.serving.service import SharedRecognizer
from served import CLIP, RunningServer, check_error, connected, multipart, served, until, wav

BASE = Path(emospec.__file__).parent / "models" / "base"
WAITING_SECONDS = 30.0


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[RunningServer]:
    with served(hum_model, Limits(waiting=8, body_seconds=1.0, answer_seconds=20.0)) as running:
        yield running


def begin_request(server: RunningServer, body: bytes, declared: int | None = None) -> socket.socket:
    """Return a connection that has sent a request's head and the beginning of its body."""
    start = b'--a\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    length = declared or len(start) + len(body)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
    content = head.encode() + b"Content-Type: multipart/form-data; boundary=a\r\n\r\n" + start + body
    return connected(server, content)


def pids(server: RunningServer) -> set[int]:
    """Return the identifiers of the decoders' processes."""
    processes = (decoder._process for decoder in server.service.decoders._all)
    return {process.pid for process in processes if process}


def check_answers(server: RunningServer, count: int = 4, clip: bytes = CLIP) -> None:
    """Check that other clients are answered."""
    with server.client() as client:
        for _ in range(count):
            assert client.post("/v1/predict", files=multipart([clip])).status_code == 200


def test_a_decoder_killed_at_rest_or_at_work_is_not_noticed(
    server: RunningServer, recognizer: Recognizer
) -> None:
    expected = recognizer.predict(CLIP).probabilities
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.5):
            for pid in pids(server):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    before = pids(server)
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with server.client() as client:
            for _ in range(60):
                answer = client.post("/v1/predict", files=multipart([CLIP]))
                assert answer.status_code == 200, answer.text
                assert answer.json()["results"][0]["probabilities"] == pytest.approx(expected, abs=1e-5)
    finally:
        done.set()
        killer.join()
    assert not before & pids(server)


def test_clients_that_stall_or_trickle_hold_nobody_up(server: RunningServer) -> None:
    stalled = [begin_request(server, b"", declared=50_000_000) for _ in range(30)]
    trickling = begin_request(server, b"", declared=1000)
    check_answers(server)
    with contextlib.suppress(OSError):
        for _ in range(5):
            trickling.sendall(b"x")
            time.sleep(0.5)
    for connection in [*stalled, trickling]:
        answer = connection.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 408"), answer[:100]
        assert b'"time_limit"' in answer
        connection.close()
    until(lambda: server.service.gate.bytes == 0)


def test_nothing_is_computed_for_clients_that_have_left(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pass has a waveform whose client left before it began."""
    lengths: list[int] = []
    go = threading.Event()
    shared = server.service.recognizer
    original = shared._pass

    def slow(waveform: Waveform) -> object:
        lengths.append(len(waveform))
        assert go.wait(WAITING_SECONDS)
        return original(waveform)

    monkeypatch.setattr(shared, "_pass", slow)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        # Their lengths differ, and each keeps one of the two threads.
        busy = [pool.submit(check_answers, server, 1, wav(tone(440, s))) for s in (1.0, 1.5)]
        until(lambda: len(lengths) == 2)
        body = wav(tone(440, 2.0)) + b"\r\n--a--\r\n"
        left = [begin_request(server, body) for _ in range(6)]
        until(lambda: server.service.gate.requests == 8)
        with server.client() as client:
            answer = client.post("/v1/predict", files=multipart([CLIP]))
            check_error(answer, 429, "busy")
            assert int(answer.headers["retry-after"]) >= 1
        for connection in left:
            connection.close()
        until(lambda: server.service.gate.requests == 2)
        go.set()
        for request in busy:
            request.exception()
    check_answers(server, 2)
    assert 32_000 not in lengths
    until(lambda: server.service.gate.bytes == 0)


def test_decoding_ends_when_its_client_has_left() -> None:
    content = wav(np.tile(utterance(1, "sad", 1), 400))  # twenty minutes
    with served(BASE) as server, server.client() as client:

        def seconds() -> float:
            match = re.search(r"emospec_audio_seconds_total ([\d.e+]+)", client.get("/metrics").text)
            assert match
            return float(match[1])

        with pytest.raises(httpx.ReadTimeout), server.client() as hasty:
            hasty.post("/v1/timeline", files={"file": ("long.wav", content)}, timeout=1.0)
        until(lambda: server.service.gate.requests == 0)
        until(lambda: seconds() == (time.sleep(0.5), seconds())[1])
        assert seconds() < 900


def test_an_answer_that_takes_too_long_is_given_up(hum_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        served(hum_model, Limits(answer_seconds=0.3, timeline_seconds=0.3)) as server,
        server.client() as client,
    ):
        original = server.service.recognizer._pass

        def slow(waveform: Waveform) -> object:
            time.sleep(1.0)
            return original(waveform)

        monkeypatch.setattr(server.service.recognizer, "_pass", slow)
        for route in ("predict", "timeline"):
            answer = client.post(f"/v1/{route}?check_speech=false", files=multipart([CLIP], "file"))
            check_error(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1


def test_a_failure_of_the_server_is_a_500_without_its_details(
    hum_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("of ours")

    with served(hum_model) as server, server.client() as client:
        monkeypatch.setattr(server.service.recognizer, "_pass", fail)
        check_error(client.post("/v1/predict", files=multipart([CLIP])), 500, "internal")
        assert "of ours" not in client.post("/v1/predict", files=multipart([CLIP])).text
        monkeypatch.undo()
        check_answers(server, 1)


def test_a_decoder_that_is_killed_is_not_a_damaged_recording(
    hum_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once, the recording is decoded again; killed each time, the answer says when to try again."""
    long = wav(np.tile(tone(440, 1.0), 60), subtype="PCM_16")
    with served(hum_model) as server, server.client() as client:
        original, kills = Decoder._ask, []

        def killed(decoder: Decoder, *asked: Any, **options: Any) -> Iterator[Waveform]:
            decoder.start()
            with pytest.MonkeyPatch.context() as patch:
                if kills:  # while it is at work: one that is dead before is started anew
                    patch.setattr(decoder, "start", lambda: None)
                    os.kill(decoder._process.pid, kills.pop())
                yield from original(decoder, *asked, **options)

        monkeypatch.setattr(Decoder, "_ask", killed)
        for route in ("predict", "timeline"):
            for times, status in ((ATTEMPTS - 1, 200), (ATTEMPTS, 503)):
                kills[:] = [signal.SIGKILL] * times
                answer = client.post(f"/v1/{route}", files=multipart([long], "file"))
                assert answer.status_code == status, answer.text
                assert not kills
            assert "0.wav: " in check_error(answer, 503, "interrupted")
            assert int(answer.headers["retry-after"]) >= 1
            kills[:] = [signal.SIGABRT] * 2  # as a decoder that its recording crashes
            answer = client.post(f"/v1/{route}", files=multipart([CLIP], "file"))
            assert "0.wav: the decoder failed on it" in check_error(answer, 422, "unreadable")


def test_decoders_that_cannot_work_are_not_ready(hum_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(hum_model) as server, server.client() as client:
        asked: list[bytes] = []
        original = Decoder.decode

        def decode(decoder: Decoder, content: bytes, *more: Any, **options: Any) -> DecodedRecording:
            asked.append(content)
            return original(decoder, content, *more, **options)

        def fail(*_: object, **__: object) -> DecodedRecording:
            raise DecoderLostError

        monkeypatch.setattr(Decoder, "decode", decode)
        for _ in range(9):  # a probe costs nothing where recordings are decoded anyway
            assert client.get("/ready").status_code == 200
        assert len(asked) == 1
        server.service.decoders._decoded_at = -100.0
        monkeypatch.setattr(Decoder, "decode", fail)
        answer = client.get("/ready")
        check_error(answer, 503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
        monkeypatch.undo()
        assert client.get("/ready").status_code == 200


def test_passes_that_wait_are_finished_at_the_end_but_not_cancelled_ones(
    hum_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, go, lengths = SharedRecognizer(hum_model, threads=1), threading.Event(), []
    original = shared._pass

    def slow(waveforms: list[Waveform]) -> object:
        assert go.wait(WAITING_SECONDS)
        lengths.extend(map(len, waveforms))
        return original(waveforms)

    monkeypatch.setattr(shared, "_pass", slow)
    outputs = [shared.submit(tone(440, seconds)) for seconds in (1.0, 1.5, 2.0)]
    assert outputs[1].cancel()
    go.set()
    shared.close()
    assert all(output.done() for output in outputs)
    assert lengths == [16_000, 32_000]
    with pytest.raises(RuntimeError, match="shutdown"):
        shared.submit(tone(440, 1.0))
