"""The demo corpus: the same bits from a seed, the given pitch and cues, and no cue in the level."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

from emospec.audio.reader import read_audio
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.corpora import check_corpus, read_corpus
from emospec.data.corpora.demo import (
    EMOTIONS,
    Manner,
    Voice,
    draw_voice,
    framed,
    overlap_added,
    pulse_train,
    speak,
    synthesise,
    tract_response,
    utterance,
)
from emospec.errors import CorpusError

Floats = NDArray[np.float64]
PLAIN = Manner(*np.zeros(10))


def voice_at(pitch_hz: float) -> Voice:
    return Voice(pitch_hz, 1.0, np.zeros(10), np.ones(10), np.ones(1), 60.0, -25.0)


def pitch_track(waveform: Floats) -> Floats:
    """f0 in Hz of the voiced frames of 64 ms: the highest peak of the normalised autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 1024)[::320] * np.hanning(1024)
    products = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)
    lags = products[:, 40:230] / np.maximum(products[:, :1], 1e-12)
    loud = products[:, 0] > 0.03 * products[:, 0].max()
    return SAMPLE_RATE / (40 + lags.argmax(axis=1))[loud & (lags.max(axis=1) > 0.4)]


def tilt_db(waveform: Floats) -> float:
    """Level of 2-5 kHz over 0.1-1 kHz, in the frames that are strongest in the latter: vowels."""
    power = np.abs(framed(waveform)) ** 2
    hertz = np.fft.rfftfreq(1024, 1 / SAMPLE_RATE)
    low = power[:, (hertz >= 100) & (hertz < 1000)].sum(axis=1)
    high = power[:, (hertz >= 2000) & (hertz < 5000)].sum(axis=1)
    vowels = low > np.percentile(low, 60)
    return float(np.mean(10 * np.log10(high[vowels] / low[vowels])))


@pytest.fixture(scope="module")
def spoken() -> dict[str, list[Floats]]:
    """Ten utterances of each emotion by ten speakers."""
    return {
        emotion: [utterance(s, emotion, 1).astype(np.float64) for s in range(1, 11)] for emotion in EMOTIONS
    }


def test_an_utterance_is_a_function_of_its_name_and_seed() -> None:
    first = utterance(3, "happy", 2, seed=5)
    assert first.dtype == np.float32
    assert first.tobytes() == utterance(3, "happy", 2, seed=5).tobytes()
    for other in (
        utterance(3, "happy", 2, seed=6),
        utterance(3, "happy", 3, seed=5),
        utterance(4, "happy", 2, seed=5),
    ):
        assert first.tobytes() != other.tobytes()


def test_waveforms_are_finite_in_range_and_of_varied_length(spoken: dict[str, list[Floats]]) -> None:
    waveforms = [w for several in spoken.values() for w in several]
    assert all(np.isfinite(w).all() and np.abs(w).max() <= 1 for w in waveforms)
    seconds = np.array([len(w) / SAMPLE_RATE for w in waveforms])
    assert 0.79 < seconds.min() < seconds.max() < 3.01
    assert 1.3 < seconds.mean() < 1.9
    assert seconds.std() > 0.3


def test_the_level_does_not_depend_on_the_emotion(spoken: dict[str, list[Floats]]) -> None:
    db = {emotion: [10 * np.log10(np.mean(w**2)) for w in waveforms] for emotion, waveforms in spoken.items()}
    means, spread = [np.mean(d) for d in db.values()], np.mean([np.std(d) for d in db.values()])
    assert spread > 2
    assert max(means) - min(means) < spread


@pytest.mark.parametrize(("pitch_hz", "semitones"), [(110.0, 0.0), (110.0, 5.0), (210.0, 0.0), (210.0, -4.0)])
def test_the_voice_has_the_given_pitch(pitch_hz: float, semitones: float) -> None:
    level = PLAIN._replace(pitch=semitones, span=-9.0, slope=1.0)
    measured = np.median(pitch_track(speak(voice_at(pitch_hz), level, default_rng(1))))
    assert measured == pytest.approx(pitch_hz * 2 ** (semitones / 12), rel=0.03)


