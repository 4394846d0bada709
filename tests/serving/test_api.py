"""What clients rely on: names are checked, errors name the file, methods, links under a proxy's path, the document."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter
from test_serving import fault, sent
from test_websocket import opened, told

from conftest import tone
from emospec.serving.schemas import STREAM_MESSAGES
from served import Served, served, wav

CLIP = wav(tone(440, 1.0))
TOKEN = "open-sesame"
ROUTES = ("/v1/predict", "/v1/embed", "/v1/timeline")
GETS = ("/", "/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/page/page.js")
GETS += ("/openapi.json", "/v1/models", "/examples", "/examples/angry.wav", "/health", "/ready", "/metrics")


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator[Served]:
    with served(hum_model) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as one:
        yield one


@pytest.fixture(scope="module")
def proxied(hum_model: Path) -> Iterator[Served]:
    with served(hum_model, token=TOKEN, root_path="/emo", origins=("https://emo.example",)) as running:
        yield running


def test_unknown_query_parameters_are_refused_by_name(client: httpx.Client) -> None:
    for route in ROUTES:
        answer = client.post(f"{route}?modell=hum", files=sent([CLIP], "file"))
        assert "'modell', did you mean 'model'?" in fault(answer, 422, "invalid")
        assert "model" in answer.json()["error"]["fix"]
    for route in ("/v1/models", "/examples", "/examples/angry.wav", "/health", "/ready", "/metrics"):
        assert "'verbose'" in fault(client.get(f"{route}?verbose=1"), 422, "invalid")
    assert "'samplerate', did you mean 'sample_rate'?" in fault(
        client.get("/v1/stream?samplerate=8000"), 422, "invalid"
    )
    answer = client.post("/v1/timeline?window=2&window=3", files=sent([CLIP], "file"))
    assert "'window' is given twice" in fault(answer, 422, "invalid")


def test_an_unknown_query_parameter_of_a_stream_is_refused_by_name(server: Served) -> None:
    with opened(server, "samplerate=8000") as socket:
        last, closed = told(socket)
    assert (last["error"]["code"], closed["code"]) == ("invalid", 1008)
    assert "'samplerate', did you mean 'sample_rate'?" in last["error"]["message"]


@pytest.mark.parametrize("route", ROUTES)
def test_fields_are_checked_by_name(client: httpx.Client, route: str) -> None:
    for field in ("file", "files"):
        assert client.post(route, files=sent([CLIP], field)).status_code == 200
    for more, words in (
        ({"abstain_below": "0.6"} if route != "/v1/embed" else {"model": "hum"}, "is a query parameter"),
        ({"note": "x" * 9}, "no field 'note'"),
        ({"file": "call.wav"}, "'file' holds text, no file"),
    ):
        for form in (
            {"files": sent([CLIP], "file"), "data": more},
            {"files": [(n, (None, v)) for n, v in more.items()]},
        ):
            assert words in fault(client.post(route, **form), 422, "invalid")  # type: ignore[arg-type]
    assert "no field 'fil', did you mean 'file'?" in fault(
        client.post(route, files=sent([CLIP], "fil")), 422, "invalid"
    )


def test_a_body_without_its_last_boundary_is_refused(client: httpx.Client) -> None:
    """The file in which it ends would be left out of the answer without a word."""
    whole = client.build_request("POST", "/v1/predict", files=sent([CLIP, CLIP], "file"))
    for left in (len(CLIP) + 500, len(whole.read()) - 100):
        kind = {"Content-Type": whole.headers["content-type"]}
        answer = client.post("/v1/predict", content=whole.content[:left], headers=kind)
        assert "its last boundary is missing" in fault(answer, 422, "invalid")


@pytest.mark.parametrize("route", ROUTES)
def test_an_error_names_its_file(client: httpx.Client, route: str) -> None:
    for content, status, code in ((b"x", 422, "unreadable"), (b"", 422, "unreadable")):
        answer = client.post(route, files={"file": ("my call.wav", content)})
        assert fault(answer, status, code).startswith("my call.wav: ")
    if route != "/v1/timeline":
        two = [("file", ("a.wav", CLIP)), ("file", ("b.wav", b"x"))]
        assert client.post(route, files=two).json()["results"][1]["error"]["message"].startswith("b.wav: ")


def test_methods_are_told_and_head_is_answered(client: httpx.Client) -> None:
    for path in GETS:
        whole, head = client.get(path), client.head(path)
        assert (whole.status_code, head.status_code, head.content) == (200, 200, b""), path
        if path != "/metrics":  # which grows
            assert head.headers["content-length"] == whole.headers["content-length"], path
        refused = client.delete(path)
        fault(refused, 405, "method_not_allowed")
        assert refused.headers["allow"] == "GET, HEAD"
    for route in ROUTES:
        for method in ("GET", "HEAD", "PUT"):
            refused = client.request(method, route)
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert client.head("/nowhere").status_code == 404
    answer = client.get("/v1/stream")
    fault(answer, 426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket"


def test_the_scheme_of_a_token_is_of_any_case_and_is_there(proxied: Served) -> None:
    with proxied.client() as client:
        for scheme in ("Bearer", "bearer", "BEARER", "bEaReR "):
            assert client.get("/v1/models", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200
        for wrong in (
            TOKEN,
            f"Token {TOKEN}",
            f"Bearer{TOKEN}",
            "Bearer",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN} x",
        ):
            answer = client.get("/v1/models", headers={"Authorization": wrong})
            fault(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    for scheme in ("bearer", "Bearer"):
        with opened(proxied, subprotocols=[scheme, TOKEN]) as socket:
            assert json.loads(socket.recv())["type"] == "ready"
            assert socket.subprotocol == scheme


def test_the_pages_load_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/docs"):
        answer = client.get(path)
        assert "//" not in answer.text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "script-src" not in policy
        assert ("unsafe-inline" in policy) == (path == "/docs")  # of styles alone
    assert "validatorUrl: null" in client.get("/docs/start.js").text


def test_other_sites_may_read_when_to_come_again(proxied: Served) -> None:
    with proxied.client(headers={"Origin": "https://emo.example"}) as client:
        exposed = client.get("/health").headers["access-control-expose-headers"]
    assert {name.strip() for name in exposed.split(",")} == {"Content-Disposition", "Retry-After"}


@pytest.mark.parametrize("prefix", ["/emo", ""])
def test_under_a_proxys_path_whether_it_is_taken_off_or_not(proxied: Served, prefix: str) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    with proxied.client() as client:
        for path in GETS:
            guarded = path.startswith(("/v1/", "/metrics"))
            assert client.get(prefix + path).status_code == (401 if guarded else 200), path
            assert client.get(prefix + path, headers=token).status_code == 200, path
        for route in ROUTES:
            fault(client.post(prefix + route, files=sent([CLIP], "file")), 401, "unauthorized")
            assert client.post(prefix + route, files=sent([CLIP], "file"), headers=token).status_code == 200
        (first, *_) = client.get(f"{prefix}/examples").json()
        assert not first["url"].startswith("/")
        place = client.base_url.join(f"{prefix}/examples").join(first["url"])
        assert client.get(place).content.startswith(b"RIFF")
        for page in ("/", "/docs"):
            assert not [
                part for part in client.get(prefix + page).text.split('="')[1:] if part.startswith("/")
            ]
        assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/emo"}]
        assert client.get("/emo").headers["location"] == "/emo/"
        assert client.get(f"{prefix}/docs/").headers["location"] == "/emo/docs"  # a proxy may speak TLS
        fault(client.get("/emovement/v1/models", headers=token), 404, "not_found")


def test_the_document_has_the_token_and_the_stream(client: httpx.Client, proxied: Served) -> None:
    said = client.get("/openapi.json").json()
    assert "servers" not in said
    assert said["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, operations in said["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == (
                [{}, {"token": []}] if path.startswith(("/v1", "/metrics")) else None
            )
    with proxied.client() as other:
        guarded = other.get("/openapi.json").json()["paths"]["/v1/predict"]["post"]
    assert guarded["security"] == [{"token": []}]
    content = guarded["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert [*content["properties"]] == ["file"]
    stream = said["paths"]["/v1/stream"]["get"]
    assert {one["name"] for one in stream["parameters"]} >= {"sample_rate", "encoding", "hop"}
    kinds = stream["responses"]["101"]["content"]["application/json"]["schema"]["discriminator"]["mapping"]
    assert [*kinds] == ["ready", "moment", "segment", "end", "error"]
    for ref in kinds.values():
        assert ref.rpartition("/")[2] in said["components"]["schemas"]


def test_the_streams_messages_are_those_of_the_document(server: Served) -> None:
    kinds = {
        TypeAdapter(model).json_schema()["properties"]["type"]["const"]: model for model in STREAM_MESSAGES
    }
    said = []
    for check in ("true", "false"):
        with opened(server, f"window=1&hop=1&check_speech={check}") as socket:
            socket.send((tone(440, 2.5) * 32767).astype("<i2").tobytes())
            socket.send("end")
            said += told(socket)[:-1]
    with opened(server, "hop=0") as socket:
        said += told(socket)[:-1]
    assert {one["type"] for one in said} == set(kinds)
    for one in said:
        model = kinds[one["type"]]
        assert set(model.model_validate(one).model_dump()) == set(one)


def test_all_that_is_said_on_standard_error_is_json(hum_model: Path) -> None:
    command = [sys.executable, "-m", "emospec", "serve", "--model", str(hum_model), "--port", "0"]
    with subprocess.Popen(
        [*command, "--host", "0.0.0.0", "--threads", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONWARNINGS": "default"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1].replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            client.post("/v1/predict", files=sent([CLIP], "file"))
            client.get("/nowhere")
            client.get(
                "/health", headers={"Upgrade": "h2c", "Connection": "Upgrade"}
            )  # of which uvicorn warns
        process.send_signal(signal.SIGTERM)
        said = [json.loads(line) for line in process.communicate(timeout=60)[1].splitlines()]
    assert {"time", "level"} <= set.intersection(*(set(line) for line in said))
    messages: list[Any] = [line["message"] for line in said if "message" in line]
    assert any("is open to others" in message for message in messages)
    assert any("Unsupported upgrade" in message for message in messages)
    assert [line["route"] for line in said if "route" in line] == ["/v1/predict", "other", "/health"]
