"""The part of a long recording that is used, and warnings about that part alone."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from conftest import tone
from emospec.inference.quality import is_quiet, loudest_part
from emospec.inference.recognizer import Recognizer
from emospec.inference.recordings import DecodedRecording, RecordingReader
from emospec.inference.windows import Window

READER = RecordingReader(max_frames=1400, usual_seconds=20.0)
RATE = 16_000


def noise(seconds: float, level: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, level, round(seconds * RATE)).astype(np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * RATE), np.float32)


def read(*parts: NDArray[np.float32]) -> DecodedRecording:
    return READER.read(np.concatenate(parts), RATE)


@pytest.mark.parametrize("lead", [0.0, 20.0, 300.0])
@pytest.mark.parametrize("hiss", [0.0, 5e-4])
def test_where_the_middle_is_silent_the_part_with_sound_is_used(lead: float, hiss: float) -> None:
    parts = [silence(lead), noise(2.0), silence(300.0 if lead == 0.0 else 0.0)]
    whole = np.concatenate(parts)
    whole += hiss * np.random.default_rng(1).normal(0, 1, len(whole)).astype(np.float32)
    decoded = READER.read(whole, RATE)
    assert decoded.span == pytest.approx((max(0.0, lead - 0.2), lead + (2.0 if lead else 2.2)), abs=0.11)
    start = round(decoded.span[0] * RATE)
    np.testing.assert_array_equal(decoded.waveform, whole[start : start + len(decoded.waveform)])
    assert len(decoded.warnings) == 1
    assert "silent in the middle: judged by its part with most sound" in decoded.warnings[0]


@pytest.mark.parametrize("constant", [0.01, -0.3])
def test_a_constant_is_no_sound(constant: float) -> None:
    """As a sound card adds it: silence stays silence, and the sound beside it is used."""
    decoded = read(silence(20.25) + constant, noise(2.0) + constant)
    assert decoded.span == pytest.approx((20.0, 22.25), abs=0.11)
    (alone,) = read(silence(3.0) + constant).warnings
    assert alone.startswith("nearly silent: its peak is -")


def test_a_long_file_with_a_silent_middle_is_predicted_from_its_sound(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    whole = np.concatenate([silence(100.0), tone(300, 3.0), silence(10.0)])
    file = tmp_path / "late.wav"
    soundfile.write(file, whole, RATE, subtype="FLOAT")
    of_file, of_samples = recognizer.predict(file), recognizer.predict(whole, RATE)
    assert of_file.span == of_samples.span == pytest.approx((99.8, 103.2))
    assert of_file.probabilities == of_samples.probabilities
    assert recognizer.predict([file.read_bytes(), file])[0].facts() == {  # type: ignore[union-attr]
        **of_file.facts(),
        "recording": "recording",
    }


def test_a_recording_that_is_silent_throughout_keeps_its_middle() -> None:
    decoded = read(silence(30.0))
    assert decoded.span == (8.0, 22.0)
    assert "nearly silent" in decoded.warnings[0]
    assert "central part" in decoded.warnings[1]


def test_warnings_are_about_the_span() -> None:
    loud = np.clip(noise(5.0, 10.0), -1, 1)
    assert not any("clipped" in words for words in read(loud, noise(20.0), loud).warnings)
    assert any("clipped" in words for words in read(noise(10.0), *[loud] * 3, noise(10.0)).warnings)
    telephone = soxr.resample(soxr.resample(noise(16.0), RATE, 8000), 8000, RATE).astype(np.float32)
    assert any("telephone" in words for words in read(noise(4.0), telephone, noise(4.0)).warnings)
    assert not any("telephone" in words for words in read(telephone, noise(14.0), telephone).warnings)


def test_most_sound_goes_before_the_loudest_bang() -> None:
    bang = silence(0.1) + 0.9
    whole = np.concatenate([bang, silence(40.0), noise(6.0), silence(40.0)])
    part = loudest_part([whole[:700], whole[700:]], 14 * RATE)
    assert part is not None
    assert (part.start / RATE, part.end / RATE) == pytest.approx((39.9, 46.3), abs=0.11)
    assert loudest_part([silence(5.0)], 14 * RATE) is None
    assert loudest_part([noise(0.05)], 14 * RATE) == Window(0, 800)
    assert is_quiet(whole[10 * RATE : 24 * RATE], whole)
    assert not is_quiet(whole[38 * RATE : 52 * RATE], whole)


def test_a_faint_recording_keeps_its_middle() -> None:
    assert read(noise(30.0, 1e-3)).span == (8.0, 22.0)
