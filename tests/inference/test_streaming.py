"""A stream predicts every window as a file of its own, however it arrives; a timeline is that stream."""

import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from conftest import tone
from emospec.audio.reader import read_audio
from emospec.cli import app
from emospec.cli.microphone import microphone
from emospec.errors import AudioError, EmospecError, ModelError, TimelineError
from emospec.inference.plot import draw, overview, to_image
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing, WindowPrediction
from emospec.inference.vad import find_speech

# The model of these tests learned to hum, which no voice detector takes for speech.
TIMING = Timing(
    window_seconds=1.0, hop_seconds=0.25, smoothing_seconds=0.5, minimum_seconds=0.5, check_speech=False
)
SAMPLES = 5 * 16_000 + 123


@pytest.fixture(scope="module")
def waveform() -> NDArray[np.float32]:
    """Low, high, low: sad, angry, sad for the model of the humming corpus."""
    parts = [tone(300, 2.0), tone(900, 1.5), tone(300, 2.0)]
    return np.concatenate(parts)[:SAMPLES]


@pytest.fixture(scope="module")
def recording(waveform: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "hum.wav"
    soundfile.write(file, waveform, 16_000, subtype="FLOAT")
    return file


def stream_all(
    recognizer: Recognizer, waveform: NDArray[np.float32], sizes: list[int]
) -> list[WindowPrediction]:
    stream = recognizer.stream(16_000, TIMING)
    predictions, place, k = [], 0, 0
    while place < len(waveform):
        predictions += stream.push(waveform[place : place + sizes[k % len(sizes)]])
        place, k = place + sizes[k % len(sizes)], k + 1
    return predictions + stream.finish()[0]


def test_a_window_is_predicted_as_a_file_of_its_own(
    recognizer: Recognizer, waveform: NDArray[np.float32]
) -> None:
    predictions = stream_all(recognizer, waveform, [1600])
    assert [m.start_seconds for m in predictions] == [0.25 * k for k in range(len(predictions))]
    assert len(predictions) == (SAMPLES - 16_000) // 4000 + 1
    for prediction in predictions:
        start, end = round(prediction.start_seconds * 16_000), round(prediction.end_seconds * 16_000)
        alone = recognizer.predict(waveform[start:end], 16_000)
        assert prediction.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=4))
def test_chunks_do_not_matter(
    recognizer: Recognizer, waveform: NDArray[np.float32], sizes: list[int]
) -> None:
    if sum(sizes) < 500:
        sizes = [500]
    expected = stream_all(recognizer, waveform, [len(waveform)])
    for first, other in zip(expected, stream_all(recognizer, waveform, sizes), strict=True):
        assert first.smoothed == pytest.approx(other.smoothed, abs=1e-5)
        assert (first.start_seconds, first.end_seconds) == (other.start_seconds, other.end_seconds)


def test_a_prediction_comes_with_the_last_sample_of_its_window(
    recognizer: Recognizer, waveform: NDArray[np.float32]
) -> None:
    stream = recognizer.stream(16_000, TIMING)
    assert stream.push(waveform[:15_999]) == []
    assert len(stream.push(waveform[15_999:16_000])) == 1
    assert TIMING.latency_seconds == 0.625


def test_a_stream_shorter_than_a_window_is_one_window(
    recognizer: Recognizer, waveform: NDArray[np.float32]
) -> None:
    stream = recognizer.stream(16_000, TIMING)
    assert stream.push(waveform[:8000]) == []
    (prediction,), segments = stream.finish()
    assert (prediction.start_seconds, prediction.end_seconds) == (0.0, 0.5)
    assert [(s.start_seconds, s.end_seconds) for s in segments] == [(0.0, 0.5)]


def test_a_bad_chunk_is_refused_and_the_stream_goes_on(
    recognizer: Recognizer, waveform: NDArray[np.float32]
) -> None:
    stream = recognizer.stream(16_000, TIMING)
    stream.push(waveform[:10_000])
    with pytest.raises(AudioError, match="NaN"):
        stream.push(np.full(10, np.nan, np.float32))
    assert len(stream.push(waveform[10_000:16_000])) == 1
    with pytest.raises(TimelineError, match="hop"):
        recognizer.stream(16_000, Timing(window_seconds=1.0, hop_seconds=2.0))


