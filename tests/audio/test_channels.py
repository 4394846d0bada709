"""One channel of several is chosen; a mean that cancels or mixes two talkers gives a warning, one of a room does not."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from conftest import error_of
from emospec.audio.channels import ChannelMeter
from emospec.audio.reader import read_audio, read_blocks
from emospec.audio.samples import from_samples
from emospec.data.corpora.demo import utterance
from emospec.errors import AudioError
from emospec.inference.recognizer import Recognizer
from emospec.inference.recordings import RecordingReader

RATE = 16_000
Sound = NDArray[np.float64]


def talk(speaker: int, emotion: str, seconds: float = 4.0) -> Sound:
    words = [utterance(speaker, emotion, take).astype(np.float64) for take in (1, 2, 3, 4)]
    return np.resize(np.concatenate(words), round(seconds * RATE)) * 0.5


def echo(seed: int, delay: int) -> Sound:
    """A room's answer at one microphone: the direct sound, then a tail of its own."""
    tail = np.random.default_rng(seed).normal(0, 0.05, 4000) * np.exp(-np.arange(4000) / 1200)
    tail[delay] += 1.0
    return tail


def wav(samples: Sound, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, "FLOAT", format="WAV")
    return file.getvalue()


ANN, BOB = talk(1, "angry"), talk(2, "sad")
SILENCE = np.zeros_like(ANN)
HISS = np.random.default_rng(0).normal(0, 1, (4, len(ANN)))
TURNS = np.concatenate([ANN, SILENCE]), np.concatenate([SILENCE, BOB])


def said(*channels: Sound) -> str:
    """The warnings of a file and of its samples, which are the same."""
    samples = np.stack(channels, axis=1)
    ear = RecordingReader(1400, 5.0)
    of_file = [w for w in ear.read(wav(samples)).warnings if "channels" in w]
    of_samples = [w for w in ear.read(samples, RATE).warnings if "channels" in w]
    assert of_file == of_samples == ear.channel_warnings(wav(samples))
    assert len(of_file) < 2
    return "".join(of_file)


@pytest.mark.parametrize(
    "channels",
    [
        (ANN, ANN),
        (ANN, 0.2 * ANN),
        (ANN, SILENCE),
        (ANN, SILENCE + 0.001 * HISS[0]),
        (ANN, np.roll(ANN, 16)),  # 1 ms: a microphone 34 cm away
        (np.convolve(ANN, echo(1, 0))[: len(ANN)], np.convolve(ANN, echo(2, 9))[: len(ANN)]),
        (ANN + 0.4 * BOB, ANN + 0.2 * BOB),  # mixed for two loudspeakers
        (ANN + 0.002 * HISS[0], ANN + 0.002 * HISS[1]),
        (1e-4 * HISS[0], 1e-4 * HISS[1]),
        (ANN, ANN, ANN, ANN, ANN, ANN),
    ],
    ids=["mono", "panned", "one", "hiss", "late", "room", "mix", "noise", "quiet", "six"],
)
def test_channels_of_one_source_give_no_warning(channels: tuple[Sound, ...]) -> None:
    assert said(*channels) == ""


@pytest.mark.parametrize(
    "channels",
    [
        (ANN, BOB),
        TURNS,
        (TURNS[0] + 0.1 * TURNS[1], TURNS[1] + 0.1 * TURNS[0]),  # each faintly in the other's microphone
        (ANN, 0.3 * BOB),
        (0.1 * HISS[0], 0.1 * HISS[1]),
        (ANN, BOB, SILENCE),
    ],
    ids=["at once", "turns", "crosstalk", "softer", "steady", "three"],
)
def test_two_talkers_on_a_channel_each_give_a_warning(channels: tuple[Sound, ...]) -> None:
    assert "channels differ, as of two speakers" in said(*channels)
    assert f"--channel (1 to {len(channels)})" in said(*channels)


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_channels_that_cancel_give_a_warning(scale: float) -> None:
    assert "channels cancel each other" in said(ANN, -scale * ANN)
    assert "--channel (1 to 2)" in said(ANN, -scale * ANN)


