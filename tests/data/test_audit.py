"""The audit finds planted leaks, and passes clean folds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from pydantic import TypeAdapter

from conftest import SHARED, tone
from emospec.data.audit import Audit, Finding, FindingStatus, audit_fold, audit_lists, hash_ids
from emospec.data.corpora import demo, read_corpus
from emospec.data.fingerprint import (
    FEWEST_BITS,
    MAX_ERROR,
    bit_errors,
    fingerprint,
    near_duplicates,
    strong_bits,
)
from emospec.data.pack import Pack, prepare
from emospec.data.splits import Fold, make_split
from emospec.data.utterances import Utterance
from emospec.errors import PackError, ProtocolError

RATE = 16_000
Samples = NDArray[np.float32]


def noisy(waveform: Samples, snr_db: float) -> Samples:
    noise = default_rng(0).standard_normal(len(waveform)) * waveform.std() * 10 ** (-snr_db / 20)
    return (waveform + noise).astype(np.float32)


def faster(waveform: Samples, speed: float) -> Samples:
    resampled: Samples = soxr.resample(waveform, RATE * speed, RATE)
    return resampled


WRITERS: dict[str, tuple[str, Callable[[Samples], Samples], dict[str, Any]]] = {
    "mp3": ("mp3", np.copy, {"compression_level": 0.3, "bitrate_mode": "CONSTANT"}),
    "vorbis": ("ogg", np.copy, {"subtype": "VORBIS", "compression_level": 0.6}),
    "opus": ("ogg", np.copy, {"subtype": "OPUS", "compression_level": 0.9}),
    "quieter": ("aiff", lambda w: w * 10 ** (-12 / 20), {"subtype": "PCM_16"}),
    "clipped": ("wav", lambda w: np.clip(2 * w / np.abs(w).max(), -1, 1), {}),
    "8kHz": ("wav", lambda w: soxr.resample(soxr.resample(w, RATE, 8000), 8000, RATE), {}),
    "noise": ("flac", lambda w: noisy(w, 20), {}),
    "cut": ("wav", lambda w: w[1600:-1600], {}),
    "padded": ("wav", lambda w: np.pad(w, (7777, 1234)), {}),
    "faster": ("wav", lambda w: faster(w, 1.05), {}),
    "slower": ("wav", lambda w: faster(w, 0.95), {}),
    "slower by 10 %": ("wav", lambda w: faster(w, 0.9), {}),
}
"""Copies as augmentation and re-encoding make them: suffix, change of the waveform, options of the writer."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    root = tmp_path_factory.mktemp("demo")
    demo.synthesise(root, speakers=6, per_class=2)
    return demo.read(root)


