"""Test speakers are recognised by their recordings; names prove a difference within one corpus only."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emospec.cli import app
from emospec.data.corpora.user import UserCorpus
from emospec.data.pack import Pack, prepare
from emospec.data.splits import Fold, Split, write_folds
from emospec.data.utterances import Utterance
from emospec.evaluation.overlap import SpeakerOverlap, fold_overlap, names_overlap, speaker_overlap
from emospec.runs.record import RunRecord
from fake_runs import changed, fake_run

Change = Callable[[Utterance], Utterance]
TESTED = ("s4", "s5")


def run_on(pack: Pack, folder: Path) -> RunRecord:
    """Return a run that was trained on s0 to s2, selected on s3, and tested on the others."""
    folder.mkdir()
    places = {name: tuple(i for i, u in enumerate(pack.utterances) if u.speaker in name) for name in
              (("", "s0", "s1", "s2"), ("s3",), TESTED)}  # fmt: skip
    split = Split("given", "", (Fold(*places.values()),), "", False)
    write_folds(split, pack.utterances, pack.samples_of(pack.utterances), folder / "folds.csv")
    readers = {name: {"reader": corpus.reader} for name, corpus in pack.user_corpora.items()}
    corpora = [
        {"name": name, "licence": ""} | readers.get(name, {}) for name in {u.corpus for u in pack.utterances}
    ]
    run = fake_run(folder / "run", [[1]])
    return replace(run, folder=folder, meta=changed(run.meta, corpora=corpora))


def renamed(name: str, speaker: str = "") -> Change:
    """The same recording in a corpus of another name, whose speakers have a word before theirs."""
    return lambda u: replace(u, id=u.id.replace(u.corpus, name, 1), corpus=name, speaker=speaker + u.speaker)


def overlap_of_new(
    run: RunRecord, utterances: Sequence[Utterance], folder: Path, user_corpora: Sequence[UserCorpus] = ()
) -> SpeakerOverlap:
    """Return the overlap of those utterances of a pack that are new to the run."""
    pack, _ = prepare(utterances, folder, user_corpora=user_corpora)
    new = [
        u for u, part in zip(pack.utterances, run.parts_of(pack.utterances, pack), strict=True) if not part
    ]
    return speaker_overlap(run, pack, new)


@pytest.fixture
def run(hum_pack: Pack, tmp_path: Path) -> RunRecord:
    return run_on(hum_pack, tmp_path / "run")


def test_the_same_pack(run: RunRecord, hum_pack: Pack) -> None:
    tested = [u for u in hum_pack.utterances if u.speaker in TESTED]
    words = "no test speaker (of 2) is in training or dev (speaker-independent)"
    assert speaker_overlap(run, hum_pack, tested) == SpeakerOverlap(False, words)


def test_the_same_corpus_of_another_name(run: RunRecord, hum_pack: Pack, tmp_path: Path) -> None:
    """All that made the model is recognised, so that the pack names everybody who made it."""
    again = list(map(renamed("other", "p"), hum_pack.utterances))
    assert overlap_of_new(run, again, tmp_path / "pack").verdict is False
    same_name = [replace(u, speaker="s0") if u.speaker == "ps4" else u for u in again]
    assert (
        overlap_of_new(run, same_name, tmp_path / "one").verdict is False
    )  # a name of the other corpus proves nothing
    same_speaker = [replace(u, speaker="ps0") if u.speaker == "ps4" else u for u in again]
    overlap = overlap_of_new(run, same_speaker, tmp_path / "known")
    words = "1 of 2 test speakers are also in training or dev (speaker-dependent)"
    assert overlap == SpeakerOverlap(True, words, ("other/ps0",))


def test_a_part_of_the_corpus(run: RunRecord, hum_pack: Pack, tmp_path: Path) -> None:
    tested = [u for u in hum_pack.utterances if u.speaker in TESTED]
    assert overlap_of_new(run, tested, tmp_path / "part").verdict is False
    other = [renamed("other")(u) for u in hum_pack.utterances if u.speaker not in ("s0", "s1")]
    overlap = overlap_of_new(run, other, tmp_path / "other")  # s4 of the one may be s0 of the other
    assert (overlap.verdict, overlap.shared) == (None, ())
    assert overlap.words.startswith("speakers of other may be among those of hum, which made the model")


def test_another_corpus_is_unknown_not_disjoint(run: RunRecord, hum_pack: Pack, tmp_path: Path) -> None:
    strangers = [renamed("other", "q")(u) for u in hum_pack.utterances if u.speaker in TESTED]
    assert overlap_of_new(run, strangers, tmp_path / "pack").verdict is None


def test_speakers_that_nobody_knows(run: RunRecord, hum_pack: Pack, tmp_path: Path) -> None:
    nameless = [replace(u, speaker="") if u.speaker == "s4" else u for u in hum_pack.utterances]
    overlap = overlap_of_new(run, nameless, tmp_path / "pack")
    assert (overlap.verdict, "unknown" in overlap.words) == (None, True)
    trained, _ = prepare([replace(u, speaker="" if u.speaker == "s0" else u.speaker) for u in hum_pack.utterances],
                         tmp_path / "trained")  # fmt: skip
    unsure = run_on(trained, tmp_path / "unsure")
    assert (
        overlap_of_new(
            unsure, [u for u in trained.utterances if u.speaker in TESTED], tmp_path / "part"
        ).verdict
        is None
    )


def test_names_of_own_corpora(hum_pack: Pack, tmp_path: Path) -> None:
    """Two corpora without a name of their own may differ; two of one name are the same."""
    for name, verdict in (("csv", None), ("calls", False)):
        place = tmp_path / name
        place.mkdir()
        user_corpora = [UserCorpus(name, "csv")]
        utterances = list(map(renamed(name), hum_pack.utterances))
        pack, _ = prepare(utterances, place / "pack", user_corpora=user_corpora)
        run = run_on(pack, place / "run")
        tested = [u for u in utterances if u.speaker in TESTED]
        assert overlap_of_new(run, tested, place / "part", user_corpora).verdict is verdict
        assert overlap_of_new(run, tested, place / "official").verdict is None


def test_digital_silence_identifies_nobody(hum_pack: Pack, tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    utterances = [
        replace(u, id=f"{u.id}-silent", file=tmp_path / "silent.wav") for u in hum_pack.utterances[::6]
    ]
    pack, _ = prepare([*hum_pack.utterances, *utterances], tmp_path / "pack")
    run = run_on(pack, tmp_path / "run")
    tested = [u for u in pack.utterances if u.speaker in TESTED]
    assert speaker_overlap(run, pack, tested).verdict is False


def test_evaluate_prints_the_overlap(hum_run: Path, hum_pack: Pack, tmp_path: Path) -> None:
    import json

    prepare(list(map(renamed("other", "p"), hum_pack.utterances)), tmp_path / "again")
    prepare([renamed("other")(u) for u in hum_pack.utterances if u.speaker in TESTED], tmp_path / "part")
    strangers = [replace(u, end=0.2) for u in map(renamed("other"), hum_pack.utterances)]
    prepare(strangers, tmp_path / "strangers")
    for name, verdict, words in (
        ("again", False, "speaker-independent"),
        ("strangers", None, "speakers of other may be among those of hum"),
    ):
        verb = ["evaluate", str(hum_run), "--on", str(tmp_path / name)]
        overlap = json.loads(CliRunner().invoke(app, [*verb, "--json"]).stdout)
        assert overlap["speaker_overlap"] is verdict
        assert words in overlap["overlap_words"]
        assert overlap["overlap_words"] in CliRunner().invoke(app, verb).stdout


def test_the_overlap_of_a_fold_in_words() -> None:
    utterances = [Utterance(f"a/{k}", "a", Path(f"{k}.wav"), f"s{k % 3}", "sad", "sad") for k in range(6)]
    dependent, independent = Fold((0, 1, 2), (), (3, 4, 5)), Fold((0, 3), (1, 4), (2, 5))
    words = "3 of 3 test speakers are also in training or dev (speaker-dependent)"
    assert fold_overlap(dependent, utterances) == SpeakerOverlap(True, words, ("a/s0", "a/s1", "a/s2"))
    words = "no test speaker (of 1) is in training or dev (speaker-independent)"
    assert fold_overlap(independent, utterances) == SpeakerOverlap(False, words)
    words = "1 of 1 test speakers are also in training or dev (speaker-dependent)"
    assert names_overlap({"a/1", ""}, {"a/1", "a/2"}) == SpeakerOverlap(True, words, ("a/1",))
    assert "nobody can say" in names_overlap({"a/1", ""}, {"a/2"}).words