def test_channels_outside_the_span_give_no_warning() -> None:
    ear = RecordingReader(200, 5.0)  # 2 s
    apart = np.stack([np.concatenate([ANN, ANN, BOB]), np.concatenate([BOB, ANN, ANN])], axis=1)
    assert not [w for w in ear.read(wav(apart)).warnings if "channels" in w]
    assert [w for w in RecordingReader(0, 5.0).read(wav(apart)).warnings if "channels" in w]


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_channel_is_that_channel_alone(rate: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (rate, 3)).astype(np.float32).astype(np.float64)
    (tmp_path / "a.wav").write_bytes(wav(samples, rate))
    for number in (1, 2, 3):
        alone = read_audio(wav(samples[:, number - 1], rate))
        np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", channel=number), alone)
        blocks = read_blocks(tmp_path / "a.wav", 0.1, channel=number)
        np.testing.assert_array_equal(np.concatenate(list(blocks)), alone)
        np.testing.assert_array_equal(from_samples(samples, rate, number), alone)


@pytest.mark.parametrize("channel", ["1", 1.0, True])
def test_a_channel_is_a_whole_number(channel: Any) -> None:
    for read in (
        lambda: read_audio(wav(ANN), channel=channel),
        lambda: from_samples(np.stack([ANN, BOB], axis=1), RATE, channel),
    ):
        with pytest.raises(AudioError, match=f"channel is {channel!r}, allowed is a whole number from 1"):
            read()


@pytest.mark.parametrize("channel", [0, 3, -1])
def test_a_channel_that_is_not_there_raises(channel: int) -> None:
    stereo = np.stack([ANN, BOB], axis=1)
    for read in (
        lambda: read_audio(wav(stereo), channel=channel),
        lambda: from_samples(stereo, RATE, channel),
    ):
        with pytest.raises(
            AudioError, match=f"has 2 channels, so there is no channel {channel}. Choose 1 to 2"
        ):
            read()
    with pytest.raises(AudioError, match="has 1 channel, so there is no channel 2"):
        read_audio(wav(ANN), channel=2)


def test_the_blocks_of_a_meter_do_not_hang_on_how_it_is_fed() -> None:
    stereo = np.stack(TURNS, axis=1).astype(np.float32)
    whole, parts = ChannelMeter(), ChannelMeter()
    whole.push(stereo, RATE)
    for first in range(0, len(stereo), 777):
        parts.push(stereo[first : first + 777], RATE)
    assert list(whole.warnings(0, 8)) == list(parts.warnings(0, 8)) != []


def test_a_recogniser_predicts_from_the_channel(recognizer: Recognizer, tmp_path: Path) -> None:
    stereo = np.stack([ANN, BOB], axis=1)
    (tmp_path / "call.wav").write_bytes(wav(stereo))
    for number, alone in ((1, ANN), (2, BOB)):
        expected = recognizer.predict(wav(alone))
        for recording, rate in ((tmp_path / "call.wav", None), (stereo.astype(np.float32), RATE)):
            found = recognizer.predict(recording, rate, channel=number)
            assert found.probabilities == expected.probabilities
            assert not [w for w in found.warnings if "channels" in w]
        np.testing.assert_array_equal(recognizer.embed(tmp_path / "call.wav", channel=number), expected.z)
        timeline = recognizer.timeline(tmp_path / "call.wav", channel=number)
        assert timeline.segments == recognizer.timeline(wav(alone)).segments
    (many,) = recognizer.predict([tmp_path / "call.wav"], channel=2)
    assert many.probabilities == recognizer.predict(wav(BOB)).probabilities  # type: ignore[union-attr]


def test_the_command_line_names_the_channels_that_are_there(
    hum_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "call.wav").write_bytes(wav(np.stack([ANN, BOB], axis=1)))
    printed = error_of(
        monkeypatch, capsys, "timeline", tmp_path / "call.wav", "--model", hum_model, "--channel", 3
    )
    assert "has 2 channels, so there is no channel 3. Choose 1 to 2" in printed
