"""Middleware: token, hosts, origins and root path; headers, methods and counts."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from served import CLIP, RunningServer, check_error, multipart, open_stream, served

TOKEN = "open-sesame"
ROUTES = ("/v1/predict", "/v1/embed", "/v1/timeline")
GETS = ("/", "/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/page/page.js")
GETS += ("/openapi.json", "/v1/models", "/examples", "/examples/angry.wav", "/health", "/ready", "/metrics")


@pytest.fixture(scope="module")
def proxied(hum_model: Path) -> Iterator[RunningServer]:
    with served(hum_model, token=TOKEN, root_path="/emo", origins=("https://emo.example",)) as running:
        yield running


def test_answers_have_the_headers_that_protect_a_browser(client: httpx.Client) -> None:
    for path in ("/health", "/nowhere", "/v1/models"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers
    assert client.get("/v1/models").headers["cache-control"] == "no-store"


def test_other_sites_are_refused_unless_allowed(
    hum_model: Path, server: RunningServer, client: httpx.Client
) -> None:
    content = multipart([CLIP])
    evil = {"Origin": "http://evil.example"}
    check_error(client.post("/v1/predict", files=content, headers=evil), 403, "forbidden")
    assert client.post("/v1/predict", files=content, headers={"Origin": server.url}).status_code == 200
    origin = {"Origin": "https://good.example"}
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    options = {"origins": (origin["Origin"],), "hosts": ("127.0.0.1",)}
    with served(hum_model, **options) as other, other.client() as client:
        answer = client.post("/v1/predict", files=content, headers=origin)
        assert answer.headers["access-control-allow-origin"] == origin["Origin"]
        assert client.options("/v1/predict", headers=origin | preflight).status_code == 200
        evil = {"Host": f"evil.example:{other.port}"}
        check_error(client.get("/v1/models", headers=evil), 403, "forbidden")
        for malformed in ({"Host": "["}, {"Origin": "http://["}):
            check_error(client.post("/v1/predict", files=content, headers=malformed), 403, "forbidden")


def test_a_token_guards_the_api(hum_model: Path) -> None:
    with served(hum_model, token="open-sesame") as server, server.client() as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer open-sesam"}, {"Authorization": "Basic open-sesame"}):
            answer = client.get("/v1/models", headers=headers)
            check_error(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            check_error(client.get("/metrics", headers=headers), 401, "unauthorized")
        assert client.get("/v1/models", headers={"Authorization": "Bearer open-sesame"}).status_code == 200


def test_invented_methods_are_counted_as_one(client: httpx.Client) -> None:
    for method in ("BREW", "PROPFIND"):
        check_error(client.request(method, "/health"), 405, "method_not_allowed")
    text = client.get("/metrics").text
    assert 'method="other"' in text
    assert "BREW" not in text


def test_a_405_names_the_methods_and_head_is_answered(client: httpx.Client) -> None:
    for path in GETS:
        whole, head = client.get(path), client.head(path)
        assert (whole.status_code, head.status_code, head.content) == (200, 200, b""), path
        if path != "/metrics":  # which grows
            assert head.headers["content-length"] == whole.headers["content-length"], path
        refused = client.delete(path)
        check_error(refused, 405, "method_not_allowed")
        assert refused.headers["allow"] == "GET, HEAD"
    for route in ROUTES:
        for method in ("GET", "HEAD", "PUT"):
            refused = client.request(method, route)
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert client.head("/nowhere").status_code == 404
    answer = client.get("/v1/stream")
    check_error(answer, 426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket"


def test_a_token_needs_its_scheme_in_any_case(proxied: RunningServer) -> None:
    with proxied.client() as client:
        for scheme in ("Bearer", "bearer", "BEARER", "bEaReR "):
            assert client.get("/v1/models", headers={"Authorization": f"{scheme} {TOKEN}"}).status_code == 200
        others = (TOKEN, f"Token {TOKEN}", f"Bearer{TOKEN}", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN} x")
        for wrong in others:
            answer = client.get("/v1/models", headers={"Authorization": wrong})
            check_error(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    for scheme in ("bearer", "Bearer"):
        with open_stream(proxied, subprotocols=[scheme, TOKEN]) as socket:
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


def test_allowed_sites_may_read_retry_after(proxied: RunningServer) -> None:
    with proxied.client(headers={"Origin": "https://emo.example"}) as client:
        exposed = client.get("/health").headers["access-control-expose-headers"]
    assert {name.strip() for name in exposed.split(",")} == {"Content-Disposition", "Retry-After"}


@pytest.mark.parametrize("prefix", ["/emo", ""])
def test_a_proxy_may_take_its_path_off_or_leave_it(proxied: RunningServer, prefix: str) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    with proxied.client() as client:
        for path in GETS:
            guarded = path.startswith(("/v1/", "/metrics"))
            assert client.get(prefix + path).status_code == (401 if guarded else 200), path
            assert client.get(prefix + path, headers=token).status_code == 200, path
        for route in ROUTES:
            check_error(client.post(prefix + route, files=multipart([CLIP], "file")), 401, "unauthorized")
            answer = client.post(prefix + route, files=multipart([CLIP], "file"), headers=token)
            assert answer.status_code == 200
        (first, *_) = client.get(f"{prefix}/examples").json()
        assert not first["url"].startswith("/")
        place = client.base_url.join(f"{prefix}/examples").join(first["url"])
        assert client.get(place).content.startswith(b"RIFF")
        for page in ("/", "/docs"):
            attributes = client.get(prefix + page).text.split('="')[1:]
            assert not [value for value in attributes if value.startswith("/")]
        assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/emo"}]
        assert client.get("/emo").headers["location"] == "/emo/"
        assert client.get(f"{prefix}/docs/").headers["location"] == "/emo/docs"  # a proxy may speak TLS
        check_error(client.get("/emovement/v1/models", headers=token), 404, "not_found")
