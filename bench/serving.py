"""The server on the loopback: requests per second and latency, and an overload."""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from bench.corpus import EMODB
from bench.measure import CORES, most_held
from emospec.data.corpora import read_corpus
from emospec.data.pack import prepare
from emospec.export.model_folder import export_model
from emospec.inference.recognizer import Recognizer
from emospec.runs.record import find_runs

LEVELS = {1: 400, 8: 1200, 64: 1600, 256: 1800}  # clients: requests of each round
ROUNDS = 2
INT8_CLIENTS = 64
CLIPS = 100
BROKEN, BROKEN_SEED = 2000, 0
TOLERANCE = 1e-5  # of a probability
OVERLOAD_SECONDS, AFTERWARDS = 30.0, 200
CONNECTING_SECONDS, ANSWER_SECONDS = 60.0, 60.0
PROGRAM = "import sys; from emospec.serving.server import run_server; run_server(sys.argv[1], port=0, threads={threads}{more})"


@dataclass(frozen=True)
class Clip:
    """A request, ready to send, and the probabilities of its answer."""

    request: bytes
    expected: dict[str, float]


@dataclass
class LoadResult:
    """The answers to a load: statuses, seconds of each 200, and how many were wrong or lost."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    lost: int = 0
    wall: float = 0.0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.statuses[200] / self.wall

    def percentiles(self) -> str:
        """Return p50, p95 and p99 in milliseconds."""
        return ", ".join(f"{1000 * p:.0f}" for p in np.percentile(self.seconds, (50, 95, 99)))


def request_of(content: bytes) -> bytes:
    """Return the request of a prediction for a recording."""
    start = b'--a\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = start + content + b"\r\n--a--\r\n"
    head = f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: multipart/form-data; boundary=a\r\n\r\n" + body


def clips_of(recognizer: Recognizer, contents: Sequence[bytes]) -> list[Clip]:
    """Return the requests of recordings, with the recogniser's probabilities for each alone."""
    return [Clip(request_of(content), recognizer.predict(content).probabilities) for content in contents]


class Client:
    """A connection that is kept open, and made anew when it breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, clip: Clip, result: LoadResult) -> None:
        """Send a request, note and check its answer."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, body = await self._exchange(clip.request)
        except (OSError, EOFError, TimeoutError):
            result.lost += 1
            self.close()
            return
        result.statuses[status] += 1
        if status == 200:
            result.seconds.append(time.perf_counter() - began)
            answer = json.loads(body)["results"][0]["probabilities"]
            result.wrong += any(abs(answer[name] - p) > TOLERANCE for name, p in clip.expected.items())

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the server closes idle connections after some seconds
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
        body = await reader.readexactly(length)
        # A request that was refused before it was read ends its connection.
        if re.search(rb"(?i)\r\nconnection: close", head):
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def closed_loop(port: int, clips: Sequence[Clip], clients: int, requests: int) -> LoadResult:
    """Run clients each of which sends its next request as soon as the last is answered."""
    result, places = LoadResult(), iter(range(requests))

    async def run_client() -> None:
        client = Client(port)
        for place in places:
            await client.ask(clips[place % len(clips)], result)
        client.close()

    began = time.perf_counter()
    await asyncio.gather(*(run_client() for _ in range(clients)))
    result.wall = time.perf_counter() - began
    return result


async def open_loop(port: int, clips: Sequence[Clip], rate: float, seconds: float) -> LoadResult:
    """Send requests at a rate, whether or not earlier ones are answered."""
    result, idle, running = LoadResult(), [], set()

    async def ask(clip: Clip) -> None:
        client = idle.pop() if idle else Client(port)
        await client.ask(clip, result)
        idle.append(client)

    began = time.perf_counter()
    for place in count():
        if (due := began + place / rate) > began + seconds:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        running.add(task := asyncio.create_task(ask(clips[place % len(clips)])))
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for client in idle:
        client.close()
    result.wall = time.perf_counter() - began
    return result


@contextmanager
def server(model: Path, more: str = "") -> Iterator[tuple[int, int]]:
    """Run a server in a process of its own; yield its port and the process's identifier."""
    program = PROGRAM.format(threads=CORES, more=more)
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield int(process.stdout.readline().rpartition(":")[2]), process.pid
    finally:
        process.terminate()
        process.wait(CONNECTING_SECONDS)


def levels(
    model: Path, clips: Sequence[Clip], requests: dict[int, int], int8: bool = False
) -> dict[int, list[LoadResult]]:
    """Return the results of each round, by the number of clients."""
    with server(model, ", int8=True" if int8 else "") as (port, _):
        return {
            clients: [
                asyncio.run(closed_loop(port, clips, clients, max(clients, count_of))) for _ in range(ROUNDS)
            ]
            for clients, count_of in requests.items()
        }


