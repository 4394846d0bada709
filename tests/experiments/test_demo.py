"""The demo from end to end, as a newcomer runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emospec.cli import app


@pytest.mark.full
def test_the_demo_shows_what_centre_loss_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["demo", "--out", str(tmp_path / "demo"), "--json"]
    first = subprocess.run(
        [sys.executable, "-m", "emospec", *command], check=True, capture_output=True, text=True
    )
    printed = json.loads(first.stdout)
    scores = {s["setting"]: s for s in printed["settings"]}
    center, plain = scores["demo, λ 0.3, α 0.5"], scores["demo, λ 0"]
    assert center["speaker_overlap"] is False
    assert 0.70 <= center["UA"] <= 0.95
    assert plain["UA"] > 0.4
    report = Path(printed["report"]).read_text(encoding="utf-8")
    assert f"{100 * center['UA']:.1f}" in report
    distances = {
        name: json.loads((tmp_path / "demo" / name / "scores.json").read_text())["distances"]["test"]
        for name in ("with-centre-loss", "without-centre-loss")
    }
    ratio = {name: d["within"] / d["between"] for name, d in distances.items()}
    assert ratio["with-centre-loss"] < ratio["without-centre-loss"]
    # A second synthesis, which compares the files that are there, has a test of its own.
    monkeypatch.setattr("emospec.data.corpora.demo.synthesise", lambda *_, **__: 0)
    again = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(again.stdout) == printed
