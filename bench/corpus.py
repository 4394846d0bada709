"""A synthetic corpus with IEMOCAP's durations: what speed needs to know of speech is how long it is."""

import os
from pathlib import Path

import numpy as np
import soundfile

from emospec.data.pack import Pack, prepare
from emospec.data.utterances import Utterance

# A log-normal with IEMOCAP's median of 3.58 s; its mean is 4.45 s (IEMOCAP's 4.55), its 99th percentile 16.6 s (15.5).
MEDIAN_SECONDS, SPREAD = 3.58, 0.66
SHORTEST_SECONDS, LONGEST_SECONDS = 0.5, 34.0
EMOTIONS = ("neutral", "happy", "angry", "sad")
SPEAKERS = 10

EMODB = Path(os.environ.get("EMODB") or Path(__file__).resolve().parents[2] / "shared" / "corpora" / "emodb")
"""A copy of the corpus: what the environment names, or one beside the project."""


def durations(count: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(count,) seconds."""
    drawn = np.random.default_rng(seed).lognormal(np.log(MEDIAN_SECONDS), SPREAD, count)
    return drawn.clip(SHORTEST_SECONDS, LONGEST_SECONDS)


def synthesise(folder: Path, seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[Utterance]:
    """Write 16-bit WAVs of noise, modulated like syllables, and say what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{k:06d}.wav" for k in range(len(seconds))]
    for k, (file, duration) in enumerate(zip(files, seconds, strict=True)):
        rng = np.random.default_rng([1, k])
        samples = int(duration * 16000)
        steps = samples // 2000 + 2
        loudness = np.interp(np.arange(samples), np.arange(steps) * 2000, rng.uniform(0, 0.5, steps))
        noise = rng.standard_normal(samples, np.float32).clip(-2, 2) / 2
        soundfile.write(file, noise * loudness, 16000, subtype="PCM_16")
    return utterances_of(files)


def utterances_of(files: list[Path]) -> list[Utterance]:
    """What the files of a synthetic corpus are; emotions and speakers take turns."""
    utterances = []
    for k, file in enumerate(files):
        emotion, speaker = EMOTIONS[k % len(EMOTIONS)], f"s{k // len(EMOTIONS) % SPEAKERS:02d}"
        utterances.append(Utterance(f"bench/{file.stem}", "bench", file, speaker, emotion, emotion))
    return utterances


def make_pack(folder: Path, seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Pack:
    """The corpus, decoded into a pack."""
    pack, _ = prepare(synthesise(folder / "audio", seconds), folder / "pack")
    return pack
