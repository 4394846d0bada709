"""Timelines of many recordings, in the formats that are named, and the results that remain after Ctrl-C."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

from conftest import tone
from emospec.cli import app
from emospec.cli.progress import timeline_progress
from emospec.cli.targets import unique_names
from emospec.data.corpora.demo import utterance
from emospec.errors import EmospecError, TimelineError
from emospec.inference.formats import FORMATS, format_for
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing
from emospec.inference.timeline import Segment, Timeline

TIMELINE = Timeline(
    "a.wav", 3.0, ("calm", "sad"), (Segment(0.0, 1.5, None, None), Segment(1.5, 3.0, "sad", 0.8, (0.2, 0.8)))
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of one name, a third and one that is damaged."""
    for place, name in (("one", "call.wav"), ("two", "call.wav"), ("two", "talk.flac")):
        (tmp_path / "in" / place).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / place / name, utterance(1, "angry", 1), 16_000)
    (tmp_path / "in" / "two" / "bad.wav").write_bytes(b"not audio")
    return tmp_path / "in"


@pytest.fixture
def run(hum_model: Path) -> Callable[..., Result]:
    def run(verb: str, *arguments: object) -> Result:
        words = [verb, *map(str, arguments), "--model", str(hum_model)]
        return CliRunner().invoke(app, words, catch_exceptions=False)

    return run