def test_a_timeline_is_the_stream_of_its_file(
    recognizer: Recognizer, recording: Path, waveform: NDArray[np.float32]
) -> None:
    timeline = recognizer.timeline(recording, timing=TIMING)
    assert timeline.recording == "hum.wav"
    assert timeline.duration_seconds == SAMPLES / 16_000
    edges = [s.start_seconds for s in timeline.segments] + [timeline.segments[-1].end_seconds]
    assert edges[0] == 0.0
    assert edges[-1] == timeline.duration_seconds
    assert all(
        a.end_seconds == b.start_seconds
        for a, b in zip(timeline.segments, timeline.segments[1:], strict=False)
    )
    assert [s.emotion for s in timeline.segments] == ["sad", "angry", "sad"]
    stream = recognizer.stream(16_000, TIMING)
    predictions = stream.push(waveform)
    last, rest = stream.finish()
    streamed = [s for m in [*predictions, *last] for s in m.segments] + rest
    assert [(s.start_seconds, s.end_seconds, s.emotion) for s in streamed] == [
        (s.start_seconds, s.end_seconds, s.emotion) for s in timeline.segments
    ]
    assert recognizer.timeline(waveform, 16_000, timing=TIMING).segments == timeline.segments


def test_silence_has_no_speech(recognizer: Recognizer) -> None:
    timeline = recognizer.timeline(np.zeros(50_000, np.float32), 16_000, speech=True)
    assert [s.emotion for s in timeline.segments] == [None]
    assert timeline.duration_seconds == 50_000 / 16_000
    assert find_speech([]) == []


