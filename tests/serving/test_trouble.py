"""Trouble that one client or one recording makes, and that the others must not notice."""

import asyncio
import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from test_serving import fault, sent

from bench.measure import family
from conftest import tone
from emospec.audio.waveform import Waveform
from emospec.errors import AudioError
from emospec.inference.recognizer import Recognizer
from emospec.inference.recordings import DecodedRecording, RecordingReader
from emospec.serving.batching import Batcher
from emospec.serving.decoding import ATTEMPTS, Decoder, DecoderLimits, DecoderLostError, Decoders
from emospec.serving.limits import Limits
from hostile import Hostile
from served import Served, served, until, wav

CLIP = wav(tone(440, 1.0))
EAR, ROOM = RecordingReader(1400, 5.0, 3600.0), DecoderLimits(10**7, 10.0)
WAITING_SECONDS = 30.0


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[Served]:
    with served(hum_model, Limits(waiting=8, body_seconds=1.0, answer_seconds=20.0)) as running:
        yield running


def raw(server: Served, body: bytes, declared: int | None = None) -> socket.socket:
    """A connection that has sent a request's head and the beginning of its body."""
    start = b'--a\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    length = declared or len(start) + len(body)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
    one = socket.create_connection(("127.0.0.1", server.port), timeout=WAITING_SECONDS)
    one.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=a\r\n\r\n" + start + body)
    return one


def answers(server: Served, count: int = 4, clip: bytes = CLIP) -> None:
    """Others are answered."""
    with server.client() as client:
        for _ in range(count):
            assert client.post("/v1/predict", files=sent([clip])).status_code == 200


def test_a_decoder_killed_at_rest_or_at_work_is_not_noticed(server: Served, recognizer: Recognizer) -> None:
    expected = recognizer.predict(CLIP).probabilities
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.5):
            for pid in server.service.decoders.pids - {None}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # type: ignore[arg-type]

    before = server.service.decoders.pids
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with server.client() as client:
            for _ in range(60):
                answer = client.post("/v1/predict", files=sent([CLIP]))
                assert answer.status_code == 200, answer.text
                assert answer.json()["results"][0]["probabilities"] == pytest.approx(expected, abs=1e-5)
    finally:
        done.set()
        killer.join()
    assert not before & server.service.decoders.pids


def test_clients_that_stall_or_trickle_hold_nobody_up(server: Served) -> None:
    stalled = [raw(server, b"", declared=50_000_000) for _ in range(30)]
    trickling = raw(server, b"", declared=1000)
    answers(server)
    with contextlib.suppress(OSError):
        for _ in range(5):
            trickling.sendall(b"x")
            time.sleep(0.5)
    for one in [*stalled, trickling]:
        said = one.recv(10_000)
        assert said.startswith(b"HTTP/1.1 408"), said[:100]
        assert b'"time_limit"' in said
        one.close()
    until(lambda: server.service.gate.bytes == 0)


