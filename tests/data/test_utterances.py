"""The vocabulary of emotions and sets of classes."""

from pathlib import Path

import pytest
from refusals import message_of

from emospec.data.utterances import CLASS_SETS, Utterance, select_classes
from emospec.errors import CorpusError
from emospec.vocabulary import SYNONYMS, VOCABULARY, common_emotion


def utterances(*emotions: str) -> list[Utterance]:
    return [Utterance(f"x/{i}", "x", Path(f"{i}.wav"), "ann", e, e) for i, e in enumerate(emotions)]


def error(given: list[Utterance], classes: str | list[str]) -> str:
    return message_of(CorpusError, lambda: select_classes(given, classes))


MIXED = utterances("sad", "zen", "happy", "neutral", "angry", "bored", "annoyed", "sad")


def test_all_takes_every_emotion_in_the_order_of_the_vocabulary_then_other_words() -> None:
    kept, classes = select_classes(MIXED, "all")
    assert kept == MIXED
    assert classes == ("neutral", "angry", "happy", "sad", "bored", "annoyed", "zen")


def test_the_order_of_classes_does_not_depend_on_that_of_utterances() -> None:
    assert select_classes(MIXED[::-1], "all")[1] == select_classes(MIXED, "all")[1]


def test_iemocap4_takes_the_four_classes_of_the_paper() -> None:
    kept, classes = select_classes(MIXED, "iemocap4")
    assert classes == ("neutral", "happy", "angry", "sad")
    assert [u.id for u in kept] == ["x/0", "x/2", "x/3", "x/4", "x/7"]


def test_a_list_keeps_its_order_and_may_use_synonyms() -> None:
    kept, classes = select_classes(MIXED, ["sadness", " Joy ", "ANG"])
    assert classes == ("sad", "happy", "angry")
    assert {u.emotion for u in kept} == set(classes)
    assert select_classes(MIXED, ("zen", "sad"))[1] == ("zen", "sad")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (
            "iemocap",
            "class set 'iemocap' is not known, did you mean 'iemocap4'? Known: all, iemocap4, or a list",
        ),
        ("xyz", "class set 'xyz' is not known. Known: all, "),
        (["sad", "fear", "calm"], "no utterance is labelled fearful, calm. Found: sad 2, "),
        (["sad", "Sadness"], "at least two different emotions, found: sad, sad"),
        (["sad", "happy", "joy"], "at least two different emotions, found: sad, happy, happy"),
        (["sad"], "at least two different emotions, found: sad"),
        ([], "at least two different emotions, found: none"),
    ],
)
def test_invalid_classes_are_refused(classes: str | list[str], words: str) -> None:
    assert words in error(MIXED, classes)


def test_one_emotion_or_none_is_no_class_set() -> None:
    assert "at least two" in error(utterances("sad", "sad"), "all")
    assert "at least two" in error([], "all")
    assert "Found: none" in error([], "iemocap4")


@pytest.mark.parametrize(
    ("word", "emotion"),
    [("Joy", "happy"), (" excited ", "happy"), ("FEAR", "fearful"), ("neutral", "neutral"), ("Zen", "zen")],
)
def test_synonyms_have_one_emotion(word: str, emotion: str) -> None:
    assert common_emotion(word) == emotion


def test_the_vocabulary_is_closed() -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert set(SYNONYMS.values()) <= set(VOCABULARY)
    assert not set(SYNONYMS) & set(VOCABULARY)
    assert {e for classes in CLASS_SETS.values() for e in classes} <= set(VOCABULARY)
    assert all(common_emotion(emotion) == emotion for emotion in VOCABULARY)


def test_a_voice_is_a_speaker_of_a_corpus() -> None:
    known, unknown = (Utterance("x/1", "x", Path("1.wav"), speaker, "sad", "s") for speaker in ("ann", ""))
    assert (known.voice, unknown.voice) == ("x/ann", "")