@pytest.fixture(scope="module")
def packed(corpus: list[Utterance], tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return prepare(corpus, tmp_path_factory.mktemp("packed") / "pack")[0]


@pytest.fixture(scope="module")
def copies(
    corpus: list[Utterance], packed: Pack, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pack, dict[str, str]]:
    """The corpus and one altered copy of an utterance per writer; copy -> original."""
    root = tmp_path_factory.mktemp("copies")
    originals = {name: 3 * k for k, name in enumerate(WRITERS)}
    made = []
    for name, (suffix, alter, options) in WRITERS.items():
        file = root / f"{name}.{suffix}"
        soundfile.write(file, alter(packed.waveform(originals[name])), RATE, **options)
        made.append(Utterance(f"copies/{name}", "copies", file, "nobody", "sad", "sad"))
    pack, _ = prepare([*corpus, *made], root / "pack")
    return pack, {f"copies/{name}": corpus[i].id for name, i in originals.items()}


def with_more(corpus: list[Utterance], folder: Path, recordings: dict[str, Samples]) -> tuple[Pack, Fold]:
    """A pack of the corpus and recordings of two more speakers; the first recording trains, the others test."""
    more = []
    for k, (name, samples) in enumerate(recordings.items()):
        file = folder / f"{name}.wav"
        soundfile.write(file, samples, RATE, "PCM_16")
        more.append(Utterance(f"more/{name}", "more", file, "ann" if k == 0 else "bob", "sad", "sad"))
    pack, _ = prepare([*corpus, *more], folder / "pack")
    n = len(corpus)
    train = [i for i, u in enumerate(corpus) if u.speaker < "S05"]
    dev = [i for i, u in enumerate(corpus) if u.speaker >= "S05"]
    return pack, Fold((*train, n), tuple(dev), tuple(range(n + 1, n + len(more))))


def finding(audit: Audit, check: str) -> Finding:
    return next(f for f in audit.findings if f.check == check)


def verdicts(audit: Audit) -> dict[str, FindingStatus]:
    return {f.check: f.verdict for f in audit.findings}


def ids(utterances: Sequence[Utterance], indices: Sequence[int]) -> list[str]:
    return [utterances[i].id for i in indices]


def test_a_clean_fold_passes_before_and_after_training(packed: Pack, corpus: list[Utterance]) -> None:
    split = make_split(corpus, "groups:3")
    for fold in split.folds:
        before = audit_fold(packed, fold, corpus, protocol="groups:3")
        assert verdicts(before) == {
            "speakers": "pass",
            "duplicates": "pass",
            "near-duplicates": "pass",
            "standardiser": "not applicable",
            "selection": "not applicable",
            "sentences": "not applicable",
            "duplicates inside a set": "note",
        }
        assert "not trained yet" in finding(before, "standardiser").words
        used = {
            "fitted_on": hash_ids(reversed(ids(corpus, fold.train))),
            "selected_on": hash_ids(ids(corpus, fold.dev)),
        }
        after = before.replaced(audit_lists(fold, corpus, **used))
        trained = ("standardiser", "selection")
        unchanged, kept = ([f for f in a.findings if f.check not in trained] for a in (before, after))
        assert kept == unchanged
        assert verdicts(after)["standardiser"] == verdicts(after)["selection"] == "pass"
        assert after.leaks == ()
        assert after.summary == "audit: no leak"
        after.refuse_leaks()


def test_shared_speakers_are_found(packed: Pack, corpus: list[Utterance]) -> None:
    fold = make_split(corpus, "groups:3").folds[0]
    planted = replace(fold, train=fold.train[1:], test=(*fold.test, fold.train[0]))
    result = finding(audit_fold(packed, planted, corpus), "speakers")
    voice = corpus[fold.train[0]].voice
    assert result.verdict == "fail"
    assert result.words == "1 of 3 test speakers are also in training"
    assert result.evidence == ((voice,),)
    in_dev = replace(fold, dev=fold.dev[1:], test=(*fold.test, fold.dev[0]))
    assert finding(audit_fold(packed, in_dev, corpus), "speakers").words.endswith("are also in dev")


def test_speakers_shared_by_design_are_a_leak_with_a_remark(packed: Pack, corpus: list[Utterance]) -> None:
    audit = audit_fold(packed, make_split(corpus, "dai2019").folds[0], corpus, protocol="dai2019")
    assert [leak.check for leak in audit.leaks] == ["speakers"]
    assert audit.leaks[0].words.endswith("training and dev (speaker-dependent, by design of dai2019)")
    with pytest.raises(ProtocolError, match=r"1 leak: speakers: .* by design of dai2019.* without --strict"):
        audit.refuse_leaks()


def test_unknown_speakers_do_not_pass(packed: Pack, corpus: list[Utterance]) -> None:
    fold = make_split(corpus, "groups:3").folds[0]
    unknown = [replace(u, speaker="") if i in fold.train[:1] else u for i, u in enumerate(corpus)]
    result = finding(audit_fold(packed, fold, unknown), "speakers")
    assert result.verdict == "not applicable"
    assert "unknown" in result.words
    # What is known to be shared stays a leak.
    shared = replace(fold, test=(*fold.test, fold.train[1]))
    assert finding(audit_fold(packed, shared, unknown), "speakers").verdict == "fail"


def test_a_duplicate_across_sets_is_found_under_another_name(
    corpus: list[Utterance], packed: Pack, tmp_path: Path
) -> None:
    pack, fold = with_more(corpus, tmp_path, {"first": packed.waveform(9), "again": packed.waveform(9)})
    audit = audit_fold(pack, fold, pack.utterances)
    assert [leak.check for leak in audit.leaks] == ["duplicates"]
    result = audit.leaks[0]
    assert ("more/again", "more/first") in result.evidence
    assert ("more/again", corpus[9].id) in result.evidence
    assert "2 pairs in test and training" in result.words
    inside = finding(audit, "duplicates inside a set")
    assert inside.words == f"1 pair in training: {corpus[9].id} and more/first"


def test_an_utterance_in_two_sets_is_a_duplicate(packed: Pack, corpus: list[Utterance]) -> None:
    fold = make_split(corpus, "groups:3").folds[0]
    planted = replace(fold, dev=(*fold.dev, fold.test[0]))
    result = finding(audit_fold(packed, planted, corpus), "duplicates")
    assert result.evidence == ((corpus[fold.test[0]].id,) * 2,)
    assert "1 pair in test and dev" in result.words


def test_exactly_the_altered_copies_across_sets_are_found(copies: tuple[Pack, dict[str, str]]) -> None:
    pack, original = copies
    n = len(pack) - len(original)
    train = tuple(i for i in range(n) if pack.utterances[i].id in original.values())
    dev = tuple(i for i in range(n) if i not in train)
    audit = audit_fold(pack, Fold(train, dev, tuple(range(n, len(pack)))), pack.utterances)
    assert [leak.check for leak in audit.leaks] == ["near-duplicates"]
    assert dict(audit.leaks[0].evidence) == original
    assert f"{len(original)} pairs in test and training, such as copies/" in audit.leaks[0].words


def test_the_audit_names_the_sets_that_were_used(corpus: list[Utterance]) -> None:
    fold = make_split(corpus, "groups:3").folds[0]
    everyone = hash_ids(u.id for u in corpus)
    of_test = hash_ids(ids(corpus, fold.test))
    planted = Audit(audit_lists(fold, corpus, fitted_on=everyone, selected_on=of_test))
    assert [leak.check for leak in planted.leaks] == ["standardiser", "selection"]
    n, m = len(fold.train), len(fold.dev)
    assert (
        planted.leaks[0].words == f"fitted on the utterances of all, not on the {n} training utterances alone"
    )
    assert planted.leaks[1].words == f"made on the utterances of test, not on the {m} dev utterances alone"
    both = hash_ids(ids(corpus, (*fold.train, *fold.dev)))
    standardiser, _ = audit_lists(fold, corpus, fitted_on=both, selected_on=None)
    assert "of training and dev, not" in standardiser.words
    fewer, twice = ids(corpus, fold.train[1:]), ids(corpus, (*fold.train, fold.train[0]))
    for used in (fewer, twice):
        standardiser, _ = audit_lists(fold, corpus, fitted_on=hash_ids(used), selected_on=None)
        assert standardiser.verdict == "fail"
        assert standardiser.words.startswith("fitted on other utterances (sha256")


def test_shared_sentences_are_a_note(packed: Pack, corpus: list[Utterance]) -> None:
    fold = make_split(corpus, "groups:3").folds[0]
    with_texts = [replace(u, text=f"t{i % 3}") for i, u in enumerate(corpus)]
    result = finding(audit_fold(packed, fold, with_texts), "sentences")
    assert result.verdict == "note"
    assert result.words == "3 of the 3 sentences or prompts of test are also in training"
    assert result.evidence == (("demo/t0",), ("demo/t1",), ("demo/t2",))


def test_the_summary_names_checks_without_a_result(packed: Pack, corpus: list[Utterance]) -> None:
    fold = make_split(corpus, "groups:3").folds[0]
    anonymous = [replace(u, speaker="") for u in corpus]
    assert audit_fold(packed, fold, anonymous).summary == "audit: no leak; could not be told: speakers"
    with_texts = [replace(u, text="t" if i in fold.test else "") for i, u in enumerate(corpus)]
    assert finding(audit_fold(packed, fold, with_texts), "sentences").verdict == "not applicable"


def test_an_audit_is_read_back_from_json(packed: Pack, corpus: list[Utterance]) -> None:
    audit = audit_fold(packed, make_split(corpus, "dai2019").folds[0], corpus, protocol="dai2019")
    stored = TypeAdapter(Audit)
    assert stored.validate_json(stored.dump_json(audit)) == audit
    assert audit.summary.startswith("audit: 1 leak: speakers: ")


def test_a_pack_of_another_corpus_is_refused(packed: Pack, corpus: list[Utterance]) -> None:
    fold = make_split(corpus, "groups:3").folds[0]
    others = [replace(u, id=f"other/{u.id}") for u in corpus]
    with pytest.raises(ProtocolError, match=r"does not hold other/demo/S\d\d"):
        audit_fold(packed, fold, others)


def test_silence_and_hum_match_nothing(corpus: list[Utterance], tmp_path: Path) -> None:
    quiet = {
        "silence": np.zeros(20_000, np.float32),
        "longer silence": np.zeros(24_000, np.float32),
        "direct current": np.full(24_000, 0.3, np.float32),
        "hum": tone(440, 1.5),
        "longer hum": tone(440, 2.0),
        "blink": tone(440, 0.001),
    }
    pack, fold = with_more(corpus, tmp_path, quiet)
    result = finding(audit_fold(pack, fold, pack.utterances), "near-duplicates")
    assert result.verdict == "not applicable"  # nothing in test can be told from anything
    fuller = replace(fold, train=fold.train[1:], test=(fold.train[0], *fold.test))
    result = finding(audit_fold(pack, fuller, pack.utterances), "near-duplicates")
    assert result.verdict == "pass"
    assert result.words.endswith("6 of 54 recordings are too short, silent or steady to tell")


def test_another_take_of_a_sentence_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same syllables in the same manner of one voice, with the accents and pace of another day."""
    original = demo.babble

    def another_take(
        how: demo.Manner, rng: Generator
    ) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64]]:
        tracks, accents = original(how, default_rng(3))
        steps = np.arange(len(accents))
        pace = np.exp(0.15 * rng.standard_normal(len(steps) // 150 + 1)).repeat(150)[: len(steps)]
        at = np.interp(np.arange(int(pace.sum())), np.cumsum(pace), steps).astype(int)
        knots = np.arange(0, len(steps) + 200, 200)
        accents = accents + 0.2 * np.interp(steps, knots, rng.standard_normal(len(knots)))
        return {name: track[at] for name, track in tracks.items()}, accents[at]

    monkeypatch.setattr(demo, "babble", another_take)
    who = demo.draw_voice(True, default_rng(1))
    takes = []
    for seed in range(8):
        rng = default_rng(seed)
        how = demo.draw_manner(who, "neutral", rng)._replace(pauses=0)
        takes.append(fingerprint(demo.record(who, demo.speak(who, how, rng), rng).astype(np.float32)))
    first, second = np.triu_indices(8, 1)
    errors, _, _ = bit_errors(np.stack(takes)[first], np.stack(takes)[second])
    assert errors.min() > 1.3 * MAX_ERROR
    assert near_duplicates(np.stack(takes[:4]), np.stack(takes[4:])) == []


def test_preparing_stores_the_fingerprints(packed: Pack) -> None:
    assert isinstance(packed.fingerprints, np.memmap)
    assert len(packed.fingerprints) == len(packed)
    for i in (0, 20, 47):
        np.testing.assert_array_equal(packed.fingerprints[i], fingerprint(packed.waveform(i)))
    assert (strong_bits(packed.fingerprints) > FEWEST_BITS).all()


def test_overlapping_parts_of_one_recording_are_duplicates(tmp_path: Path) -> None:
    samples = default_rng(0).normal(0, 0.1, 8 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, RATE)
    made = [
        Utterance(
            f"csv/{start}", "csv", tmp_path / "long.wav", "ann", "sad", "sad", start=start, end=start + 3.0
        )
        for start in (0.0, 2.0, 3.0, 5.0)
    ]
    pack, _ = prepare(made, tmp_path / "pack")
    result = finding(audit_fold(pack, Fold((0,), (3,), (1,)), made), "duplicates")
    assert (result.verdict, result.evidence) == ("fail", (("csv/2.0", "csv/0.0"),))
    assert result.words == "the same samples in two sets: 1 pair in test and training: csv/2.0 and csv/0.0"
    apart = audit_fold(pack, Fold((0,), (3,), (2,)), made)  # 0 to 3, 3 to 6 and 5 to 8 s
    assert finding(apart, "duplicates").evidence == (("csv/3.0", "csv/5.0"),)
    assert finding(audit_fold(pack, Fold((0,), (), (2,)), made), "duplicates").verdict == "pass"


def test_missing_fingerprints_are_an_error(corpus: list[Utterance], tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    prepare(corpus[:3], folder)
    (folder / "fingerprints.bin").write_bytes(b"")
    with pytest.raises(PackError, match=r"fingerprints.bin is damaged: 0 of 7200 bytes"):
        Pack(folder)
    assert prepare(corpus[:3], folder)[1]
    assert len(Pack(folder).fingerprints) == 3


# Six recordings that CREMA-D has twice, cut at two places, under other names: their waveforms correlate by 0.96 or more.
TWICE_IN_CREMA_D = {
    (f"crema_d/{first}", f"crema_d/{second}")
    for first, second in (
        ("1017_IWL_ANG_XX", "1017_IWL_FEA_XX"),
        ("1020_IEO_ANG_LO", "1020_IEO_ANG_MD"),
        ("1028_IEO_HAP_LO", "1028_IEO_HAP_MD"),
        ("1045_ITH_DIS_XX", "1045_IWL_DIS_XX"),
        ("1056_MTI_ANG_XX", "1056_TAI_ANG_XX"),
        ("1067_IEO_DIS_LO", "1067_IEO_FEA_LO"),
    )
}


@pytest.mark.full
@pytest.mark.skipif(not SHARED.exists(), reason="the shared corpora are not beside the project")
class TestRealSpeech:
    def test_the_duplicate_of_ravdess_is_found_and_its_takes_are_not(self, tmp_path: Path) -> None:
        pack, _ = prepare(read_corpus("ravdess", SHARED / "ravdess"), tmp_path / "pack")
        # First takes train, second takes test: of all folds the one with the most pairs that are nearly alike.
        takes = [[i for i, u in enumerate(pack.utterances) if u.id[-5:-3] == take] for take in ("01", "02")]
        fold = Fold(tuple(takes[0]), (), tuple(takes[1]))
        audit = audit_fold(pack, fold, pack.utterances)
        pair = ("ravdess/03-01-03-01-02-02-07", "ravdess/03-01-03-01-02-01-07")
        assert finding(audit, "duplicates").evidence == (pair,)
        assert finding(audit, "near-duplicates").verdict == "pass"
        whole = audit_fold(pack, Fold(tuple(range(len(pack))), (), ()), pack.utterances)
        assert finding(whole, "duplicates inside a set").evidence == (pair[::-1],)

    @pytest.mark.parametrize(
        ("name", "known"), [("emodb", set()), ("nemo", set()), ("crema_d", TWICE_IN_CREMA_D)]
    )
    def test_no_false_alarm(self, name: str, known: set[tuple[str, str]], tmp_path: Path) -> None:
        pack, _ = prepare(read_corpus(name, SHARED / name), tmp_path / "pack")
        # Every utterance against all, of which it is itself the most similar.
        matches = near_duplicates(pack.fingerprints, pack.fingerprints)
        telling = np.flatnonzero(strong_bits(pack.fingerprints) >= FEWEST_BITS)  # one is digital silence
        assert {m.first for m in matches if m.first == m.second} == set(telling.tolist())
        result = {
            tuple(sorted((pack.utterances[m.first].id, pack.utterances[m.second].id)))
            for m in matches
            if m.first != m.second
        }
        assert result == known

    def test_altered_copies_are_found(self, tmp_path: Path) -> None:
        pack, _ = prepare(read_corpus("emodb", SHARED / "emodb"), tmp_path / "pack")
        chosen = default_rng(0).choice(len(pack), 40, replace=False)
        for name, (suffix, alter, options) in WRITERS.items():
            made = []
            for i in chosen:
                file = tmp_path / f"{name}-{i}.{suffix}"
                soundfile.write(file, alter(pack.waveform(i)), RATE, **options)
                made.append(Utterance(f"copy/{name}-{i}", "copy", file, "nobody", "sad", "sad"))
            copied, _ = prepare(made, tmp_path / f"pack {name}")
            matches = near_duplicates(copied.fingerprints, pack.fingerprints)
            assert sorted((m.first, m.second) for m in matches) == list(enumerate(chosen)), name
