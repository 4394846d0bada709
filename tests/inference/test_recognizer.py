"""A model in use: a prediction is the network's, the same alone and in any batch."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from conftest import tone
from emospec.audio.reader import read_audio
from emospec.audio.samples import from_samples
from emospec.cli import app
from emospec.data.pack import Pack
from emospec.errors import AudioError, EmospecError, ModelError, TimelineError
from emospec.inference.model import Class, load_model
from emospec.inference.prediction import Failure, Prediction
from emospec.inference.quality import quality_warnings
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing
from emospec.learning.learner import Learner
from emospec.runs.record import read_run


@pytest.fixture(scope="module")
def files(hum_pack: Pack) -> list[Path]:
    return [u.file for u in hum_pack.utterances]


def test_predictions_are_those_of_the_network(
    recognizer: Recognizer, hum_run: Path, files: list[Path]
) -> None:
    learner = Learner.load(hum_run / "model")
    temperature = recognizer.model.temperature
    for file in files[:6]:
        waveform = torch.from_numpy(read_audio(file))
        z, probabilities = learner.forward_waveforms(waveform[None], torch.tensor([len(waveform)]))
        expected = (probabilities[0].log() / temperature).softmax(0)
        prediction = recognizer.predict(file)
        np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-4)
        np.testing.assert_allclose(prediction.z, z[0], atol=1e-4)
        assert prediction.emotion == learner.classes[int(expected.argmax())]
        assert prediction.confidence == pytest.approx(float(expected.max()), abs=1e-4)
        assert prediction.span == (0.0, prediction.seconds)


def test_alone_in_a_list_and_shuffled_are_the_same(recognizer: Recognizer, files: list[Path]) -> None:
    alone = [recognizer.predict(file) for file in files[:12]]
    order = np.random.default_rng(0).permutation(12)
    together = recognizer.predict([files[i] for i in order])
    for place, result in zip(order, together, strict=True):
        assert isinstance(result, Prediction)
        assert result.recording == alone[place].recording
        np.testing.assert_allclose(result.z, alone[place].z, atol=1e-5)
        assert result.probabilities == pytest.approx(alone[place].probabilities, abs=1e-5)


def test_bytes_and_samples_are_predicted_as_their_file(recognizer: Recognizer, tmp_path: Path) -> None:
    stereo = (np.stack([tone(400, 1.0, 48_000), tone(900, 1.0, 48_000)], axis=1) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", stereo, 48_000)
    prediction = recognizer.predict(tmp_path / "a.wav")
    for other in (
        recognizer.predict((tmp_path / "a.wav").read_bytes()),
        recognizer.predict(stereo, 48_000),
        recognizer.predict(stereo / 32768, 48_000),
    ):
        assert other.probabilities == pytest.approx(prediction.probabilities, abs=1e-6)
    with pytest.raises(AudioError, match="sample_rate"):
        recognizer.predict(stereo)
    with pytest.raises(AudioError, match="complex64"):
        recognizer.predict(stereo.astype(np.complex64), 48_000)


def test_a_bad_recording_does_not_stop_the_others(
    recognizer: Recognizer, files: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not audio")
    first, second, third = recognizer.predict([files[0], bad, files[1]])
    assert isinstance(first, Prediction)
    assert isinstance(third, Prediction)
    assert isinstance(second, Failure)
    assert second.recording == str(bad)
    assert "cannot be decoded" in second.error
    assert np.isnan(recognizer.embed([files[0], bad])[1]).all()
    assert recognizer.embed([]).shape == (0, 64)
    with pytest.raises(AudioError, match="cannot be decoded"):
        recognizer.predict(bad)


@pytest.mark.parametrize("seconds", [20.0, 100.0])
def test_of_a_long_recording_the_central_part_is_used(
    recognizer: Recognizer, seconds: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    waveform = rng.normal(0, 0.01, int(seconds * 16_000)).astype(np.float32)
    waveform[len(waveform) // 2 :][:32_000] += tone(500, 2.0)
    soundfile.write(tmp_path / "long.wav", waveform, 16_000, subtype="FLOAT")
    prediction = recognizer.predict(tmp_path / "long.wav")
    assert prediction.seconds == seconds
    assert prediction.span[1] - prediction.span[0] == pytest.approx(14.0)
    assert sum(prediction.span) / 2 == pytest.approx(seconds / 2, abs=0.02)
    assert any("central part" in words and "timeline" in words for words in prediction.warnings)
    whole, _ = recognizer.forward([waveform])
    np.testing.assert_allclose(list(prediction.probabilities.values()), whole[0], atol=1e-5)
    assert recognizer.predict(waveform, 16_000).span == prediction.span


def test_abstaining(recognizer: Recognizer, files: list[Path]) -> None:
    file = min(files, key=lambda clip: recognizer.predict(clip).confidence)
    prediction = recognizer.predict(file)
    assert recognizer.predict(file, abstain_below=prediction.confidence + 1e-6).emotion is None
    assert recognizer.predict(file, abstain_below=prediction.confidence - 1e-6).emotion == prediction.emotion
    for beyond in (1.1, -0.1, float("nan")):
        for arguments in (files[0], files[:2]):
            with pytest.raises(ModelError, match=f"abstain_below is {beyond:g}: choose 0"):
                recognizer.predict(arguments, abstain_below=beyond)


def test_windows_too_short_to_split_speech_by(recognizer: Recognizer) -> None:
    waveform = tone(300, 2.0)
    with pytest.raises(TimelineError, match=r"a window of 0\.1 s is too short to split long speech by"):
        recognizer.timeline(waveform, 16_000, timing=Timing(0.1, 0.1), speech=True)
    recognizer.timeline(waveform, 16_000, timing=Timing(0.2, 0.2), speech=True)


@pytest.mark.parametrize("verb", ["timeline", "embed"])
def test_a_recording_is_not_written_over(
    verb: str, files: list[Path], hum_model: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "folder" / "a.wav"
    recording.parent.mkdir()
    recording.write_bytes(files[0].read_bytes())
    (tmp_path / "link.wav").symlink_to(recording)
    named = recording if verb == "timeline" else recording.parent
    arguments = [verb, str(named), "--out", str(tmp_path / "link.wav"), "--model", str(hum_model)]
    with pytest.raises(EmospecError, match=r"link\.wav is the recording itself\. Name another file"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert recording.read_bytes() == files[0].read_bytes()


def test_typicality_is_the_share_of_dev_that_lies_farther(
    recognizer: Recognizer, hum_run: Path, files: list[Path]
) -> None:
    features = read_run(hum_run).features()
    for file in files[:6]:
        prediction = recognizer.predict(file)
        assert prediction.emotion is not None
        of_class = features["label"] == prediction.emotion
        center = features["z"][of_class & (features["part"] == "train")].mean(axis=0)
        dev = features["z"][of_class & (features["part"] == "dev")]
        farther = [np.linalg.norm(z - center) >= np.linalg.norm(prediction.z - center) - 1e-6 for z in dev]
        assert prediction.typicality == pytest.approx(np.mean(farther), abs=1.01 / len(dev))


def test_a_class_by_example(hum_model: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(hum_model, threads=1)
    clips = [tone(hz, 0.7, level=0.2) for hz in (2900, 3000, 3100)]
    recognizer.enroll("whistling", clips, 16_000)
    prediction = recognizer.predict(tone(3050, 0.6), 16_000)
    centers = {c.name: c.center for c in recognizer.model.classes}
    nearest = min(centers, key=lambda name: np.linalg.norm(prediction.z - centers[name]))
    assert prediction.emotion == nearest == "whistling"
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)
    assert list(prediction.probabilities) == [*load_model(hum_model).names, "whistling"]

    recognizer.model.save(str(tmp_path / "more"))
    assert {p.name for p in tmp_path.iterdir()} == {"more"}
    with pytest.raises(ModelError, match="exists"):
        recognizer.model.save(tmp_path / "more")
    again = Recognizer(tmp_path / "more", threads=1)
    assert again.predict(tone(3050, 0.6), 16_000).probabilities == pytest.approx(prediction.probabilities)
    again.enroll("humming", [tone(700, 0.6)], 16_000)
    again.model.save(tmp_path / "more")
    assert load_model(tmp_path / "more").names == again.model.names
    assert again.predict(tone(700, 0.6), 16_000).typicality is None
    assert not any(c.examples for c in load_model(hum_model).classes)
    with pytest.raises(ModelError, match="was trained on"):
        recognizer.enroll("angry", clips, 16_000)
    with pytest.raises(ModelError, match="at least one recording"):
        recognizer.enroll("bored", [])


@pytest.mark.parametrize("speech", [False, True])
def test_a_class_that_is_added_meanwhile_waits(
    hum_model: Path, speech: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another thread of a server may add it, between the scores of a recording and their names."""
    recognizer = Recognizer(hum_model, threads=1)
    forward = recognizer.forward

    def enrolling(*arguments: Any) -> Any:
        scored = forward(*arguments)
        added = Class("whistling", np.zeros(64), np.zeros(0), examples=1)
        recognizer.model = recognizer.model.with_class(added)
        return scored

    monkeypatch.setattr(recognizer, "forward", enrolling)
    monkeypatch.setattr(
        "emospec.inference.recognizer.find_speech", lambda blocks: [(0.0, sum(map(len, blocks)) / 32_000)]
    )
    assert set(recognizer.predict(tone(300, 1.0), 16_000).probabilities) == {"angry", "sad"}
    recognizer.model = load_model(hum_model)
    assert recognizer.timeline(tone(300, 9.0), 16_000, speech=speech).classes == ("angry", "sad")


