"""Utterances of made-up speakers, for the tests of splits. No file is behind them."""

from dataclasses import replace
from itertools import product
from pathlib import Path

from emospec.data.utterances import Utterance

Utterances = list[Utterance]


def utterance(speaker: str, emotion: str, number: int = 0, corpus: str = "made", **facts: str) -> Utterance:
    name = f"{corpus}/{'-'.join([speaker, emotion, str(number), *facts.values()])}"
    return replace(Utterance(name, corpus, Path(f"{name}.wav"), speaker, emotion, emotion), **facts)  # type: ignore[arg-type]


def crowd(speakers: int, emotions: str = "angry happy sad", per_emotion: int = 2) -> Utterances:
    """Speakers s00, s01, ... by turns female and male, with as many utterances of each emotion."""
    return [
        utterance(f"s{s:02}", emotion, k, sex="fm"[s % 2])
        for s, emotion, k in product(range(speakers), emotions.split(), range(per_emotion))
    ]


def iemocap(*sizes: int) -> Utterances:
    """The 100 strata of IEMOCAP, of the sizes given in turn: session, style, sex, and excited apart from happy."""
    labels = {"neu": "neutral", "hap": "happy", "exc": "happy", "ang": "angry", "sad": "sad"}
    cells = product(range(1, 6), ("improvised", "scripted"), ("f", "m"), labels.items())
    made: Utterances = []
    for cell, (session, style, sex, (label, emotion)) in enumerate(cells):
        for k in range(sizes[cell % len(sizes)]):
            u = utterance(f"Ses0{session}{sex}", emotion, k, label=label, session=str(session), style=style)
            made.append(replace(u, sex=sex, corpus="iemocap"))  # type: ignore[arg-type]
    return made


def dealt(utterances: Utterances) -> Utterances:
    """As a manifest whose split column says train, dev and test in turn."""
    return [replace(u, split=("train", "dev", "test")[i % 3]) for i, u in enumerate(utterances)]


def pool(*sizes: int) -> Utterances:
    """Corpora a, b, ... of so many speakers, three utterances each."""
    return [
        utterance(f"s{k}", emotion, corpus=name)
        for name, size in zip("abc", sizes, strict=False)
        for k in range(size)
        for emotion in ("angry", "sad", "happy")
    ]
