"""Nothing leaves the machine: no file outside what was asked for, no socket but the server's own."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import soundfile

from conftest import tone

INET = re.compile(r"^\S+ +(?:socket\(AF_INET6?|(?:connect|sendto)\(.*sin6?_port)", re.MULTILINE)


def traced(command: list[str], log: Path) -> list[str]:
    """The command under strace, where strace is: its network calls go to `log`."""
    strace = shutil.which("strace")
    return (
        [strace, "-f", "--seccomp-bpf", "-qq", "-e", "trace=network", "-o", str(log), *command]
        if strace
        else command
    )


def fresh_home(folder: Path) -> dict[str, str]:
    """The environment of a user who has never run anything: nothing of ours set, and an empty home."""
    home = folder / "home"
    home.mkdir()
    ours = ("ORT_", "HF_", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"HOME": str(home), "COVERAGE_PROCESS_START": "", "no_proxy": "*"}


def files_below(folder: str) -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*"))


def test_predict_writes_nothing_and_opens_no_socket(tmp_path: Path, hum_model: Path) -> None:
    recording, log = tmp_path / "a.wav", tmp_path / "strace"
    soundfile.write(recording, tone(300, 1.0), 16_000)
    environment = fresh_home(tmp_path)
    command = [sys.executable, "-m", "emospec", "predict", str(recording), "--model", str(hum_model)]
    done = subprocess.run(traced(command, log), env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert files_below(environment["HOME"]) == []
    if log.exists():
        assert not INET.search(log.read_text(errors="replace"))


def test_serve_writes_nothing_and_connects_to_nobody(tmp_path: Path, hum_model: Path) -> None:
    recording, log = tmp_path / "a.wav", tmp_path / "strace"
    soundfile.write(recording, tone(300, 1.0), 16_000)
    environment = fresh_home(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "emospec", "serve", "--port", str(port), "--model", str(hum_model)]
    with subprocess.Popen(
        traced(command, log), env=environment, cwd=tmp_path, stderr=subprocess.PIPE
    ) as server:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                end = time.monotonic() + 60
                while True:
                    try:
                        if client.get("/ready").status_code == 200:
                            break
                    except httpx.TransportError:
                        pass
                    assert time.monotonic() < end, "the server did not start"
                    time.sleep(0.1)
                for route in ("predict", "timeline"):
                    field = "files" if route == "predict" else "file"
                    answer = client.post(f"/v1/{route}", files={field: recording.read_bytes()})
                    assert answer.status_code == 200, answer.text
        finally:
            subprocess.run(["pkill", "-TERM", "-f", f"emospec serve --port {port}"], check=False)
            server.communicate(timeout=60)
    assert files_below(environment["HOME"]) == []
    if log.exists():
        calls = log.read_text(errors="replace")
        assert not re.search(r"connect\(.*AF_INET", calls)
        assert not re.search(r"(sendto|sendmsg)\(.*sin6?_port=htons\(53\)", calls)


@pytest.mark.parametrize(
    "module", ["emospec", "emospec.serving.decoding", "emospec.inference.shard", "bench"]
)
def test_telemetry_is_off_before_onnxruntime_is_imported(module: str, tmp_path: Path) -> None:
    code = f"import {module}, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    root = str(Path(__file__).parents[2])
    environment = fresh_home(tmp_path) | {"PYTHONPATH": root}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == "1"
