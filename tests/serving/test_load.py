"""Long tests: no request gets a 500, broken recordings are errors, and nothing is lost or wrong under load."""

import asyncio
import math
from collections import Counter
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

from bench.serving import clips_of, closed_loop, open_loop
from broken_audio import broken
from conftest import tone
from emospec.inference.recognizer import Recognizer
from emospec.serving.limits import Limits
from served import RunningServer, check_error, served, until, wav

pytestmark = pytest.mark.full


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_no_request_gets_a_500_and_answers_are_as_the_document_describes(server: RunningServer) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/v1/predict", "/v1/timeline", "/v1/embed"}
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def answered(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        answered()


def test_two_hundred_broken_recordings_are_results_or_errors(server: RunningServer, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    with server.client() as client:
        for k in range(200):
            recording = Path(broken(tmp_path, k, seed=0).path)
            content = recording.read_bytes() if recording.is_file() else b""
            for route in ("/v1/predict", "/v1/timeline?check_speech=false"):
                answer = client.post(route, files={"file": ("a", content)})
                if answer.status_code == 200:
                    body = answer.json()
                    results = body["results"] if "results" in body else body["segments"]
                    assert all(math.isfinite(result["confidence"]) for result in results), recording
                    ends["result"] += 1
                else:
                    check_error(answer, answer.status_code, "unreadable")
                    ends["refused"] += 1
    assert ends["result"] > 40
    assert ends["refused"] > 100


def test_nothing_is_lost_or_wrong_under_load_and_after_too_much(hum_model: Path) -> None:
    recognizer = Recognizer(hum_model, threads=1)
    rng = np.random.default_rng(0)
    contents = [wav(tone(hz, rng.uniform(0.5, 2.0))) for hz in rng.uniform(200, 1000, 20)]
    clips = clips_of(recognizer, contents)
    with served(hum_model, Limits(waiting=64)) as server:
        calm = asyncio.run(closed_loop(server.port, clips, clients=32, requests=2000))
        assert (calm.statuses, calm.wrong, calm.lost) == ({200: 2000}, 0, 0)
        flood = asyncio.run(open_loop(server.port, clips, 2 * calm.rate, seconds=5.0))
        assert set(flood.statuses) == {200, 429}
        assert (flood.wrong, flood.lost) == (0, 0)
        assert flood.statuses[200] > calm.rate
        again = asyncio.run(closed_loop(server.port, clips, clients=8, requests=100))
        assert (again.statuses, again.wrong, again.lost) == ({200: 100}, 0, 0)
        # A place is given back once the answer has gone, so the client may have it first.
        until(lambda: server.service.gate.requests == server.service.gate.bytes == 0)