def test_each_cue_changes_its_measure() -> None:
    def say(**manner: float) -> list[Floats]:
        who = voice_at(120.0)
        return [speak(who, PLAIN._replace(**manner), default_rng(seed)) for seed in range(4)]

    def span(waveform: Floats) -> float:
        return float(np.std(np.log(pitch_track(waveform))))

    def mean(measure: Callable[[Floats], float], waveforms: list[Floats]) -> float:
        return float(np.mean([measure(w) for w in waveforms]))

    plain = say()
    assert mean(tilt_db, say(tilt=1.5)) > mean(tilt_db, plain) + 3
    assert mean(tilt_db, say(opening=0.2)) > mean(tilt_db, plain)
    assert mean(len, say(rate=0.5)) < 0.85 * mean(len, plain)
    assert mean(len, say(pauses=0.5)) > mean(len, plain)
    assert mean(span, say(span=1.5)) > mean(span, say(span=-1.5))


def test_emotions_differ_as_the_literature_says(spoken: dict[str, list[Floats]]) -> None:
    tilt = {emotion: np.mean([tilt_db(w) for w in waveforms]) for emotion, waveforms in spoken.items()}
    assert tilt["angry"] > tilt["happy"] > tilt["neutral"] > tilt["sad"]
    pitch = {
        emotion: np.mean([np.median(pitch_track(w)) for w in waveforms])
        for emotion, waveforms in spoken.items()
    }
    assert min(pitch["angry"], pitch["happy"]) > 1.2 * pitch["neutral"] > 1.2 * pitch["sad"]
    seconds = {emotion: np.mean([len(w) for w in waveforms]) for emotion, waveforms in spoken.items()}
    assert max(seconds["angry"], seconds["happy"]) < seconds["sad"]


def test_women_have_shorter_tracts() -> None:
    women, men = (
        [draw_voice(female, default_rng(seed)).tract for seed in range(20)] for female in (True, False)
    )
    assert np.mean(women) / np.mean(men) == pytest.approx(1.16)


def test_unfiltered_frames_add_up_to_the_waveform() -> None:
    waveform = default_rng(0).standard_normal(3000)
    np.testing.assert_allclose(overlap_added(framed(waveform), 3000), waveform, atol=1e-12)


def test_pulses_come_once_a_period_and_fall_between_samples() -> None:
    pulses = pulse_train(np.full(16_000, 123.4), np.ones(16_000), 0.0, default_rng(0))
    power = np.abs(np.fft.rfft(pulses * np.hanning(16_000)))
    assert power[100:150].argmax() + 100 == 123
    # A pulse rounded to the next sample would leave noise between the harmonics.
    assert power[185] < 1e-3 * power[123]


def test_resonators_peak_at_the_formants_and_pass_a_constant() -> None:
    response = np.abs(tract_response(np.array([[500.0, 1500.0, 2500.0]])))[0]
    assert response[0] == pytest.approx(1.0)
    hertz = np.fft.rfftfreq(1024, 1 / SAMPLE_RATE)
    peaks = hertz[1:-1][(response[1:-1] > response[:-2]) & (response[1:-1] > response[2:])]
    np.testing.assert_allclose(peaks, [500, 1500, 2500], atol=20)


def test_files_are_read_back_with_their_speaker_emotion_and_sex(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert (
        synthesise(tmp_path, speakers=2, per_class=1, progress=lambda done, count: seen.append((done, count)))
        == 8
    )
    assert seen == [(done, 8) for done in range(1, 9)]
    utterances = read_corpus("demo", tmp_path)
    assert [u.id for u in utterances] == [f"demo/S0{s}_{e}_01" for s in (1, 2) for e in sorted(EMOTIONS)]
    assert {(u.speaker, u.sex) for u in utterances} == {("S01", "f"), ("S02", "m")}
    assert all(u.emotion == u.label == u.file.stem.split("_")[1] for u in utterances)
    decoded = read_audio(utterances[-1].file)
    np.testing.assert_allclose(decoded, utterance(2, "sad", 1), atol=2 / 2**15)
    assert "8 of 640" in check_corpus("demo", tmp_path).summary


def test_an_interrupted_synthesis_is_completed_to_the_same_files(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path / "a", speakers=1, per_class=1, progress=interrupt)
    kept = tmp_path / "a/S01_neutral_01.flac"
    before = kept.stat().st_mtime_ns
    (tmp_path / "a/S01_happy_01.flac").write_bytes(b"damaged")
    synthesise(tmp_path / "a", speakers=1, per_class=1)
    synthesise(tmp_path / "b", speakers=1, per_class=1)
    first, second = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second
    assert len(first) == 4
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize("wrong", [{"speakers": 0}, {"per_class": 100}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(CorpusError, match=f"{next(iter(wrong))} is .* choose"):
        synthesise(tmp_path, **wrong)


def test_an_unknown_emotion_is_refused() -> None:
    with pytest.raises(CorpusError, match="did you mean 'happy'"):
        utterance(1, "hapy", 1)