def test_the_command_line_writes_every_format(
    recording: Path, hum_model: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    options = [
        "--model",
        str(hum_model),
        "--window",
        "1",
        "--hop",
        "0.25",
        "--smoothing",
        "0.5",
        "--minimum",
        "0.5",
        "--no-speech-check",
    ]
    result = CliRunner().invoke(app, ["timeline", str(recording), "--format", "json", *options])
    assert result.exit_code == 0, result.output
    expected = recognizer.timeline(recording, timing=TIMING)
    assert [s["emotion"] for s in json.loads(result.stdout)["segments"]] == [
        s.emotion for s in expected.segments
    ]
    grid, picture = tmp_path / "a.TextGrid", tmp_path / "a.png"
    arguments = ["timeline", "-", "--format", "textgrid", "--out", str(grid), "--plot", str(picture)]
    result = CliRunner().invoke(app, [*arguments, *options], input=recording.read_bytes())
    assert result.exit_code == 0, result.output
    assert grid.read_text().startswith('File type = "ooTextFile"')
    assert picture.read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(app, ["timeline", "-", *options], input=recording.read_bytes())
    assert {row.split(",")[0] for row in result.stdout.splitlines()[1:]} == {"stdin"}
    with pytest.raises(TimelineError, match="'textgrd' is not known, did you mean 'textgrid'"):
        CliRunner().invoke(app, ["timeline", str(recording), "--format", "textgrd"], catch_exceptions=False)


def test_the_columns_of_a_picture_hold_the_recording(recognizer: Recognizer, recording: Path) -> None:
    waveform = read_audio(recording)
    picture = overview([waveform[:30_000], waveform[30_000:]], len(waveform))
    assert picture.high.max() == waveform.max()
    assert picture.low.min() == waveform.min()
    loudest = picture.power.argmax(axis=1) * 16_000 / 512
    middle = loudest[int(len(loudest) * 2.75 / 5)]
    assert middle == pytest.approx(900, abs=32)
    assert loudest[len(loudest) // 10] == pytest.approx(300, abs=32)
    assert to_image(draw(recognizer.timeline(recording, timing=TIMING), picture)).startswith(b"\x89PNG")


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A stand-in for PortAudio at 32 kHz: a stream plays `portaudio.sound` when it starts, and more by `play`."""
    fake = types.SimpleNamespace(
        PortAudioError=RuntimeError,
        query_devices=lambda *_: {"default_samplerate": 32_000.0},
        sound=np.zeros(0, np.float32),
    )

    class InputStream:
        def __init__(self, rate: int, size: int, device: object, **options: object) -> None:
            self.size, self.callback = size, options["callback"]
            fake.play = self.play

        def play(self, sound: NDArray[np.float32]) -> None:
            for place in range(0, len(sound), self.size):
                self.callback(sound[place : place + self.size, None])  # type: ignore[operator]

        def start(self) -> None:
            self.play(fake.sound)

        def __enter__(self) -> "InputStream":
            return self

        def __exit__(self, *_: object) -> None: ...

    fake.InputStream = InputStream
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return fake


def test_the_microphone(
    hum_model: Path, waveform: NDArray[np.float32], portaudio: types.SimpleNamespace
) -> None:
    portaudio.sound = np.repeat(waveform, 2)
    options = ["--model", str(hum_model), "--seconds", "4", "--window", "1", "--hop", "0.5"]
    options.append("--no-speech-check")
    result = CliRunner().invoke(app, ["listen", "--json", *options])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["start_seconds"] for row in rows] == [0.5 * k for k in range(7)]
    assert rows[0]["emotion"] == "sad"
    result = CliRunner().invoke(app, ["listen", *options])
    assert "sad" in result.stdout

    def broken(*_: object) -> None:
        raise RuntimeError("no such device")

    portaudio.query_devices = broken
    with pytest.raises(AudioError, match="cannot be opened: no such device"):
        CliRunner().invoke(app, ["listen", *options], catch_exceptions=False)


def test_a_slow_reader_of_the_microphone_loses_sound_not_memory(
    portaudio: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rate, sound = 32_000, np.arange(25 * 32_000, dtype=np.float32)
    with microphone("", 37.0) as (_, chunks):
        # Nobody takes any of it: 10 s wait, the next chunk drops them, and so again after 20 s.
        portaudio.play(sound)
        taken = [next(chunks) for _ in range(50)]
        np.testing.assert_array_equal(np.concatenate(taken)[:, 0], sound[20 * rate :])
        assert capsys.readouterr().err.startswith("emospec: 20.0 s of sound were dropped")
        portaudio.play(sound[: 12 * rate])
        np.testing.assert_array_equal(np.concatenate(list(chunks))[:, 0], sound[10 * rate : 12 * rate])
        assert capsys.readouterr().err.count("emospec: 10.0 s of sound were dropped") == 1

    monkeypatch.setattr("emospec.cli.microphone._LOST_SECONDS", 0.01)
    with microphone("") as (_, chunks), pytest.raises(AudioError, match="still connected"):
        next(chunks)


def test_no_window_is_longer_than_the_crop(recognizer: Recognizer) -> None:
    with pytest.raises(TimelineError, match=r"15 s is longer than the 14 s that the model uses"):
        recognizer.stream(16_000, Timing(window_seconds=15.0))
    with pytest.raises(TimelineError, match="0 s or more"):
        Timing(smoothing_seconds=-1.0)


def test_a_stream_keeps_the_classes_it_began_with(hum_model: Path, waveform: NDArray[np.float32]) -> None:
    recognizer = Recognizer(hum_model, threads=1)
    stream = recognizer.stream(16_000, TIMING)
    stream.push(waveform[:16_000])
    recognizer.enroll("whistling", [tone(3000, 0.7)], 16_000)
    (prediction,) = stream.push(waveform[16_000:20_000])
    assert set(prediction.probabilities) == {"angry", "sad"}
    assert "whistling" in recognizer.stream(16_000, TIMING).push(waveform[:16_000])[0].probabilities


def test_nothing_is_predicted_that_cannot_be_written(
    hum_model: Path, recording: Path, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing" / "a")
    for verb in (
        ["timeline", str(recording), "--out"],
        ["timeline", str(recording), "--plot"],
        ["embed", str(recording), "--out"],
    ):
        with pytest.raises(EmospecError, match="there is no folder"):
            CliRunner().invoke(app, [*verb, missing, "--model", str(hum_model)], catch_exceptions=False)
    with pytest.raises(EmospecError, match="exclude each other"):
        CliRunner().invoke(app, ["predict", str(recording), "--json", "--csv"], catch_exceptions=False)


def test_odd_names_are_printed_not_lost(hum_model: Path, recording: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path / "x") + b"\xff\n.wav"
    Path(os.fsdecode(odd)).write_bytes(recording.read_bytes())
    result = CliRunner().invoke(
        app, ["predict", str(tmp_path), "n" * 300, "--model", str(hum_model), "--json"]
    )
    assert result.exit_code == 1, result.output
    first, other = json.loads(result.stdout)
    assert first["recording"].endswith(r"x\udcff\n.wav")
    assert "too long" in other["error"]
    with pytest.raises(ModelError, match="cannot be opened"):
        Recognizer("m" * 300)
