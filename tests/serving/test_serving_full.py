"""The long ones: whatever is sent, no 500; 200 broken recordings; nothing lost or wrong under load."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_serving import fault

from bench.serving import clips_of, closed_loop, open_loop
from broken_audio import broken
from conftest import tone
from emospec.inference.recognizer import Recognizer
from emospec.serving.limits import Limits
from served import Served, served, until, wav

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[Served]:
    with served(hum_model) as running:
        yield running


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_whatever_is_sent_no_500_and_what_is_said_is_what_the_document_says(server: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/v1/predict", "/v1/timeline", "/v1/embed"}
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def answered(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        answered()


def test_two_hundred_broken_recordings_are_results_or_errors(server: Served, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    with server.client() as client:
        for k in range(200):
            recording = Path(broken(tmp_path, k, seed=0).path)
            content = recording.read_bytes() if recording.is_file() else b""
            for route in ("/v1/predict", "/v1/timeline?check_speech=false"):
                answer = client.post(route, files={"file": ("a", content)})
                if answer.status_code == 200:
                    said = answer.json()
                    spoken = said["results"] if "results" in said else said["segments"]
                    assert all(math.isfinite(one["confidence"]) for one in spoken), recording
                    ends["result"] += 1
                else:
                    fault(answer, answer.status_code, "unreadable")
                    ends["refused"] += 1
    assert ends["result"] > 40
    assert ends["refused"] > 100


def test_nothing_is_lost_or_wrong_under_load_and_after_too_much(hum_model: Path) -> None:
    recognizer = Recognizer(hum_model, threads=1)
    rng = np.random.default_rng(0)
    contents = [wav(tone(hz, rng.uniform(0.5, 2.0))) for hz in rng.uniform(200, 1000, 20)]
    clips = clips_of(recognizer, contents)
    with served(hum_model, Limits(waiting=64)) as server:
        told = asyncio.run(closed_loop(server.port, clips, clients=32, requests=2000))
        assert (told.statuses, told.wrong, told.lost) == ({200: 2000}, 0, 0)
        flood = asyncio.run(open_loop(server.port, clips, 2 * told.rate, seconds=5.0))
        assert set(flood.statuses) == {200, 429}
        assert (flood.wrong, flood.lost) == (0, 0)
        assert flood.statuses[200] > told.rate
        again = asyncio.run(closed_loop(server.port, clips, clients=8, requests=100))
        assert (again.statuses, again.wrong, again.lost) == ({200: 100}, 0, 0)
        # A place is given back once the answer has gone, so the client may have it first.
        until(lambda: server.service.gate.requests == server.service.gate.bytes == 0)
