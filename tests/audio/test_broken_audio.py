"""No recording, however broken, ends in anything but sound or one named error."""

from collections import Counter
from pathlib import Path

import pytest

from broken_audio import broken, run
from broken_use import MODEL

READERS = ["emospec.audio.reader:read_audio", "emospec.audio.reader:read_blocks", "broken_audio:every_way"]


def ends(folder: Path, count: int, target: str, seed: int) -> Counter[str]:
    outcomes = list(run((broken(folder, index, seed) for index in range(count)), target))
    wrong = [outcome for outcome in outcomes if not outcome.sound]
    assert not wrong, "\n".join(map(str, wrong))
    return Counter(outcome.end for outcome in outcomes)


def test_twenty_broken_recordings_are_read_or_raise(tmp_path: Path) -> None:
    found = ends(tmp_path, 20, "broken_audio:every_way", seed=1)
    assert found["waveform"]
    assert found["refused"]


@pytest.mark.full
@pytest.mark.parametrize("target", READERS)
def test_two_hundred_broken_recordings_are_read_or_raise(target: str, tmp_path: Path) -> None:
    found = ends(tmp_path, 200, target, seed=0)
    assert found["waveform"] > 20
    assert found["refused"] > 50


@pytest.mark.full
@pytest.mark.parametrize("target", ["broken_use:predicted", "broken_use:over_time"])
def test_two_hundred_broken_recordings_are_predicted_or_raise(
    target: str, hum_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODEL, str(hum_model))
    found = ends(tmp_path, 200, target, seed=0)
    assert found["result"] > 20
    assert found["refused"] > 50


def test_the_same_seed_breaks_the_same(tmp_path: Path) -> None:
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        recordings = [broken(folder, index, seed=3) for index in range(8)]
        made.append([(r.fault, Path(r.path).name, Path(r.path).stat().st_size) for r in recordings])
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("body", "end"),
    [
        ("import os; os.abort()", "crash"),
        pytest.param("import time; time.sleep(60)", "hang", marks=pytest.mark.full),
        pytest.param("while True: pass", "hang", marks=pytest.mark.full),
        ("bytearray(2**31)", "exception"),
        ("raise KeyError(path)", "exception"),
        ("from emospec.errors import AudioError; raise AudioError('two\\nlines')", "not one line"),
        ("import numpy as np; return np.full(5, np.nan, np.float32)", "not sound"),
        ("return 'sad'", "result"),
    ],
)
def test_the_runner_tells_what_went_wrong(
    body: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reader.py").write_text(f"def read(path):\n    {body}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    recordings = [broken(tmp_path, 0, seed=0)] * 2
    outcomes = list(run(recordings, "reader:read", seconds=0.5))
    assert [outcome.end for outcome in outcomes] == [end, end]
