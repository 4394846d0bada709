"""Scores by group against a loop by hand."""

import pandas as pd
import pytest

from emospec.evaluation.metrics import by_group


def test_each_group_has_its_own_scores_and_the_worst_comes_first() -> None:
    rows = [
        ("s1", "f", "a", "a"), ("s1", "f", "a", "b"), ("s1", "f", "b", "b"),
        ("s2", "m", "a", "a"), ("s2", "m", "b", "b"),
        ("s3", "", "b", "a"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["speaker", "sex", "target", "predicted"])
    table["utterance"] = [f"u{k}" for k in range(len(rows))]
    speakers = by_group(table, "speaker", ["a", "b"])
    assert [(g.name, g.utterances, g.classes, g.ua) for g in speakers] == [
        ("s3", 1, 1, 0.0),
        ("s1", 3, 2, 0.75),
        ("s2", 2, 2, 1.0),
    ]
    assert speakers[1].wa == pytest.approx(2 / 3)
    assert [g.name for g in by_group(table, "sex", ["a", "b"])] == ["f", "m"]
    repeated = by_group(pd.concat([table, table]), "speaker", ["a", "b"])
    assert repeated == speakers, "utterances that two runs predict count once"


def test_equal_names_in_two_corpora_are_two_groups() -> None:
    table = pd.DataFrame({"corpus": ["one", "one", "two"], "text": ["a01", "a02", "a01"], "sex": list("fff")})
    table["utterance"] = ["one/1", "one/2", "two/1"]
    table = table.assign(target="a", predicted=["a", "a", "b"])
    assert [g.name for g in by_group(table, "text", ["a", "b"])] == ["two/a01", "one/a01", "one/a02"]
    assert [g.name for g in by_group(table[:2], "text", ["a", "b"])] == ["a01", "a02"]
    assert by_group(table, "sex", ["a", "b"]) == []


def test_a_single_known_group_gives_no_groups() -> None:
    table = pd.DataFrame(
        {
            "utterance": list("uvw"),
            "language": ["de", "de", ""],
            "target": ["a", "b", "a"],
            "predicted": ["a", "b", "b"],
        }
    )
    assert by_group(table, "language", ["a", "b"]) == []