def test_int8_predicts_nearly_the_same(hum_model: Path, recognizer: Recognizer, files: list[Path]) -> None:
    rounded = Recognizer(hum_model, int8=True, threads=1)
    for file in files[:6]:
        assert rounded.predict(file).probabilities == pytest.approx(
            recognizer.predict(file).probabilities, abs=0.1
        )


def warned(waveform: np.ndarray[tuple[int], np.dtype[np.float32]], usual: float = 5.0) -> str:
    seconds = len(waveform) / 16_000
    return "; ".join(quality_warnings(waveform, seconds, (0.0, seconds), usual))


def test_warnings() -> None:
    speechlike = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    assert warned(speechlike) == ""
    assert "nearly silent: its peak is -200 dB" in warned(np.zeros(16_000, np.float32))
    assert "clipped" in warned(np.clip(20 * speechlike, -1, 1))
    loud = np.clip(np.random.default_rng(0).normal(0, 1, 88_200), -1, 1)
    assert "clipped" in warned(from_samples(loud, 44_100))
    assert "telephone" in warned(tone(1000, 1.0))
    assert "too short: 0.30 s" in warned(speechlike[:4800])
    assert "far longer than training: 12.0 s" in warned(np.tile(speechlike, 6), usual=4.0)


def test_the_command_line_predicts_the_same(
    hum_model: Path, recognizer: Recognizer, files: list[Path], tmp_path: Path
) -> None:
    for file in files[:3]:
        shutil.copy(file, tmp_path)
    expected = {str(tmp_path / f.name): recognizer.predict(f) for f in files[:3]}
    result = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(hum_model), "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["recording"] for row in rows] == sorted(expected)
    for row in rows:
        assert row["probabilities"] == pytest.approx(expected[row["recording"]].probabilities, abs=1e-5)

    (tmp_path / "bad.wav").write_bytes(b"no")
    result = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(hum_model), "--csv"])
    assert result.exit_code == 1
    head, *lines = result.stdout.splitlines()
    assert head == "recording,emotion,confidence,typicality,seconds,start,end,p_angry,p_sad,warnings,error"
    assert len(lines) == 4
    assert "bad.wav: cannot be decoded" in result.stderr

    content = files[0].read_bytes()
    result = CliRunner().invoke(app, ["predict", "-", "--model", str(hum_model)], input=content)
    assert result.exit_code == 0
    assert "stdin" in result.stdout
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "bad.wav"), "--model", str(hum_model)])
    assert result.exit_code == 2

    out = tmp_path / "z.npz"
    result = CliRunner().invoke(app, ["embed", str(files[0]), "--out", str(out), "--model", str(hum_model)])
    assert result.exit_code == 0
    with np.load(out, allow_pickle=False) as stored:
        np.testing.assert_allclose(stored["z"][0], recognizer.predict(files[0]).z, atol=1e-5)