def overload(
    model: Path, clips: Sequence[Clip], rate: float, seconds: float
) -> tuple[LoadResult, list[int], LoadResult]:
    """Return the result at a rate, the most memory before, meanwhile and afterwards, and the result afterwards."""
    with server(model) as (port, pid):
        with most_held(pid) as before:
            asyncio.run(closed_loop(port, clips, 256, 512))
        with most_held(pid) as meanwhile:
            during = asyncio.run(open_loop(port, clips, rate, seconds))
        with most_held(pid) as afterwards:
            after = asyncio.run(closed_loop(port, clips, 8, AFTERWARDS))
    return during, [*before, *meanwhile, *afterwards], after


def broken_ones(model: Path) -> LoadResult:
    """Return the result of broken recordings, two at a time."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from broken_audio import broken

    with tempfile.TemporaryDirectory() as name, server(model) as (port, _):
        paths = (Path(broken(Path(name), k, BROKEN_SEED).path) for k in range(BROKEN))
        contents = (path.read_bytes() if path.is_file() else b"" for path in paths)
        clips = [Clip(request_of(content), {}) for content in contents]
        return asyncio.run(closed_loop(port, clips, 2, BROKEN))


def _rows(graph: str, results: dict[int, list[LoadResult]]) -> list[str]:
    """Return the table's rows of a graph: rates and latencies."""
    rows = []
    for clients, rounds in results.items():
        together = LoadResult(seconds=[seconds for result in rounds for seconds in result.seconds])
        rate = statistics.median(result.rate for result in rounds)
        rows.append(f"| {graph} | {clients} | {rate:.0f} | {together.percentiles()} |")
    return rows


def section(
    results: dict[str, dict[int, list[LoadResult]]],
    overloaded: tuple[LoadResult, list[int], LoadResult],
    rate: float,
    faulty: LoadResult,
) -> str:
    """Return the section of the report."""
    rows = [row for graph, of_graph in results.items() for row in _rows(graph, of_graph)]
    during, memory, after = overloaded
    in_table = [result for of_graph in results.values() for rounds in of_graph.values() for result in rounds]
    everything = [*in_table, during, after]
    answered = sum(result.statuses[200] for result in everything)
    wrong, lost = sum(result.wrong for result in everything), sum(result.lost for result in everything)
    refused = during.statuses[429]
    unread = sum(number for status, number in faulty.statuses.items() if 400 <= status < 500)
    below = sum((result.statuses for result in in_table), Counter())
    return f"""## Serving

`emospec serve` on {CORES} cores, clients on the same cores and the loopback, EMO-DB's recordings, one each request. Latency from
the first byte sent to the last one read; every 200 compared with the recogniser's own answer for the recording alone
(within {TOLERANCE:g} of a probability).

| graph | clients | requests/s | p50, p95, p99 ms |
|---|---|---|---|
{chr(10).join(rows)}

At twice its capacity ({rate:.0f} requests/s until {during.statuses.total()} were sent, whether answered or not): {during.statuses[200]} answered (in {during.wall:.0f} s, with what waited at the end; p50, p95,
p99 {during.percentiles()} ms), {refused} refused with 429, {during.statuses.total() - during.statuses[200] - refused} anything else. The most anonymous memory of all its processes at 256 clients
before, meanwhile and afterwards, MiB: {", ".join(f"{b / 2**20:.0f}" for b in memory)}. Afterwards, of {AFTERWARDS} requests {after.statuses[200]} were answered.

Of {answered} answers with 200 in all, {wrong} wrong; {lost} requests lost. In the table, {below.total() - below[200]} of {below.total()} were anything but 200.

{BROKEN} broken recordings (`tests/broken_audio.py`, seed {BROKEN_SEED}), a request each, two at a time: {faulty.statuses[200]} predicted, {unread} refused with a 4xx,
{faulty.statuses.total() - faulty.statuses[200] - unread} anything else, {faulty.lost} lost.
"""


def main(runs: Path, scale: float = 1.0) -> str:
    """Return the section of the report; `runs` is a one-speaker-out cross-validation on EMO-DB."""
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        pack, _ = prepare(read_corpus("emodb", EMODB), Path(name) / "pack")
        export_model(find_runs([runs])[0].folder, model, int8=pack.folder)
        contents = [file.read_bytes() for file in sorted((EMODB / "audio").iterdir())[:CLIPS]]
        requests = {clients: round(scale * count_of) for clients, count_of in LEVELS.items()}
        clips = clips_of(Recognizer(model, threads=1), contents)
        results = {"float": levels(model, clips, requests)}
        rate = 2 * max(result.rate for result in results["float"][64])
        overloaded = overload(model, clips, rate, scale * OVERLOAD_SECONDS)
        clips = clips_of(Recognizer(model, int8=True, threads=1), contents)
        results["int8"] = levels(model, clips, {INT8_CLIENTS: requests[INT8_CLIENTS]}, int8=True)
        return section(results, overloaded, rate, broken_ones(model))