def test_a_folder_in_several_formats(run: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    result = run("timeline", folder, "--format", "csv", "--format", "textgrid", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "bad.wav: cannot be decoded" in result.stderr
    stems = ["one-call", "talk", "two-call"]
    expected = sorted(f"{stem}{suffix}" for stem in stems for suffix in (".csv", ".TextGrid"))
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == expected
    rows = list(csv.DictReader((tmp_path / "out" / "talk.csv").read_text().splitlines()))
    assert {row["recording"] for row in rows} == {"talk.flac"}
    assert (tmp_path / "out" / "talk.TextGrid").read_text().startswith('File type = "ooTextFile"')
    result = run(
        "timeline", folder / "two" / "bad.wav", folder / "two" / "bad.wav", "--out", tmp_path / "none"
    )
    assert result.exit_code == 2
    assert not (tmp_path / "none").exists()


def test_the_suffix_says_the_format(run: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    file = folder / "one" / "call.wav"
    for name, known in FORMATS.items():
        out = tmp_path / f"a{known.suffix.upper()}"
        assert run("timeline", file, "--out", out).exit_code == 0
        assert run("timeline", file, "--out", tmp_path / "named", "--format", name).exit_code == 0
        assert out.read_bytes() == (tmp_path / "named").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--out", "t.srt", "--format", "csv"],
            r"t.srt: .srt is a file of format srt, and csv was asked for",
        ),
        (["--out", "t.docx"], r"t.docx: its suffix says no format. Known: .csv, .json, .txt"),
        (["--format", "csv", "--format", "srt"], "go into a folder. Name it with --out"),
        (["--format", "csv", "--format", "srt", "--out", "t.csv"], "t.csv is a file's name"),
        (["--plot", "x.bmp"], r"x.bmp: a picture cannot be drawn as .bmp. Choose .png, .jpg"),
        (["--plot", "t.json", "--out", "t.json"], "a picture cannot be drawn as .json"),
    ],
)
def test_a_contradiction_is_refused_before_there_is_work(
    run: Callable[..., Result],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Recognizer, "timeline", None)
    with pytest.raises(EmospecError, match=words):
        run("timeline", folder / "one" / "call.wav", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_many_recordings_need_a_folder(run: Callable[..., Result], folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EmospecError, match="Name it with --out"):
        run("timeline", folder)
    with pytest.raises(EmospecError, match="is a file's name"):
        run("timeline", folder, "--out", tmp_path / "all.csv")
    with pytest.raises(EmospecError, match="draws one recording, found 4"):
        run("timeline", folder, "--out", tmp_path / "out", "--plot", tmp_path / "x.png")
    with pytest.raises(EmospecError, match=r"z is written as NPZ. Name a file \*\.npz"):
        run("embed", folder, "--out", tmp_path / "z.csv")


@pytest.mark.parametrize(
    ("suffix", "begin"), [("png", b"\x89PNG"), ("JPG", b"\xff\xd8\xff"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_picture_is_what_its_suffix_says(
    run: Callable[..., Result], folder: Path, tmp_path: Path, suffix: str, begin: bytes
) -> None:
    picture = tmp_path / f"x.{suffix}"
    result = run("timeline", folder / "one" / "call.wav", "--plot", picture)
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(begin)


def test_no_recording_is_written_over(run: Callable[..., Result], folder: Path) -> None:
    recording = (folder / "one" / "call.wav").rename(folder / "one" / "call.csv")
    before = recording.read_bytes()
    with pytest.raises(EmospecError, match="is the recording itself"):
        run("timeline", recording, "--out", recording)
    other = (folder / "two" / "call.wav").rename(folder / "one" / "call")
    with pytest.raises(EmospecError, match="is the recording itself"):
        run("timeline", other, recording, "--out", folder / "one")
    assert recording.read_bytes() == before


def test_a_hop_longer_than_the_window_is_refused_unless_speech_is_segmented() -> None:
    with pytest.raises(TimelineError, match=r"found a hop of 1 s and a window of 0\.5 s"):
        Timing.from_request(window_seconds=0.5)
    assert Timing.from_request(window_seconds=0.5, speech=True) == Timing(0.5, 0.5)
    assert Timing.from_request(speech=True) == Timing.from_request() == Timing()


def test_names_are_unique() -> None:
    paths = ["a/call.wav", "b/call.wav", "b/CALL.mp3", "c/a-call", "call.001", "call.002", "x.wav", "x.wav"]
    unique = unique_names([*map(Path, paths), b"", b""])
    assert len({name.casefold() for name in unique}) == len(unique)
    assert unique[4:] == ["call.001", "call.002", "x-1", "x-2", "stdin-1", "stdin-2"]
    assert unique_names([Path("a/one.wav"), Path("b/two.flac")]) == ["one", "two"]


def test_a_recording_without_speech_is_reported_once(run: Callable[..., Result], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hum.wav", tone(200, 4.0), 16_000)
    result = run("timeline", tmp_path / "hum.wav", "--plot", tmp_path / "a.png")
    assert result.exit_code == 0
    assert result.stderr.count("no speech found in hum.wav") == 1
    (row,) = csv.DictReader(result.stdout.splitlines())
    assert (row["emotion"], row["confidence"], row["p_sad"]) == ("", "", "")
    result = run("timeline", tmp_path / "hum.wav", "--no-speech-check")
    assert "no speech" not in result.stderr


def test_a_timeline_writes_itself(tmp_path: Path) -> None:
    TIMELINE.write(tmp_path / "x.TextGrid")
    TIMELINE.write(str(tmp_path / "x.lab"), "audacity")
    assert (tmp_path / "x.TextGrid").read_text().startswith('File type = "ooTextFile"')
    assert (tmp_path / "x.lab").read_text() == "1.500000\t3.000000\tsad\n"
    for path, form in (("x.docx", None), ("x", None), ("x.srt", "csv"), ("x.csv", "cvs")):
        with pytest.raises(TimelineError):
            TIMELINE.write(tmp_path / path, form)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.TextGrid", "x.lab"]
    assert format_for(Path("a.EAF")) == "elan"


def test_a_timeline_becomes_rows() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(TIMELINE.rows())
    assert list(table.columns) == [
        *("recording", "start_seconds", "end_seconds", "emotion", "confidence", "p_calm", "p_sad")
    ]
    assert table["p_sad"].isna().tolist() == [True, False]
    assert table["emotion"].isna().tolist() == [True, False]


class _Stopped:
    """Recordings of which the third is Ctrl-C."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer

    def predict_many(self, recordings: list[Path], **_: Any) -> Iterator[Any]:
        for recording in recordings[:2]:
            yield self.recognizer.predict(recording)
        raise KeyboardInterrupt

    def timeline(self, recording: Path, **options: Any) -> Timeline:
        if recording.name == "talk.flac":
            raise KeyboardInterrupt
        return self.recognizer.timeline(recording, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.recognizer, name)


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch, recognizer: Recognizer, folder: Path) -> list[Path]:
    monkeypatch.setattr("emospec.cli.options.ModelOptions.recognizer", lambda *_: _Stopped(recognizer))
    return [folder / "one" / "call.wav", folder / "two" / "call.wav", folder / "two" / "talk.flac"]


@pytest.mark.parametrize("form", ["--json", "--csv", ""])
def test_after_ctrl_c_the_predictions_are_printed(
    run: Callable[..., Result], stopping: list[Path], form: str
) -> None:
    result = run("predict", *stopping, *([form] if form else []))
    assert result.exit_code == 130
    assert "emospec: stopped. 2 of 3 recordings were predicted" in result.stderr
    if form == "--json":
        assert [row["recording"] for row in json.loads(result.stdout)] == list(map(str, stopping[:2]))
    else:
        assert len(result.stdout.splitlines()) == 3


def test_after_ctrl_c_the_features_are_written(
    run: Callable[..., Result], stopping: list[Path], tmp_path: Path
) -> None:
    result = run("embed", *stopping, "--out", tmp_path / "z.npz")
    assert result.exit_code == 130
    assert "emospec: stopped. z of 2 of 3 recordings is written" in result.stderr
    with np.load(tmp_path / "z.npz") as kept:
        assert kept["z"].shape == (2, 64)


def test_after_ctrl_c_the_timelines_that_were_made_are_there(
    run: Callable[..., Result], stopping: list[Path], tmp_path: Path
) -> None:
    result = run("timeline", *stopping, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "emospec: stopped. 2 of 3 timelines were made" in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_bulk_that_is_stopped_says_that_it_goes_on(
    run: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emospec.inference.bulk.score", stop)
    result = run("score", folder, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "emospec: stopped. Nothing was written" in result.stderr
    (tmp_path / "out").mkdir()
    assert "the same command goes on" in run("score", folder, "--out", tmp_path / "out").stderr


def test_how_far_a_timeline_is(
    recognizer: Recognizer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300, 40.0), 16_000)
    steps: list[float] = []
    recognizer.timeline(tmp_path / "a.wav", progress=steps.append)
    assert steps == [30.0, 10.0]
    monkeypatch.setattr("emospec.cli.progress._LINE_SECONDS", 0.0)
    with timeline_progress(2, 1) as begin:
        step = begin(tmp_path / "a.wav")
        for seconds in steps:
            step(seconds)
        begin(tmp_path / "missing.wav")(30.0)
    assert capsys.readouterr().err.splitlines() == [
        "recording 1 of 2, a.wav: 75 % done",
        "recording 1 of 2, a.wav: 100 % done",
        "recording 2 of 2, missing.wav: 30 s done",
    ]
    monkeypatch.setattr(sys, "stderr", _Terminal())
    with timeline_progress(1, 2) as begin:
        begin(tmp_path / "a.wav")(40.0)
    assert "50%" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_no_decoder_is_asked_how_long_a_recording_of_another_kind_is(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """libsndfile's decoder of MP3 writes on standard error of what is none."""
    monkeypatch.setattr("emospec.cli.progress._LINE_SECONDS", 0.0)
    file = tmp_path / "a.mp3"
    file.write_bytes(b"\0\0\0 ftypM4A " + bytes(20) + b"\xff\xfb\x90\x00" + bytes(413) + bytes(9000))
    with timeline_progress(1, 1) as begin:
        begin(file)(30.0)
    assert capfd.readouterr().err == "a.mp3: 30 s done\n"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is a pty")
@pytest.mark.parametrize("verb", [["timeline"], ["predict", "--csv"], ["predict", "--json"]])
def test_a_bar_on_the_terminal_takes_nothing_of_the_output(
    hum_model: Path, folder: Path, verb: list[str]
) -> None:
    files = [folder / "one" / "call.wav", folder / "two" / "talk.flac"][: 2 if verb[0] == "predict" else 1]
    command = [
        sys.executable,
        "-c",
        "from emospec.cli import run_command_line; run_command_line()",
        *verb,
        *map(str, files),
    ]
    ours, theirs = os.openpty()
    try:
        result = subprocess.run(
            [*command, "--model", str(hum_model)], stdout=subprocess.PIPE, stderr=theirs, check=True
        )
        os.set_blocking(ours, False)
        bar = os.read(ours, 100_000)
    finally:
        os.close(theirs)
        os.close(ours)
    assert result.stdout.count(b"call.wav") == 1
    assert b"call.wav" not in bar
    assert b"%" in bar or b"2/2" in bar
