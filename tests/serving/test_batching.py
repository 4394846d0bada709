"""Batching: waveforms of similar length share a pass, and each request gets its own answer."""

import concurrent.futures
import re
import threading

import numpy as np
import pytest

from emospec.audio.waveform import Waveform
from emospec.data.pack import Pack
from emospec.inference.recognizer import Recognizer
from emospec.serving.batching import Batcher
from served import RunningServer, multipart, until

WAITING_SECONDS = 30.0


def test_a_pass_has_similar_lengths_and_none_that_was_cancelled() -> None:
    passes: list[list[int]] = []
    go = threading.Event()

    def forward(waveforms: list[Waveform]) -> tuple[np.ndarray, np.ndarray]:
        assert go.wait(WAITING_SECONDS)
        passes.append([len(w) for w in waveforms])
        return np.array([[len(w)] for w in waveforms], float), np.zeros((len(waveforms), 1), np.float32)

    batcher = Batcher(forward, runners=1, pass_samples=500)
    first = batcher.submit(np.zeros(7, np.float32))
    until(lambda: not batcher._waiting)
    lengths = [100, 300, 105, 98, 310, 120, 100, 400]
    waiting = [batcher.submit(np.zeros(n, np.float32)) for n in lengths]
    assert waiting[6].cancel()
    go.set()
    assert first.result()[0] == 7
    for n, output in zip(lengths, waiting, strict=True):
        assert output.cancelled() or output.result()[0] == n
    assert passes == [[7], [100, 105, 98], [300], [310], [120], [400]]
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(np.zeros(7, np.float32))


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
    assert recordings == 96
    assert passes < recordings, "no pass was shared"
