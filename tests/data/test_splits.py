"""Splits: the sets of each protocol, their dependence on seed and repeat only, and refusals."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from crowds import Utterances, crowd, dealt, iemocap, pool, utterance
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import message_of

from emospec.data.corpora.ravdess import FOLDS
from emospec.data.splits import PARTS, Fold, Split, make_split, speakers_overlap, write_folds
from emospec.data.utterances import Utterance
from emospec.errors import ProtocolError

RAGGED = (13, 14, 15, 16, 17)
examples = settings(deadline=None, max_examples=25, derandomize=True, database=None)


def ids(fold: Fold, part: str, utterances: Sequence[Utterance]) -> set[str]:
    return {utterances[i].id for i in fold.part(part)}


def voices(fold: Fold, part: str, utterances: Sequence[Utterance]) -> set[str]:
    return {utterances[i].voice for i in fold.part(part)}


def times_tested(split: Split) -> Counter[int]:
    return Counter(i for fold in split.folds for i in fold.test)


def assert_sound(split: Split, utterances: Sequence[Utterance]) -> None:
    """Each utterance is in exactly one part of each fold."""
    for fold in split.folds:
        assert Counter([*fold.train, *fold.dev, *fold.test]) == Counter(range(len(utterances)))
        assert all(list(fold.part(p)) == sorted(fold.part(p)) for p in ("train", "dev", "test"))


def assert_speakers_apart(split: Split, utterances: Sequence[Utterance]) -> None:
    assert split.speaker_overlap is False
    for fold in split.folds:
        parts = [voices(fold, part, utterances) for part in ("train", "dev", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert speakers_overlap(parts[2], parts[0] | parts[1]) is False


@st.composite
def corpora(draw: st.DrawFn, speakers_from: int = 3) -> Utterances:
    """One or two corpora with speakers of the same names, who all say each emotion at least once."""
    made: Utterances = []
    for corpus in ("one", "two")[: draw(st.integers(1, 2))]:
        for s in range(draw(st.integers(speakers_from, 12))):
            sex = draw(st.sampled_from(["f", "m", ""]))
            for emotion in ("angry", "sad"):
                count = draw(st.integers(1, 4))
                made += [utterance(f"s{s}", emotion, k, corpus, sex=sex) for k in range(count)]
    return draw(st.permutations(made))


# --- dai2019 ---------------------------------------------------------------------------------------


def parts_of(split: Split) -> list[set[int]]:
    """The ten parts: fold k tests part 2k + 1 and selects on part 2k."""
    return [set(part) for fold in split.folds for part in (fold.dev, fold.test)]


@pytest.mark.parametrize("repeat", [0, 1])
def test_dai2019_deals_each_stratum_evenly_into_ten_parts(repeat: int) -> None:
    utterances = iemocap(*RAGGED)
    split = make_split(utterances, "dai2019", repeat=repeat)
    parts = parts_of(split)
    assert len(parts) == 10
    assert set.union(*parts) == set(range(len(utterances)))
    assert sum(map(len, parts)) == len(utterances)
    by_stratum: dict[tuple[str, ...], list[int]] = {}
    for i, u in enumerate(utterances):
        by_stratum.setdefault((u.session, u.style, u.sex, u.label), []).append(i)
    assert len(by_stratum) == 5 * 2 * 2 * 5
    for stratum in by_stratum.values():
        sizes = [len(part.intersection(stratum)) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_dai2019_trains_on_the_other_eight_parts_and_tests_half() -> None:
    utterances = iemocap(*RAGGED)
    split = make_split(utterances, "dai2019")
    parts = parts_of(split)
    assert len(split.folds) == 5
    assert_sound(split, utterances)
    for k, fold in enumerate(split.folds):
        others = [part for p, part in enumerate(parts) if p not in (2 * k, 2 * k + 1)]
        assert set(fold.train) == set.union(*others)
    times = times_tested(split)
    assert set(times.values()) == {1}
    assert len(times) == sum(len(part) for part in parts[1::2])
    assert not set(times) & set.union(*parts[0::2])


def test_dai2019_of_even_strata_tests_exactly_half() -> None:
    split = make_split(iemocap(10), "dai2019")
    assert {len(part) for part in parts_of(split)} == {100}
    assert len(times_tested(split)) == 500


def test_dai2019_starts_strata_at_different_parts() -> None:
    # Of 11 in a stratum, the part where it starts gets two.
    parts = parts_of(make_split(iemocap(11), "dai2019"))
    assert sum(map(len, parts)) == 1100
    assert all(100 < len(part) < 130 for part in parts)


def test_dai2019_says_that_speakers_are_shared() -> None:
    utterances = iemocap(*RAGGED)
    split = make_split(utterances, "dai2019")
    assert split.speaker_overlap is True
    assert "same speakers are in training and test" in split.words
    fold = split.folds[0]
    assert len(voices(fold, "test", utterances) & voices(fold, "train", utterances)) == 10


# --- What holds for all ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protocol", ["dai2019", "one-speaker-out", "groups:3", "groups:5", "sessions", "folds"]
)
def test_the_same_seed_gives_the_same_split_in_any_order(protocol: str) -> None:
    utterances = iemocap(10)
    folds = {u.speaker: int(u.session) for u in utterances}
    split = make_split(utterances, protocol, seed=3, speaker_folds=folds)
    turned = utterances[::-1]
    again = make_split(turned, protocol, seed=3, speaker_folds=folds)
    assert again.hash == split.hash
    for first, second in zip(split.folds, again.folds, strict=True):
        for part in ("train", "dev", "test"):
            assert ids(first, part, utterances) == ids(second, part, turned)
    assert_sound(again, turned)


def test_splits_of_published_results_do_not_change() -> None:
    utterances = iemocap(*RAGGED)
    hashes = {
        p: make_split(utterances, p, repeat=1, seed=2).hash[:16] for p in ("dai2019", "groups:3", "sessions")
    }
    assert hashes == {
        "dai2019": "54c808db16883145",
        "groups:3": "dc1fd76bb479eaba",
        "sessions": "f8819fd18bc22721",
    }


@pytest.mark.parametrize(
    ("protocol", "draws"),
    [("dai2019", True), ("groups:3", True), ("one-speaker-out", False), ("sessions", False)],
)
def test_another_repeat_or_seed_changes_drawn_splits_only(protocol: str, draws: bool) -> None:
    utterances = iemocap(10)
    hashes = {
        make_split(utterances, protocol, repeat=repeat, seed=seed).hash
        for repeat, seed in ((0, 0), (1, 0), (0, 1))
    }
    assert len(hashes) == (3 if draws else 1)


@examples
@given(
    utterances=corpora(), protocol=st.sampled_from(["one-speaker-out", "groups:3"]), seed=st.integers(0, 9)
)
def test_speakers_are_kept_apart_and_each_utterance_is_tested_once(
    utterances: Utterances, protocol: str, seed: int
) -> None:
    split = make_split(utterances, protocol, seed=seed)
    assert_sound(split, utterances)
    assert_speakers_apart(split, utterances)
    assert times_tested(split) == Counter(range(len(utterances)))


@examples
@given(utterances=corpora(), deal=st.lists(st.integers(-3, 3), min_size=12, max_size=12))
def test_given_folds_are_the_test_folds(utterances: Utterances, deal: list[int]) -> None:
    folds = {f"s{s}": s if s < 3 else fold for s, fold in enumerate(deal)}
    split = make_split(utterances, "folds", speaker_folds=folds)
    assert_sound(split, utterances)
    assert_speakers_apart(split, utterances)
    present = sorted({folds[u.speaker] for u in utterances})
    assert len(split.folds) == len(present)
    for k, fold in enumerate(split.folds):
        assert {folds[utterances[i].speaker] for i in fold.test} == {present[k]}
        assert {folds[utterances[i].speaker] for i in fold.dev} == {present[(k + 1) % len(present)]}


@examples
@given(utterances=corpora(), deal=st.lists(st.integers(1, 5), min_size=12, max_size=12))
def test_sessions_are_tested_once_each(utterances: Utterances, deal: list[int]) -> None:
    sessions = {f"s{s}": str(s + 1 if s < 3 else n) for s, n in enumerate(deal)}
    utterances = [replace(u, session=sessions[u.speaker]) for u in utterances]
    split = make_split(utterances, "sessions")
    assert_sound(split, utterances)
    assert_speakers_apart(split, utterances)
    assert times_tested(split) == Counter(range(len(utterances)))
    present = sorted({(u.corpus, u.session) for u in utterances})
    for k, fold in enumerate(split.folds):
        for part, session in (("test", present[k]), ("dev", present[(k + 1) % len(present)])):
            assert {(utterances[i].corpus, utterances[i].session) for i in fold.part(part)} == {session}


@examples
@given(utterances=corpora(), count=st.integers(3, 6), seed=st.integers(0, 9))
def test_groups_are_balanced_over_corpora_and_sex(utterances: Utterances, count: int, seed: int) -> None:
    speakers = {u.voice: (u.corpus, u.sex) for u in utterances}
    if len(speakers) < count:
        assert f"needs {count} speakers, found {len(speakers)}" in message_of(
            ProtocolError, lambda: make_split(utterances, f"groups:{count}")
        )
        return
    split = make_split(utterances, f"groups:{count}", seed=seed)
    groups = [voices(fold, "test", utterances) for fold in split.folds]
    assert len(groups) == count
    for k, fold in enumerate(split.folds):
        assert voices(fold, "dev", utterances) == groups[(k + 1) % count]
    for stratum in {*speakers.values(), None}:
        sizes = [sum(stratum in (None, speakers[v]) for v in group) for group in groups]
        assert max(sizes) - min(sizes) <= 1


# --- Each protocol -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("speakers", "ahead"), [(3, 1), (7, 1), (8, 2), (10, 2)])
def test_one_speaker_out_selects_on_the_next_in_cyclic_order(speakers: int, ahead: int) -> None:
    utterances = crowd(speakers)
    split = make_split(utterances, "one-speaker-out")
    assert len(split.folds) == speakers
    for s, fold in enumerate(split.folds):
        assert voices(fold, "test", utterances) == {f"made/s{s:02}"}
        next_ones = {f"made/s{(s + k) % speakers:02}" for k in range(1, ahead + 1)}
        assert voices(fold, "dev", utterances) == next_ones
    assert ("next two speakers" if ahead == 2 else "next speaker ") in split.words


def test_one_name_in_two_corpora_means_two_speakers() -> None:
    utterances = [*crowd(3), *(replace(u, id=f"x{u.id}", corpus="other") for u in crowd(3))]
    assert len(make_split(utterances, "one-speaker-out").folds) == 6


def test_ravdess_has_the_six_folds_of_emobox() -> None:
    utterances = [utterance(speaker, emotion) for speaker, emotion in product(FOLDS, ("calm", "sad"))]
    split = make_split(utterances, "folds", speaker_folds=FOLDS)
    assert [len(fold.test) for fold in split.folds] == [8] * 6
    assert voices(split.folds[0], "test", utterances) == {f"made/Actor_{a:02}" for a in (1, 11, 20, 21)}
    assert voices(split.folds[5], "dev", utterances) == voices(split.folds[0], "test", utterances)


def test_folds_may_come_from_a_csv(tmp_path: Path) -> None:
    utterances = crowd(6)
    folds = {f"s{s:02}": s // 2 for s in range(6)}
    file = tmp_path / "folds.csv"
    rows = [f" {speaker} ,x,{fold}" for speaker, fold in [*folds.items(), ("absent", 9)]]
    file.write_text("speaker,note,test_fold\n" + "\n".join(rows), encoding="utf-8-sig")
    split = make_split(utterances, f"folds:{file}", speaker_folds={"s00": 1})
    assert split.hash == make_split(utterances, "folds", speaker_folds=folds).hash
    assert split.protocol == f"folds:{file}"


def test_column_follows_the_manifest() -> None:
    utterances = dealt(crowd(4, per_emotion=3))
    split = make_split(utterances, "column")
    (fold,) = split.folds
    assert_sound(split, utterances)
    for part in ("train", "dev", "test"):
        assert {utterances[i].split for i in fold.part(part)} == {part}
    assert split.speaker_overlap is True


def test_unknown_speakers_leave_the_overlap_unknown() -> None:
    utterances = [replace(u, speaker="") for u in iemocap(10)]
    split = make_split(utterances, "dai2019")
    assert split.speaker_overlap is None


def test_fold_lists_are_written_as_csv(tmp_path: Path) -> None:
    utterances = crowd(3)
    split = make_split(utterances, "one-speaker-out")
    samples = [f"{k:016x}" for k in range(len(utterances))]
    write_folds(split, utterances, samples, tmp_path / "folds.csv")
    with open(tmp_path / "folds.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["fold", "part", "utterance", "speaker", "samples"]
    expected = {(u.id, u.voice, sha256) for u, sha256 in zip(utterances, samples, strict=True)}
    assert {tuple(row[2:]) for row in rows[1:]} == expected
    assert len(rows) == 1 + 3 * len(utterances)
    for number, fold in enumerate(split.folds, start=1):
        for part in ("train", "dev", "test"):
            assert {name for n, p, name, *_ in rows[1:] if (n, p) == (str(number), part)} == ids(
                fold, part, utterances
            )


def test_a_shared_speaker_counts_though_others_are_unknown() -> None:
    assert speakers_overlap({"a/1", ""}, {"a/1", "a/2"}) is True
    assert speakers_overlap({"a/1", ""}, {"a/2"}) is None
    assert speakers_overlap({"a/1"}, {"a/2"}) is False


def test_one_corpus_out_tests_each_corpus_and_shares_no_speaker() -> None:
    utterances = pool(10, 5, 2)
    split = make_split(utterances, "one-corpus-out", seed=3)
    assert split.speaker_overlap is False
    for name, fold in zip("abc", split.folds, strict=True):
        parts = {part: [utterances[i] for i in fold.part(part)] for part in PARTS}
        assert {u.corpus for u in parts["test"]} == {name}
        assert len(parts["test"]) == sum(u.corpus == name for u in utterances)
        for part in ("train", "dev"):
            assert {u.corpus for u in parts[part]} == set("abc") - {name}
        assert not {u.voice for u in parts["train"]} & {u.voice for u in parts["dev"]}
    voices = {u.voice for i in split.folds[1].dev for u in [utterances[i]] if u.corpus == "a"}
    assert len(voices) == 2
    assert make_split(utterances, "one-corpus-out", seed=3).hash == split.hash
    assert make_split(utterances, "one-corpus-out", seed=4).hash != split.hash
