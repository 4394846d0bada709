"""The demo from end to end, as a newcomer runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
def test_the_demo_shows_what_centre_loss_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emospec", "demo", "--out", str(tmp_path / "demo"), "--json"]
    first = subprocess.run(command, check=True, capture_output=True, text=True)
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
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(again.stdout) == printed
