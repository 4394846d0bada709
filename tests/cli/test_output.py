"""Standard output in every state: without a character, closed, full, or without a reader."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from conftest import tone
from emospec.cli import run_command_line
from emospec.inference.streaming import WindowPrediction

NAMES = ["a.wav", "l'été.wav", "z.wav", "日本😀.wav"]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings whose names ASCII and Latin-1 lack characters of."""
    folder = tmp_path_factory.mktemp("named")
    for name in NAMES:
        soundfile.write(folder / name, tone(300, 0.5), 16_000)
    return folder


def ended(*words: object, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A verb in a process of its own, started by a shell that redirects its streams."""
    return subprocess.run(
        ["bash", "-c", f'"$0" -m emospec "$@" {redirect}', sys.executable, *map(str, words)],
        capture_output=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_row_is_lost_where_output_lacks_a_character(
    named: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = {}
    for form in ("--csv", "--json", ""):
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "argv", ["emospec", "predict", str(named), *[form] * bool(form)])
        with pytest.raises(SystemExit) as stop:
            run_command_line()
        assert stop.value.code == 0
        stream.flush()
        printed[form] = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    # JSON escapes what is missing in its own way, so it is the same JSON.
    assert sorted(Path(row["recording"]).name for row in json.loads(printed["--json"])) == sorted(NAMES)
    rows = list(csv.DictReader(io.StringIO(printed["--csv"])))
    assert len(rows) == len(printed[""].splitlines()) - 1 == len(NAMES)
    assert any("\\u65e5\\u672c\\ud83d\\ude00.wav" in row["recording"] for row in rows) == (
        encoding != "utf-8"
    )
    assert any("日本😀.wav" in row["recording"] for row in rows) == (encoding == "utf-8")


def test_every_kind_of_page_fits_into_ascii() -> None:
    for words in (["--help"], ["train", "--help"], ["corpora"], ["models"], ["predikt-ü"]):
        done = ended(*words, PYTHONIOENCODING="ascii")
        assert done.returncode == (2 if "ü" in words[0] else 0)
        assert b"Traceback" not in done.stderr
        assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize("words", [["predict", "--json"], ["models"], ["--help"], ["--version"]], ids=str)
def test_closed_output_is_one_line(words: list[str], named: Path) -> None:
    words = [*words, str(named / "a.wav")] if "predict" in words else words
    done = ended(*words, redirect=">&-")
    assert done.returncode == 2
    lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("model base: ")]
    assert lines == ["emospec: standard output: is closed. Direct it to a file or to /dev/null"]


def test_messages_that_nobody_can_read_do_not_lose_a_result_or_mix_with_it(named: Path) -> None:
    for redirect in ("2>&-", "2>/dev/full", "<&- 2>&-"):
        done = ended("predict", named / "a.wav", "nowhere.wav", "--json", redirect=redirect)
        assert done.returncode == 1
        rows = json.loads(done.stdout)  # the line on the default model is not in it
        assert [Path(row["recording"]).name for row in rows] == ["a.wav", "nowhere.wav"]
    assert ended("predict", "nowhere.wav", redirect="2>/dev/full").returncode == 2


def test_a_reader_that_leaves_ends_the_verb_in_silence() -> None:
    done = ended("corpora", redirect="| head -c 1")
    assert (done.stdout, done.stderr) == (b"i", b"")


def test_output_that_is_for_reading_only_is_one_line() -> None:
    done = ended("models", redirect="1</dev/null")
    assert (done.returncode, done.stderr) == (2, b"emospec: the output: Bad file descriptor\n")


def test_a_window_has_a_bar_that_the_output_can_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from emospec.cli.predictions import print_window

    for encoding, sign in (("ascii", "#"), ("utf-8", "█")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        print_window(WindowPrediction(0.0, 3.0, {"sad": 0.5}, {"sad": 0.5}, "sad", 0.5, ()), as_json=False)
        assert stream.buffer.getvalue().decode(encoding).strip().endswith(f"  {sign * 10}")  # type: ignore[attr-defined]
