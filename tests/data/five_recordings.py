"""Five recordings to make packs of, and what the tests of packs ask of a folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from refusals import message_of

from emospec.data.utterances import Utterance
from emospec.errors import PackError

Recordings = list[Utterance]


def utterance(file: Path, **facts: object) -> Utterance:
    return replace(Utterance(f"own/{file.stem}", "own", file, "ann", "happy", "joy"), **facts)  # type: ignore[arg-type]


def make_recordings(audio: Path) -> Recordings:
    """Write five recordings: `a` and `b` of 16-bit mono 16 kHz, the others of another kind each."""
    rng = np.random.default_rng(0)
    audio.mkdir()
    kinds = [
        ("a", 16_000, 1, "PCM_16"),
        ("b", 16_000, 1, "PCM_16"),
        ("c", 44_100, 1, "PCM_16"),
        ("d", 16_000, 2, "PCM_16"),
        ("e", 16_000, 1, "PCM_24"),
    ]
    for name, rate, channels, subtype in kinds:
        samples = rng.uniform(-1, 1, (rng.integers(800, 3000), channels))
        soundfile.write(audio / f"{name}.wav", samples, rate, subtype)
    return [utterance(audio / f"{name}.wav") for name, *_ in kinds]


def error(act: Callable[[], object]) -> str:
    return message_of(PackError, act)


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.parent.iterdir() if path.name.endswith(".part")]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
