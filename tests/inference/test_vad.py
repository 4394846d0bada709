"""Without speech there is no emotion, in a file as in a stream; and the detector takes one thread."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import SHARED, tone
from emospec.audio.reader import read_audio
from emospec.data.corpora.demo import EMOTIONS, utterance
from emospec.inference.prediction import Prediction
from emospec.inference.recognizer import Recognizer
from emospec.inference.segments import Smoother
from emospec.inference.streaming import Timing, WindowPrediction
from emospec.inference.vad import SpeechLog, speech_seconds
from emospec.inference.windows import Window

RATE = 16_000
NO_SPEECH = "no speech found"


def babble(seconds: float) -> NDArray[np.float32]:
    """Synthetic speech of one voice."""
    parts = [utterance(1, emotion, k) for k in (1, 2, 3) for emotion in EMOTIONS]
    return np.resize(np.concatenate(parts), round(seconds * RATE)).astype(np.float32)


def sounds() -> dict[str, NDArray[np.float32]]:
    """Four seconds each of what is no speech."""
    rng, seconds = np.random.default_rng(0), np.arange(4 * RATE) / RATE
    hiss = rng.normal(0, 0.1, 4 * RATE)
    spectrum = np.fft.rfft(hiss)
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), 4 * RATE)
    clicks = np.zeros(4 * RATE)
    clicks[:: RATE // 2] = 0.9
    chord = sum(0.15 * np.sin(2 * np.pi * hz * seconds) for hz in (220.0, 277.2, 329.6, 440.0))
    made = {
        "silence": np.zeros(4 * RATE),
        "faint hiss": 0.01 * hiss,
        "white noise": hiss,
        "pink noise": 0.1 * pink / pink.std(),
        "clicks": clicks,
        "low tone": tone(110, 4.0),
        "tone": tone(440, 4.0),
        "beeps": tone(800, 4.0) * (np.sin(2 * np.pi * seconds) > 0),
        "square": 0.3 * np.sign(np.sin(2 * np.pi * 200 * seconds)),
        "chord": chord,
    }
    return {name: np.asarray(sound, np.float32) for name, sound in made.items()}


@pytest.mark.parametrize(("name", "sound"), sounds().items(), ids=list(sounds()))
def test_what_is_no_speech_has_no_emotion(
    recognizer: Recognizer, name: str, sound: NDArray[np.float32]
) -> None:
    assert speech_seconds(sound) == 0.0, name
    timeline = recognizer.timeline(sound, RATE)
    assert [(s.start_seconds, s.end_seconds) for s in timeline.segments] == [(0.0, 4.0)]
    assert [(s.emotion, s.confidence, s.probabilities) for s in timeline.segments] == [(None, None, ())]
    assert not timeline.has_speech
    unchecked = recognizer.timeline(sound, RATE, timing=Timing(check_speech=False))
    assert unchecked.segments[0].emotion is not None


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_synthetic_speech_is_speech(recognizer: Recognizer, emotion: str) -> None:
    speech = utterance(2, emotion, 1).astype(np.float32)
    prediction = recognizer.predict(speech, RATE, check_speech=True)
    assert prediction.speech_seconds is not None
    assert 0.1 < prediction.speech_seconds <= prediction.seconds
    assert not any(NO_SPEECH in words for words in prediction.warnings)
    assert recognizer.timeline(speech, RATE).has_speech


@pytest.mark.skipif(not SHARED.is_dir(), reason="the corpora are not here")
@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "nemo", "crema_d", "turev", "emotiontts_ko"])
def test_real_speech_is_not_lost(corpus: str) -> None:
    with open(SHARED / corpus / "manifest.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sad = [row for row in rows if row["emotion"].lower().startswith("sad")]
    for row in [*rows[:: len(rows) // 3], *sad[:: len(sad) // 3]]:
        assert speech_seconds(read_audio(SHARED / corpus / row["file"])) > 0.1, row["file"]


def test_how_much_speech_is_said_where_it_is_asked(recognizer: Recognizer) -> None:
    silent = np.zeros(2 * RATE, np.float32)
    assert recognizer.predict(silent, RATE).speech_seconds is None
    none, some = recognizer.predict([silent, babble(2.0)], RATE, check_speech=True)
    assert isinstance(none, Prediction)
    assert isinstance(some, Prediction)
    assert none.facts()["speech_seconds"] == 0.0
    assert any(words.startswith(NO_SPEECH) for words in none.warnings)
    assert some.facts()["speech_seconds"] > 1.0
    assert none.probabilities == recognizer.predict(silent, RATE).probabilities


def test_windows_without_speech_are_passed_over(recognizer: Recognizer) -> None:
    speech, silence = babble(6.0), np.zeros(6 * RATE, np.float32)
    timeline = recognizer.timeline(np.concatenate([silence, speech, silence, speech]), RATE)
    assert [s.emotion is None for s in timeline.segments if s.end_seconds - s.start_seconds > 2][::2] == [
        True
    ] * 2
    assert timeline.segments[0].probabilities == ()
    assert timeline.segments[-1].emotion is not None
    assert all(
        a.end_seconds == b.start_seconds
        for a, b in zip(timeline.segments, timeline.segments[1:], strict=False)
    )


@pytest.mark.parametrize("size", [160, 1234, 40_000])
def test_a_stream_finds_speech_where_its_file_has_it(recognizer: Recognizer, size: int) -> None:
    sound = np.concatenate([np.zeros(5 * RATE, np.float32), babble(5.3), tone(300, 5.0)])
    stream = recognizer.stream(RATE)
    predictions: list[WindowPrediction] = []
    for place in range(0, len(sound), size):
        predictions += stream.push(sound[place : place + size])
    last, rest = stream.finish()
    predictions += last
    log = SpeechLog()
    log.push(sound)
    for prediction in predictions:
        window = Window(round(prediction.start_seconds * RATE), round(prediction.end_seconds * RATE))
        assert bool(prediction.probabilities) == (prediction.confidence is not None) == log.has_speech(window)
    streamed = [s for prediction in predictions for s in prediction.segments] + rest
    timeline = recognizer.timeline(sound, RATE)
    assert [(s.start_seconds, s.end_seconds, s.emotion) for s in streamed] == [
        (s.start_seconds, s.end_seconds, s.emotion) for s in timeline.segments
    ]
    assert predictions[0].emotion is None
    assert any(prediction.emotion for prediction in predictions)


def test_short_windows_of_speech_are_judged(recognizer: Recognizer) -> None:
    timeline = recognizer.timeline(babble(3.0), RATE, timing=Timing(0.1, 0.1, 0.0, 0.0))
    speech_time = sum(s.end_seconds - s.start_seconds for s in timeline.segments if s.emotion)
    assert speech_time > 2.0


def test_the_mean_forgets_over_a_pause() -> None:
    one, other = Smoother(1.0, 1.0), Smoother(1.0, 1.0)
    for smoother in (one, other):
        smoother.push(np.array([1.0, 0.0]))
    one.skip()
    weight = np.exp(-2.0)
    expected = np.array([weight, 1.0]) / (1 + weight)
    np.testing.assert_allclose(one.push(np.array([0.0, 1.0])), expected)
    for _ in range(2000):
        other.skip()
    np.testing.assert_array_equal(other.push(np.array([0.0, 1.0])), [0.0, 1.0])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted by /proc")
def test_the_detector_takes_one_thread() -> None:
    program = """
import os
import numpy as np
from emospec.inference.vad import Detector
def threads(): return len(os.listdir("/proc/self/task"))
before = threads()
Detector().push(np.zeros(16_000, np.float32))
print(threads() - before, os.environ.get("OMP_THREAD_LIMIT"))
"""
    for environment, kept in (({}, "None"), ({"OMP_THREAD_LIMIT": "7"}, "7")):
        found = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": "", **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.split() == ["0", kept]
