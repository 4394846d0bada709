"""`emospec serve` as a process: as the docs and deploy/ run it, its log, and its end."""

import concurrent.futures
import contextlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import joblib
import numpy as np
import pytest
import soundfile

from bench.measure import family
from conftest import error_of, tone
from emospec.inference.model import DEFAULT, load_model
from emospec.serving.server import bind
from emospec.workers import open_workers
from served import CLIP, check_error, multipart, until, wav

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
EMOSPEC = [sys.executable, "-m", "emospec"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", DOCS)


@contextmanager
def running(arguments: list[str], env: dict[str, str] | None = None) -> Iterator[str]:
    """Run `emospec` with these arguments, and yield its address."""
    environment, pipe = os.environ | (env or {}), subprocess.PIPE
    process = subprocess.Popen([*EMOSPEC, *arguments], stdout=pipe, stderr=pipe, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("emospec: http://"), process.communicate()
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert not out
        assert "Traceback" not in err


@pytest.fixture(scope="module")
def address(hum_model: Path) -> Iterator[str]:
    most = ["--max-seconds", "5", "--max-megabytes", "1"]
    with running(["serve", "--model", str(hum_model), "--port", "0", *most]) as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "call.wav", tone(440, 4.0), 16_000)
    return tmp_path


def test_the_limits_are_those_asked_for(address: str) -> None:
    limits = httpx.get(f"{address}/v1/models").json()["limits"]
    assert (limits["seconds"], limits["bytes"]) == (5.0, 1_000_000)
    answer = httpx.post(f"{address}/v1/predict", files={"files": ("a.wav", wav(tone(440, 5.1)))})
    check_error(answer, 413, "too_long")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines()])
def test_the_curl_lines_work(line: str, address: str, folder: Path) -> None:
    assert line.startswith("curl -s ")
    line = line.replace("http://127.0.0.1:8000", address).replace("-s", "-s --fail --noproxy '*'", 1)
    result = subprocess.run(shlex.split(line), capture_output=True, cwd=folder, timeout=60)
    assert result.returncode == 0, result
    if "textgrid" in line:
        assert "IntervalTier" in (folder / "call.TextGrid").read_text()
    else:
        assert json.loads(result.stdout)


def test_the_python_examples_work(address: str, folder: Path) -> None:
    programs = blocks("python")
    assert len(programs) == 2
    outputs = (r"call\.wav (angry|sad) 0\.\d+", r"4\.0 (None None|(angry|sad) 0\.\d+)")
    for program, expected in zip(programs, outputs, strict=True):
        command = [sys.executable, "-c", program.replace("127.0.0.1:8000", address.removeprefix("http://"))]
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)
        assert re.search(expected, result.stdout), result


@pytest.mark.full
def test_what_the_container_runs_works(hum_model: Path) -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    command = json.loads(text.partition("ENTRYPOINT ")[2])
    check = json.loads(text.partition("HEALTHCHECK CMD ")[2].partition("\n")[0])
    assert command[:2] == ["emospec", "serve"]
    changed = {"/model": str(hum_model), "8000": "0", "0.0.0.0": "127.0.0.1"}
    with running([changed.get(word, word) for word in command[1:]]) as url:
        program = check[2].replace("http://127.0.0.1:8000", url)
        assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
    # The bundled model lies where another one is mounted.
    bundled, place = re.search(r"^COPY (\S*models\S*) (\S+)$", text, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert place == command[command.index("--model") + 1]
    assert load_model(ROOT / bundled).about == load_model(DEFAULT).about
    for copied in re.search(r"COPY (.+) /src/$", text, re.MULTILINE)[1].split():  # type: ignore[index]
        assert (ROOT / copied).exists()


@pytest.mark.full
def test_what_the_unit_runs_works(hum_model: Path, tmp_path: Path) -> None:
    """With the token in the environment, as its EnvironmentFile gives it."""
    unit = (ROOT / "deploy" / "emospec.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    words = shlex.split(start)
    assert words[0].endswith("/bin/emospec")
    assert "\nKillMode=mixed\n" in unit  # SIGTERM to the server alone: it ends its own processes
    changed = {"/opt/emospec/model": str(hum_model), "8000": "0"}
    with running([changed.get(word, word) for word in words[1:]], {"EMOSPEC_TOKEN": "open-sesame"}) as url:
        assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 401
        token = {"Authorization": "Bearer open-sesame"}
        assert httpx.get(f"{url}/v1/models", headers=token, trust_env=False).status_code == 200
    if shutil.which("systemd-analyze"):
        (tmp_path / "emospec.service").write_text(unit.replace(words[0], sys.executable))
        command = ["systemd-analyze", "verify", str(tmp_path / "emospec.service")]
        result = subprocess.run(command, capture_output=True, text=True)
        assert not result.stderr, result.stderr


def test_behind_a_proxy_under_its_own_name(hum_model: Path) -> None:
    arguments = ["serve", "--model", str(hum_model), "--port", "0", "--allow-origin", "https://emo.example"]
    with running(arguments) as url:
        headers = {"Origin": "https://emo.example", "Host": "emo.example"}
        for name, status in (("emo.example", 422), ("evil.example", 403)):
            answer = httpx.post(f"{url}/v1/predict", headers=headers | {"Host": name}, trust_env=False)
            assert answer.status_code == status, answer.text


def test_clients_that_send_nothing_hold_nobody_up(address: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    port = int(address.rpartition(":")[2])
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 4096), limits[1]))
        with ExitStack() as stack:
            for _ in range(1200):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            assert httpx.get(f"{address}/ready", trust_env=False, timeout=30).status_code == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_public_address_without_a_token_is_warned_of(hum_model: Path) -> None:
    command = [
        *EMOSPEC,
        "serve",
        "--model",
        str(hum_model),
        "--port",
        "0",
        "--host",
        "0.0.0.0",
        "--threads",
        "1",
    ]
    for token, warnings in (("", 1), ("open-sesame", 0)):
        env = os.environ | {"EMOSPEC_TOKEN": token}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("emospec: http://0.0.0.0:")
            process.send_signal(signal.SIGINT)
            log = process.communicate(timeout=30)[1]
        assert log.count("is open to others") == warnings, log
        assert log.count("\n") == warnings + 1, log
        assert json.loads(log.splitlines()[-1])["message"].startswith("stopped: what had come by then")


