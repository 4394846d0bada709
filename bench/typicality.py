"""Does typicality tell speech from what is none? Unseen speakers against noise, tones, clicks and music-like sound."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from bench.corpus import EMODB
from bench.recognition import models
from emospec.data.corpora import read_corpus
from emospec.inference.prediction import Prediction
from emospec.inference.recognizer import Recognizer

CLIPS, SECONDS, RATE = 50, 3.0, 16_000
Waveform = NDArray[np.float64]


def _noise(rng: np.random.Generator) -> Waveform:
    """White to brown noise at -50 to -6 dB."""
    spectrum = np.fft.rfft(rng.standard_normal(int(SECONDS * RATE)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** rng.uniform(0, 1)
    return _at_level(np.fft.irfft(spectrum), rng)


def _tones(rng: np.random.Generator) -> Waveform:
    """One to three steady tones."""
    t = np.arange(int(SECONDS * RATE)) / RATE
    return _at_level(
        sum(np.sin(2 * np.pi * rng.uniform(60, 6000) * t) for _ in range(rng.integers(1, 4))), rng
    )


def _clicks(rng: np.random.Generator) -> Waveform:
    """Knocks: bursts of noise that die away within 5 to 60 ms, in faint noise."""
    waveform = 1e-3 * rng.standard_normal(int(SECONDS * RATE))
    for _ in range(rng.integers(2, 25)):
        length = int(rng.uniform(0.03, 0.2) * RATE)
        burst = rng.standard_normal(length) * np.exp(-np.arange(length) / (rng.uniform(0.005, 0.06) * RATE))
        place = rng.integers(0, len(waveform) - length)
        waveform[place : place + length] += burst
    return _at_level(waveform, rng)


def _music(rng: np.random.Generator) -> Waveform:
    """Plucked chords: notes of eight harmonics on a tempered scale, four a second, with a beat."""
    t = np.arange(int(SECONDS * RATE)) / RATE
    waveform = np.zeros(len(t))
    for start in np.arange(0, SECONDS, 0.25):
        later = np.maximum(t - start, 0)
        envelope = (t >= start) * np.exp(-later / 0.4) * np.minimum(1, later / 0.005)
        for step in rng.choice([0, 3, 4, 7, 10, 12, 16], 3):
            hz = 110 * 2 ** ((step + 12 * rng.integers(0, 2)) / 12)
            waveform += envelope * sum(np.sin(2 * np.pi * k * hz * later) / k for k in range(1, 9))
        waveform += (t >= start) * np.exp(-later / 0.02) * rng.standard_normal(len(t))
    return _at_level(waveform, rng)


def _at_level(waveform: Waveform, rng: np.random.Generator) -> Waveform:
    return waveform / np.abs(waveform).max() * 10 ** (rng.uniform(-30, -1) / 20)


SOUNDS: dict[str, Callable[[np.random.Generator], Waveform]] = {
    "noise": _noise,
    "tones": _tones,
    "clicks": _clicks,
    "music-like": _music,
}


def main(runs: Path) -> str:
    """The section of the report; `runs` is a one-speaker-out cross-validation on EMO-DB."""
    utterances = read_corpus("emodb", EMODB)
    scores: dict[str, dict[str, list[float]]] = {kind: {} for kind in ("typicality", "confidence")}
    with tempfile.TemporaryDirectory() as name:
        for speaker, model in models(runs, Path(name)).items():
            recognizer = Recognizer(model)
            told = {
                "speech": recognizer.predict([u.file for u in utterances if u.speaker == speaker]),
                **{
                    sound: recognizer.predict(
                        [make(np.random.default_rng([k, len(sound), int(speaker)])) for k in range(CLIPS)],
                        RATE,
                    )
                    for sound, make in SOUNDS.items()
                },
            }
            for sound, results in told.items():
                for one in results:
                    if not isinstance(one, Prediction) or one.typicality is None:
                        raise RuntimeError(f"{sound}: no typicality ({one})")
                    scores["typicality"].setdefault(sound, []).append(one.typicality)
                    scores["confidence"].setdefault(sound, []).append(one.confidence)
    rows = []
    for sound in SOUNDS:
        cells = []
        for found in scores.values():
            truth = [1] * len(found["speech"]) + [0] * len(found[sound])
            cells.append(f"{roc_auc_score(truth, found['speech'] + found[sound]):.3f}")
        rows.append(f"| {sound} | {' | '.join(cells)} |")
    return f"""## Typicality

AUROC of speech of unseen speakers (EMO-DB, one speaker out, pooled over the models) against {CLIPS} synthetic sounds per
kind and model: 1 tells them apart always, 0.5 never.

| against | by typicality | by confidence |
|---|---|---|
{chr(10).join(rows)}
"""
