"""Splits that are refused: unknown protocols, and corpora that do not allow one."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from crowds import Utterances, crowd, dealt, pool, utterance
from refusals import message_of

from emospec.data.splits import make_split
from emospec.data.utterances import Utterance
from emospec.errors import ProtocolError


def error(utterances: Sequence[Utterance], protocol: str, **options: dict[str, int]) -> str:
    return message_of(ProtocolError, lambda: make_split(utterances, protocol, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("protocol", "hint"),
    [
        ("one-speaker", ", did you mean 'one-speaker-out'? Known: dai2019, "),
        ("session", ", did you mean 'sessions'? Known: "),
        ("dai2018", ", did you mean 'dai2019'? Known: "),
        ("xyz", "split 'xyz' is not known. Known: "),
        ("", "split '' is not known. Known: "),
        ("dai2019:5", "split 'dai2019:5' is not known. Known: "),
        ("dai2019:", "split 'dai2019:' is not known. Known: "),
        ("sessions:3", "split 'sessions:3' is not known. Known: "),
    ],
)
def test_an_unknown_split_is_refused_with_a_hint(protocol: str, hint: str) -> None:
    message = error(crowd(4), protocol)
    assert hint in message
    assert message.endswith("folds, folds:FILE, column, one-corpus-out")


@pytest.mark.parametrize("protocol", ["groups", "groups:", "groups:2", "groups:x", "groups:-3", "groups:3.5"])
def test_a_number_of_groups_below_three_or_none_is_refused(protocol: str) -> None:
    assert "needs a number of groups of at least 3, such as groups:5" in error(crowd(6), protocol)


@pytest.mark.parametrize(
    ("utterances", "protocol", "words"),
    [
        ([], "dai2019", "there are no utterances to split"),
        (crowd(2), "one-speaker-out", "one-speaker-out needs at least 3 speakers"),
        (crowd(4), "groups:5", "groups:5 needs 5 speakers, found 4. Choose groups:4"),
        (
            crowd(2),
            "groups:5",
            "groups:5 needs 5 speakers, found 2. Fewer than 3 leave none to train, select or test",
        ),
        (
            crowd(1),
            "groups:3",
            "found 1. Fewer than 3 leave none to train, select or test: train with --set data.protocol",
        ),
        ([replace(u, session=u.sex) for u in crowd(4)], "sessions", "sessions needs at least 3 sessions"),
        (
            [*crowd(3), utterance("", "sad")],
            "one-speaker-out",
            "needs a speaker for every utterance; made/-sad-0 has none. Fill the speaker column of a CSV, lay folders out as "
            "CLASS/SPEAKER/, or train with --set data.protocol=dai2019",
        ),
        ([*crowd(3), utterance("", "sad")], "groups:3", "needs a speaker for every utterance; made/-sad-0"),
        ([*crowd(3), utterance("ann", "sad")], "sessions", "needs a session for every utterance; made/s00-"),
        (
            [*crowd(3), utterance("ann", "sad", split="test")],
            "column",
            "needs train, dev or test in the split",
        ),
        ([replace(u, split="eval") for u in crowd(3)], "column", "has 'eval'"),
        (
            [replace(u, split="train" if u.speaker < "s02" else "test") for u in crowd(4)],
            "column",
            "fold 1 of column has no dev utterances",
        ),
        (crowd(1, per_emotion=2), "dai2019", "of dai2019 has no "),
        (
            [*crowd(4), utterance("s00", "bored")],
            "one-speaker-out",
            "fold 1 of one-speaker-out has no training sample of bored",
        ),
        (
            [*dealt(crowd(4, per_emotion=3)), utterance("s00", "bored", split="train")],
            "column",
            "no fold of column tests bored",
        ),
    ],
)
def test_impossible_splits_are_refused(utterances: Utterances, protocol: str, words: str) -> None:
    assert words in error(utterances, protocol)


def test_folds_need_a_list_that_names_every_speaker() -> None:
    assert "no folds of its own. Name a CSV" in error(crowd(4), "folds")
    assert "no folds of its own. Name a CSV" in error(crowd(4), "folds", speaker_folds={})
    assert "does not name speaker 's03'" in error(
        crowd(4), "folds", speaker_folds={"s00": 1, "s01": 2, "s02": 3}
    )
    assert "folds needs at least 3 folds" in error(
        crowd(4), "folds", speaker_folds={f"s{s:02}": s % 2 for s in range(4)}
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no row below the header"),
        (b"speaker,test_fold\n", "no row below the header"),
        (b"speaker,fold\ns00,1\n", "needs the columns speaker,test_fold with whole numbers"),
        (b"speaker,test_fold\ns00,one\n", "needs the columns speaker,test_fold with whole numbers"),
        (b"speaker,test_fold\ns00,1.5\n", "needs the columns speaker,test_fold with whole numbers"),
        (b"speaker,test_fold\ns00\n", "needs the columns speaker,test_fold with whole numbers"),
        (b"speaker,test_fold\ns00,1\ns00,2\n", "puts speaker 's00' in two folds"),
        (b"speaker,test_fold\nJ\xfcrgen,1\n", "cannot be read"),
        (b"speaker,test_fold\ns00,1\ns01,2\ns02,3\n", "does not name speaker 's03'"),
    ],
)
def test_a_bad_fold_list_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "folds.csv"
    file.write_bytes(content)
    assert words in error(crowd(4), f"folds:{file}")


def test_a_missing_fold_list_is_refused(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in error(crowd(4), f"folds:{tmp_path / 'no.csv'}")
    assert "cannot be read" in error(crowd(4), f"folds:{tmp_path}")
    assert "fold list ''" in error(crowd(4), "folds:")


def test_one_corpus_out_needs_two_corpora() -> None:
    assert "needs at least 2 corpora, found a alone" in error(pool(4), "one-corpus-out")