def test_mistakes_are_one_line(
    hum_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            (["--model", str(hum_model), "--port", port], "cannot be bound"),
            (["--model", str(hum_model), "--host", "no such host"], "cannot be bound"),
            (["--model", str(tmp_path), "--port", "0"], "is not a model"),
            (["--model", str(hum_model), "--token", "YWJj/Zw=="], "which no WebSocket can bear"),
            (["--model", str(hum_model), "--allow-origin", "https://a.example/"], "is no origin"),
            (["--model", str(hum_model), "--allow-origin", "http://[x"], "is no origin"),
        ):
            assert words in error_of(monkeypatch, capsys, "serve", *arguments)


def test_an_answer_does_not_wait_for_the_client_to_acknowledge_its_head() -> None:
    with bind("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_every_line_on_standard_error_is_json(hum_model: Path) -> None:
    command = [*EMOSPEC, "serve", "--model", str(hum_model), "--port", "0"]
    with subprocess.Popen(
        [*command, "--host", "0.0.0.0", "--threads", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONWARNINGS": "default"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1].replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            client.post("/v1/predict", files=multipart([CLIP], "file"))
            client.get("/nowhere")
            # Uvicorn warns of this upgrade.
            client.get("/health", headers={"Upgrade": "h2c", "Connection": "Upgrade"})
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in process.communicate(timeout=60)[1].splitlines()]
    assert {"time", "level"} <= set.intersection(*(set(line) for line in lines))
    messages = [line["message"] for line in lines if "message" in line]
    assert any("is open to others" in message for message in messages)
    assert any("Unsupported upgrade" in message for message in messages)
    assert [line["route"] for line in lines if "route" in line] == ["/v1/predict", "other", "/health"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_shutdown_answers_all_requests_that_have_come(
    hum_model: Path, tmp_path: Path, request: pytest.FixtureRequest, stop: signal.Signals
) -> None:
    """A signal to the whole process tree, as from systemd or a terminal, ends the server, and no process is left."""
    log = (tmp_path / "log").open("w+")
    command = ["serve", "--model", str(hum_model), "--port", "0", "--threads", "1"]
    process = subprocess.Popen([*EMOSPEC, *command], stdout=subprocess.PIPE, stderr=log, text=True)
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
            requests = [pool.submit(client.post, "/v1/timeline", files={"file": (name, long)})]
            requests += [
                pool.submit(client.post, "/v1/predict", files={"file": (name, CLIP)}) for _ in range(7)
            ]
            until(lambda: "emospec_queue_depth 8.0" in client.get("/metrics").text or requests[-1].done())
            ours, *started = family(process.pid)
            for pid in (*started, ours):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, stop)
            assert [answer.result().status_code for answer in requests] == [200] * 8
    assert process.wait(30) in (0, -stop)
    assert len(started) >= 3  # the forkserver, its resource tracker, and a decoder
    until(lambda: not any(Path(f"/proc/{child}").exists() for child in started))
    process.stdout.close()
    log.seek(0)
    text = log.read()
    assert '"route": "/v1/predict", "status": 200' in text
    *lines, last = map(json.loads, text.splitlines())
    assert last["message"].startswith("stopped: what had come by then was finished")
    for line in lines:
        assert set(line) == {"time", "level", "method", "route", "status", "ms"}, "the log says too much"
    log.close()


def hostile_folder(folder: Path) -> Path:
    """Return a folder of modules that write a marker when they run, as one that was downloaded might have."""
    folder.mkdir()
    names = "dis emospec inspect json numpy random signal soundfile struct tempfile multiprocessing joblib"
    for name in names.split():
        (folder / f"{name}.py").write_text(f"open(r'{folder}/marker', 'a').write('{name} ')\n")
    return folder


def unguarded() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}


def test_the_current_folder_is_not_on_the_servers_path(tmp_path: Path, hum_model: Path) -> None:
    folder = hostile_folder(tmp_path / "downloads")
    command = Path(sys.executable).with_name("emospec")
    if not command.exists():
        pytest.skip("emospec is not installed as a command")
    with subprocess.Popen(
        [command, "serve", "--model", hum_model, "--port", "0", "--threads", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=unguarded(),
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
                for route in ("predict", "timeline"):
                    answer = client.post(f"/v1/{route}", files={"file": ("a.wav", wav(tone(440, 1.0)))})
                    assert answer.status_code == 200, answer.text
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert not (folder / "marker").exists(), (folder / "marker").read_text()


def test_the_current_folder_is_not_on_a_workers_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky import get_reusable_executor

    folder = hostile_folder(tmp_path / "downloads")
    get_reusable_executor().shutdown(wait=True)  # of an earlier test, from another folder
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with open_workers(2) as work:
        assert sorted(work(joblib.delayed(abs)(k) for k in range(4))) == [0, 1, 2, 3]
    assert "PYTHONSAFEPATH" not in os.environ
    assert not (folder / "marker").exists(), (folder / "marker").read_text()
    get_reusable_executor().shutdown(wait=True)  # its folder will be gone