def test_who_leaves_costs_nothing_more(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those who left before their pass began, nothing is scored."""
    scored: list[int] = []
    go = threading.Event()
    batcher = server.service.recognizer.batcher
    original = batcher._forward

    def slow(waveforms: list[Waveform]) -> object:
        scored.extend(map(len, waveforms))
        assert go.wait(WAITING_SECONDS)
        return original(waveforms)

    monkeypatch.setattr(batcher, "_forward", slow)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        # Not alike, so that each keeps one of the two runners.
        busy = [pool.submit(answers, server, 1, wav(tone(440, s))) for s in (1.0, 1.5)]
        until(lambda: len(scored) == 2)
        body = wav(tone(440, 2.0)) + b"\r\n--a--\r\n"
        left = [raw(server, body) for _ in range(6)]
        until(lambda: server.service.gate.requests == 8)
        with server.client() as client:
            answer = client.post("/v1/predict", files=sent([CLIP]))
            fault(answer, 429, "busy")
            assert int(answer.headers["retry-after"]) >= 1
        for one in left:
            one.close()
        until(lambda: server.service.gate.requests == 2)
        go.set()
        for one in busy:
            one.exception()
    answers(server, 2)
    assert 32_000 not in scored
    until(lambda: server.service.gate.bytes == 0)


def test_an_answer_that_takes_too_long_is_given_up(hum_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        served(hum_model, Limits(answer_seconds=0.3, timeline_seconds=0.3)) as server,
        server.client() as client,
    ):
        score = server.service.recognizer.batcher._forward

        def slow(waveforms: list[Waveform]) -> object:
            time.sleep(1.0)
            return score(waveforms)

        monkeypatch.setattr(server.service.recognizer.batcher, "_forward", slow)
        for route in ("predict", "timeline"):
            answer = client.post(f"/v1/{route}?check_speech=false", files=sent([CLIP], "file"))
            fault(answer, 503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1


def test_a_failure_of_ours_is_said_so(hum_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("of ours")

    with served(hum_model) as server, server.client() as client:
        monkeypatch.setattr(server.service.recognizer.batcher, "_forward", fail)
        fault(client.post("/v1/predict", files=sent([CLIP])), 500, "internal")
        assert "of ours" not in client.post("/v1/predict", files=sent([CLIP])).text
        monkeypatch.undo()
        answers(server, 1)


def test_a_decoder_has_little_room() -> None:
    """It opens no file, and ends where it computes for too long or takes too much memory."""
    decoder = Decoder(Hostile(1400, 5.0), DecoderLimits(10**6, 0.2))
    try:
        for _ in range(2):
            assert decoder.decode(b"sound").seconds == 1.0
            with pytest.raises(AudioError, match="too much memory"):
                decoder.decode(b"hoard")
        limits = Path(f"/proc/{decoder.pid}/limits").read_text()
        assert re.search(r"Max open files +0 +0", limits)
        assert re.search(r"Max core file size +0 +0", limits)
        for harm in (b"crash", b"read", b"compute"):
            with pytest.raises(DecoderLostError):
                decoder.decode(harm)
            until(lambda: decoder.pid is None or not decoder._process.is_alive())
            assert decoder.decode(b"sound").seconds == 1.0
    finally:
        decoder.stop()
    with pytest.raises(DecoderLostError):
        decoder.decode(b"sound")


@pytest.mark.parametrize(
    "said",
    [[b"f{}"], [b"sabcd", b"f{}"], [b"sabc"], [b"f[1]"], [b"fno"], [b""], [b"sabcd", b"sabcd", b"f{}"]],
)
def test_a_decoder_that_breaks_the_rules_is_lost(said: list[bytes]) -> None:
    decoder = Decoder(EAR, ROOM)
    try:
        decoder.start()
        decoder._pipe, theirs = multiprocessing.Pipe()
        for message in said:
            theirs.send_bytes(message)
        with pytest.raises(DecoderLostError):
            decoder.decode(CLIP)
        theirs.close()
    finally:
        decoder.stop()


def test_a_recording_that_kills_every_decoder_is_refused() -> None:
    async def hear() -> None:
        decoders = Decoders(1, Hostile(1400, 5.0), ROOM)
        await decoders.start()
        try:
            with pytest.raises(AudioError, match="the decoder failed on it"):
                await decoders.decode(b"crash")
            assert (await decoders.decode(b"sound")).seconds == 1.0
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await decoders.decode(b"compute")
            assert (await decoders.decode(b"sound")).seconds == 1.0
        finally:
            decoders.stop()

    asyncio.run(hear())


def test_a_decoder_that_is_killed_is_not_a_damaged_recording(
    hum_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once, the recording is decoded again; killed each time, the answer is to come again."""
    long = wav(np.tile(tone(440, 1.0), 60), subtype="PCM_16")
    with served(hum_model) as server, server.client() as client:
        original, kills = Decoder._ask, []

        def killed(decoder: Decoder, *asked: Any, **options: Any) -> Iterator[Waveform]:
            decoder.start()
            with pytest.MonkeyPatch.context() as patch:
                if kills:  # while it is at work: one that is dead before is started anew
                    patch.setattr(decoder, "start", lambda: None)
                    os.kill(decoder.pid or 0, kills.pop())
                yield from original(decoder, *asked, **options)

        monkeypatch.setattr(Decoder, "_ask", killed)
        for route in ("predict", "timeline"):
            for times, status in ((ATTEMPTS - 1, 200), (ATTEMPTS, 503)):
                kills[:] = [signal.SIGKILL] * times
                answer = client.post(f"/v1/{route}", files=sent([long], "file"))
                assert answer.status_code == status, answer.text
                assert not kills
            assert "0.wav: " in fault(answer, 503, "interrupted")
            assert int(answer.headers["retry-after"]) >= 1
            kills[:] = [signal.SIGABRT] * 2  # as a decoder that its recording crashes
            assert "0.wav: the decoder failed on it" in fault(
                client.post(f"/v1/{route}", files=sent([CLIP], "file")), 422, "unreadable"
            )


def test_decoders_that_cannot_work_are_not_ready(hum_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(hum_model) as server, server.client() as client:
        asked: list[bytes] = []
        original = Decoder.decode

        def hear(decoder: Decoder, content: bytes, *more: Any, **options: Any) -> DecodedRecording:
            asked.append(content)
            return original(decoder, content, *more, **options)

        def fail(*_: object, **__: object) -> DecodedRecording:
            raise DecoderLostError

        monkeypatch.setattr(Decoder, "decode", hear)
        for _ in range(9):  # a probe costs nothing where recordings are decoded anyway
            assert client.get("/ready").status_code == 200
        assert len(asked) == 1
        server.service.decoders._decoded_at = -100.0
        monkeypatch.setattr(Decoder, "decode", fail)
        answer = client.get("/ready")
        fault(answer, 503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
        monkeypatch.undo()
        assert client.get("/ready").status_code == 200


def test_a_decoder_hears_what_the_recogniser_hears(recognizer: Recognizer) -> None:
    decoder = Decoder(recognizer.reader, ROOM)
    try:
        late = np.concatenate([np.zeros(20 * 16_000), tone(300, 2.0)])  # silent in the middle
        for content in (CLIP, wav(late), wav(np.random.default_rng(0).normal(0, 0.1, (70 * 8000, 2)), 8000)):
            ours, theirs = recognizer.reader.read(content), decoder.decode(content)
            assert vars(ours) | {"waveform": 0} == vars(theirs) | {"waveform": 0}
            np.testing.assert_array_equal(ours.waveform, theirs.waveform)
            whole = [np.concatenate(list(ear.blocks(content))) for ear in (recognizer.reader, decoder)]
            np.testing.assert_array_equal(*whole)
    finally:
        decoder.stop()


def test_passes_hold_what_is_alike_and_skip_what_was_cancelled() -> None:
    passes: list[list[int]] = []
    go = threading.Event()

    def score(waveforms: list[Waveform]) -> tuple[np.ndarray, np.ndarray]:
        assert go.wait(WAITING_SECONDS)
        passes.append([len(w) for w in waveforms])
        return np.array([[len(w)] for w in waveforms], float), np.zeros((len(waveforms), 1), np.float32)

    batcher = Batcher(score, runners=1, pass_samples=500)
    first = batcher.submit(np.zeros(7, np.float32))
    until(lambda: not batcher._waiting)
    lengths = [100, 300, 105, 98, 310, 120, 100, 400]
    waiting = [batcher.submit(np.zeros(n, np.float32)) for n in lengths]
    assert waiting[6].cancel()
    go.set()
    assert first.result()[0] == 7
    for n, one in zip(lengths, waiting, strict=True):
        assert one.cancelled() or one.result()[0] == n
    assert passes == [[7], [100, 105, 98], [300], [310], [120], [400]]
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(np.zeros(7, np.float32))


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_finishes_what_it_has(
    hum_model: Path, tmp_path: Path, request: pytest.FixtureRequest, stop: signal.Signals
) -> None:
    """The command itself: it says where it is, answers all that came before the whole process tree was told to stop,
    as systemd and a terminal do, and leaves no process."""
    log = (tmp_path / "log").open("w+")
    command = ["serve", "--model", str(hum_model), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "emospec", *command], stdout=subprocess.PIPE, stderr=log, text=True
    )
    request.addfinalizer(process.kill)
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    assert url.startswith("http://127.0.0.1:")
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        assert client.get("/ready").status_code == 200
        name = "mother.wav"
        damaged = wav(np.tile(tone(440, 1.0), 3), format="MP3", subtype="MPEG_LAYER_III")
        damaged = damaged[:3000] + bytes(700) + damaged[3700:]
        assert client.post("/v1/predict", files={"files": (name, damaged)}).status_code in (200, 422)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            long = wav(np.tile(tone(440, 1.0), 40), subtype="PCM_16")
            asked = [pool.submit(client.post, "/v1/timeline", files={"file": (name, long)})]
            asked += [pool.submit(client.post, "/v1/predict", files={"file": (name, CLIP)}) for _ in range(7)]
            until(lambda: "emospec_queue_depth 8.0" in client.get("/metrics").text or asked[-1].done())
            ours, *started = family(process.pid)
            for pid in (*started, ours):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, stop)
            assert [one.result().status_code for one in asked] == [200] * 8
    assert process.wait(30) in (0, -stop)
    assert len(started) >= 3  # what forks decoders, what tracks its resources, and a decoder
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in started))
    process.stdout.close()
    log.seek(0)
    said = log.read()
    assert '"route": "/v1/predict", "status": 200' in said
    *lines, last = map(json.loads, said.splitlines())
    assert last["message"].startswith("stopped: what had come by then was finished")
    for line in lines:
        assert set(line) == {"time", "level", "method", "route", "status", "ms"}, (
            "a log says what it must not"
        )
    log.close()
