"""Readers of corpora: names, copies, counts and errors."""

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusals import message_of, touch

from emospec.data.corpora import CORPORA, check_corpus, corpus_remarks, read_corpus
from emospec.data.corpora.crema_d import FEMALE
from emospec.data.corpora.ravdess import FOLDS
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError
from emospec.vocabulary import VOCABULARY, common_emotion

SHARED = Path(__file__).parents[3] / "shared" / "corpora"

# Official path -> speaker, emotion, label, sex, text.
OFFICIAL: dict[str, dict[str, tuple[str, str, str, str, str]]] = {
    "emodb": {
        "wav/03a01Fa.wav": ("03", "happy", "F", "m", "a01"),
        "wav/08b10Wb.wav": ("08", "angry", "W", "f", "b10"),
        "wav/16a02Lc.wav": ("16", "bored", "L", "f", "a02"),
        "wav/11a05Ad.wav": ("11", "fearful", "A", "m", "a05"),
    },
    "ravdess": {
        "Actor_12/03-01-06-01-02-01-12.wav": ("Actor_12", "fearful", "06", "f", "S02"),
        "Actor_01/03-01-02-02-01-02-01.wav": ("Actor_01", "calm", "02", "m", "S01"),
    },
    "crema_d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("1001", "angry", "ANG", "m", "DFA"),
        "AudioWAV/1091_IEO_FEA_HI.wav": ("1091", "fearful", "FEA", "f", "IEO"),
        "AudioWAV/1040_ITH_SAD_X.wav": ("1040", "sad", "SAD", "m", "ITH"),
    },
    "nemo": {
        "samples/EB0_anger_1.wav": ("EB0", "angry", "anger", "f", "1"),
        "samples/WR0_surprised_90.wav": ("WR0", "surprised", "surprised", "m", "90"),
    },
    "tess": {
        "OAF_back_angry.wav": ("OAF", "angry", "angry", "f", "back"),
        "YAF_food_ps.wav": ("YAF", "surprised", "ps", "f", "food"),
        "OAF_neutral/OA_bite_neutral.wav": ("OAF", "neutral", "neutral", "f", "bite"),
    },
    "savee": {
        "AudioData/DC/a01.wav": ("DC", "angry", "a", "m", "a01"),
        "AudioData/KL/sa15.wav": ("KL", "sad", "sa", "m", "sa15"),
        "AudioData/JE/su07.wav": ("JE", "surprised", "su", "m", "su07"),
    },
    "emovo": {
        "f1/dis-f1-b1.wav": ("f1", "disgusted", "dis", "f", "b1"),
        "m3/gio-m3-l4.wav": ("m3", "happy", "gio", "m", "l4"),
    },
}


def facts(utterances: list[Utterance]) -> dict[str, tuple[str, ...]]:
    return {u.id: (u.speaker, u.emotion, u.label, u.sex, u.text) for u in utterances}


def error(act: Callable[[], object]) -> str:
    return message_of(CorpusError, act)


def test_registry() -> None:
    assert list(CORPORA) == [
        *(
            "iemocap",
            "emodb",
            "ravdess",
            "crema_d",
            "nemo",
            "tess",
            "savee",
            "emovo",
            "demo",
            "csv",
            "folders",
        )
    ]
    for name, corpus in CORPORA.items():
        assert corpus.name == name
        assert "" not in (corpus.title, corpus.layout, corpus.protocol)
        assert set(corpus.classes) <= set(VOCABULARY)
        if name not in ("demo", "csv", "folders"):
            assert "" not in (corpus.licence, corpus.citation)
            assert corpus.source.startswith("http")
        if corpus.expected is not None and corpus.classes:
            assert sum(corpus.classes.values()) == corpus.expected
        if isinstance(corpus.speakers, dict) and corpus.expected is not None:
            assert sum(corpus.speakers.values()) == corpus.expected
    assert sum(CORPORA["iemocap"].sessions.values()) == 5531
    assert "speaker-dependent" in CORPORA["tess"].note


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_flattened_and_recoded_copies_read_alike(name: str, tmp_path: Path) -> None:
    official = touch(tmp_path / "official", OFFICIAL[name])
    utterances = read_corpus(name, official)
    assert sorted(facts(utterances).values()) == sorted(OFFICIAL[name].values())
    assert {u.file for u in utterances} == {official / path for path in OFFICIAL[name]}
    assert {(u.corpus, u.language) for u in utterances} == {(name, CORPORA[name].language)}
    assert [u.id for u in utterances] == sorted(u.id for u in utterances)

    stems = [u.id.split("/")[1] for u in utterances]
    flattened = read_corpus(name, touch(tmp_path / "flat", (f"{stem}.FLAC" for stem in stems)))
    assert facts(flattened) == facts(utterances)
    recoded = read_corpus(
        name, touch(tmp_path / "ogg", (str(Path(p).with_suffix(".ogg")) for p in OFFICIAL[name]))
    )
    assert facts(recoded) == facts(utterances)


def test_only_recordings_of_the_corpus_are_read(tmp_path: Path) -> None:
    speech = "Actor_01/03-01-06-01-02-01-01.wav"
    others = (
        "Actor_01/03-02-06-01-02-01-01.wav",  # a song
        "Actor_01/01-01-06-01-02-01-01.mp4",  # video
        "Actor_01/._03-01-06-01-02-01-01.wav",
        ".cache/03-01-06-01-02-01-01.wav",
        "Actor_01/03-01-06-01-02-01-01.txt",
        "03-01-09-01-02-01-01.wav",
    )
    utterances = read_corpus("ravdess", touch(tmp_path, (speech, *others)))
    assert [u.file for u in utterances] == [tmp_path / speech]


def test_a_relative_root_still_has_its_folder_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, ["DC/a01.wav"])
    monkeypatch.chdir(tmp_path / "DC")
    assert [u.id for u in read_corpus("savee", ".")] == ["savee/DC_a01"]


def whole_ravdess() -> Iterable[str]:
    for actor, code, level, statement, repetition in product(
        range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2)
    ):
        if (code, level) != (1, 2):
            yield f"Actor_{actor:02}/03-01-{code:02}-{level:02}-{statement:02}-{repetition:02}-{actor:02}.wav"


def whole_savee() -> Iterable[str]:
    for speaker, code in product(("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su")):
        for n in range(1, 31 if code == "n" else 16):
            yield f"AudioData/{speaker}/{code}{n:02}.wav"


def whole_emovo() -> Iterable[str]:
    texts = ("b1", "b2", "b3", "l1", "l2", "l3", "l4", "n1", "n2", "n3", "n4", "n5", "d1", "d2")
    codes = ("dis", "gio", "pau", "rab", "sor", "tri", "neu")
    for speaker, code, text in product(("f1", "f2", "f3", "m1", "m2", "m3"), codes, texts):
        yield f"{speaker}/{code}-{speaker}-{text}.wav"


def whole_tess() -> Iterable[str]:
    words = [a + b + c for a, b, c in product("bdfgk", "aeiou", "lmnprstz")]
    for speaker, word, emotion in product(
        ("OAF", "YAF"), words, ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    ):
        yield f"{speaker}_{word}_{emotion}.wav"


@pytest.mark.parametrize(
    ("name", "files", "summary"),
    [
        ("ravdess", whole_ravdess, "1440 of 1440 utterances, 24 of 24 speakers"),
        ("savee", whole_savee, "480 of 480 utterances, 4 of 4 speakers"),
        ("emovo", whole_emovo, "588 of 588 utterances, 6 of 6 speakers"),
        ("tess", whole_tess, "2800 of 2800 utterances, 2 of 2 speakers"),
    ],
)
def test_whole_corpora_check_complete(
    name: str, files: Callable[[], Iterable[str]], summary: str, tmp_path: Path
) -> None:
    check = check_corpus(name, touch(tmp_path, files()))
    assert (check.summary, check.differences, check.complete) == (summary, (), True)


def test_a_partial_corpus_is_counted(tmp_path: Path) -> None:
    root = touch(tmp_path, whole_savee())
    shutil.rmtree(root / "AudioData" / "DC")
    (root / "AudioData" / "JE" / "h03.wav").unlink()
    touch(root, ["AudioData/JE/n31.wav"])
    check = check_corpus("savee", root)
    assert not check.complete
    assert check.summary == "360 of 480 utterances, 3 of 4 speakers"
    assert (check.found, check.expected, check.others) == (360, 480, 0)
    assert check.classes["happy"] == (44, 60)
    assert check.speakers == {"DC": (0, 120), "JE": (120, 120), "JK": (120, 120), "KL": (120, 120)}
    assert check.differences[:2] == ("360 of 480 utterances", "3 of 4 speakers")
    assert {"happy: 44 of 60", "neutral: 91 of 120", "speaker DC: 0 of 120"} <= set(check.differences)


def test_an_unexpected_speaker_is_a_difference(tmp_path: Path) -> None:
    check = check_corpus("emodb", touch(tmp_path, ["99a01Fa.wav"]))
    assert "speaker 99: 1 of 0" in check.differences


def test_crema_d_has_43_women() -> None:
    assert len(FEMALE) == 43
    assert all(1001 <= actor <= 1091 for actor in FEMALE)


def test_ravdess_folds_are_those_of_emobox() -> None:
    assert CORPORA["ravdess"].folds is FOLDS
    assert set(FOLDS) == set(CORPORA["ravdess"].speakers)  # type: ignore[arg-type]
    assert Counter(FOLDS.values()) == dict.fromkeys(range(1, 7), 4)


# Errors of every corpus


def test_an_unknown_corpus_is_an_error_with_a_hint() -> None:
    assert "no corpus is called 'emo_db', did you mean 'emodb'? Known: iemocap," in error(
        lambda: read_corpus("emo_db", ".")
    )
    assert "no corpus is called 'xyzzy'. Known:" in error(lambda: read_corpus("xyzzy", "."))


def test_missing_root(tmp_path: Path) -> None:
    message = error(lambda: read_corpus("emodb", tmp_path / "nowhere"))
    assert "nowhere does not exist" in message
    assert "wav/03a01Fa.wav" in message


def test_an_empty_corpus_is_an_error_with_its_layout(tmp_path: Path) -> None:
    message = error(lambda: read_corpus("emodb", tmp_path))
    assert "Expected: wav/03a01Fa.wav. Found: no audio file. Get it from http" in message
    touch(tmp_path, ["a/song.mp3", "b.wav"])
    assert "Found: 2 audio files, such as b.wav" in error(lambda: check_corpus("emodb", tmp_path))


def test_two_recordings_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, ["one/03a01Fa.wav", "copy/03a01Fa.flac", "one/03a01Wa.wav", "copy/03a01Wa.wav"])
    message = error(lambda: read_corpus("emodb", tmp_path))
    assert "two recordings are called emodb/03a01Fa, and differ" in message
    assert "for 2 ids" in message
    assert "one/03a01Fa.wav" in message
    assert "copy/03a01Fa.flac" in message


def test_emodb_is_read_from_its_wav_folder(tmp_path: Path) -> None:
    stems = ["03a01Fa", "08b10Wb"]
    touch(tmp_path, [f"{folder}/{stem}.wav" for folder in ("laryngo", "wav") for stem in stems])
    assert [u.file for u in read_corpus("emodb", tmp_path)] == [tmp_path / "wav" / f"{s}.wav" for s in stems]
    shutil.rmtree(tmp_path / "wav")
    assert len(read_corpus("emodb", tmp_path)) == 2


def test_equal_recordings_are_read_once(tmp_path: Path) -> None:
    name = "03-01-01-01-01-01-01"
    sound = np.random.default_rng(0).integers(-9999, 9999, 800).astype(np.int16)
    for place in ("Actor_01", "audio_speech_actors_01-24/Actor_01", "again"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / place / f"{name}.wav", sound, 16_000)
    soundfile.write(tmp_path / "again" / f"{name}.flac", sound, 16_000)  # other bytes, the same samples
    (read,) = read_corpus("ravdess", tmp_path)
    assert read.file == tmp_path / "Actor_01" / f"{name}.wav"
    soundfile.write(tmp_path / "again" / f"{name}.flac", sound // 2, 16_000)
    assert "two recordings are called" in error(lambda: read_corpus("ravdess", tmp_path))


def test_equal_recordings_with_different_labels_are_an_error(tmp_path: Path) -> None:
    for suffix in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{suffix}", np.zeros(800), 16_000)
    rows = "file,speaker,emotion\na.wav,ann,{}\na.flac,ann,happy\n"
    (tmp_path / "manifest.csv").write_text(rows.format("sad"))
    assert "differ in their sound or labels" in error(lambda: read_corpus("csv", tmp_path))
    (tmp_path / "manifest.csv").write_text(rows.format("happy"))
    assert len(read_corpus("csv", tmp_path)) == 1


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 72862\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            POINTER,
            "2 of 4 recordings are Git LFS pointers, not recordings: install git-lfs and call `git lfs pull`",
        ),
        (b"", "2 of 4 recordings are empty (0 bytes)"),
        (b"<!doctype html><p>404", "2 of 4 recordings are of another kind, each a web page (HTML)"),
        (b"\0\0\0 ftypM4A ", "each an MPEG-4 (m4a, mp4) file: convert them"),
        (bytes(50_000), "2 of 4 recordings do not begin as WAV"),
        (b"RIFF\0\0\0\0WAVEdata\0\1\0\0abc", "2 of 4 recordings are cut"),
    ],
)
def test_files_without_sound_make_a_corpus_incomplete(content: bytes, words: str, tmp_path: Path) -> None:
    names = [f"dis-{speaker}-b{k}.wav" for speaker in ("f1", "m1") for k in (1, 2)]
    touch(tmp_path, names)
    before = check_corpus("emovo", tmp_path)
    for name in names[:2]:
        (tmp_path / name).write_bytes(content)
    check = check_corpus("emovo", tmp_path)
    assert not check.complete
    (flaw,) = set(check.differences) - set(before.differences)
    assert words in flaw


def test_crema_d_is_read_from_its_wav_folder(tmp_path: Path) -> None:
    stems = ["1001_DFA_ANG_XX", "1091_IEO_FEA_HI"]
    touch(tmp_path, [f"AudioWAV/{stem}.wav" for stem in stems] + [f"AudioMP3/{stem}.mp3" for stem in stems])
    read = read_corpus("crema_d", tmp_path)
    assert [u.file for u in read] == [tmp_path / "AudioWAV" / f"{stem}.wav" for stem in stems]


def test_pooled_corpora_have_unique_ids(tmp_path: Path) -> None:
    pool = [u for name in OFFICIAL for u in read_corpus(name, touch(tmp_path / name, OFFICIAL[name]))]
    assert len({u.id for u in pool}) == len(pool) == sum(map(len, OFFICIAL.values()))


# The real corpora, where they lie beside the project


@pytest.mark.skipif(not SHARED.exists(), reason="the shared corpora are not here")
@pytest.mark.parametrize(
    ("name", "utterances", "speakers"),
    [
        ("emodb", 535, 10),
        ("nemo", 4481, 9),
        ("turev", 1735, 6),
        ("ased", 2469, 65),
        ("emotiontts_ko", 300, 15),
    ],
)
def test_the_manifests_of_shared_corpora_are_read(name: str, utterances: int, speakers: int) -> None:
    read = read_corpus(f"csv:{name}", SHARED / name / "manifest.csv")
    assert (len(read), len({u.voice for u in read})) == (utterances, speakers)
    assert corpus_remarks(f"csv:{name}", SHARED / name) == ["columns that are not read: 'duration'"]


@pytest.mark.skipif(not SHARED.exists(), reason="the shared corpora are not here")
@pytest.mark.parametrize("name", ["emodb", "ravdess", "nemo", "crema_d"])
def test_real_corpora_agree_with_their_manifests(name: str) -> None:
    with open(SHARED / name / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = {f"{name}/{Path(row['file']).stem}": row for row in csv.DictReader(file)}
    expected = {
        identity: (
            row["speaker"],
            common_emotion(row["emotion"].removeprefix("anxiety/")),
            row["sex"],
            row["text"],
            SHARED / name / row["file"],
        )
        for identity, row in rows.items()
    }
    utterances = read_corpus(name, SHARED / name)
    assert {u.id: (u.speaker, u.emotion, u.sex, u.text, u.file) for u in utterances} == expected
    check = check_corpus(name, SHARED / name)
    if name == "crema_d":  # without one silent recording, and three pairs of equal ones with two labels
        assert check.summary == "7435 of 7442 utterances, 91 of 91 speakers"
        assert {"7435 of 7442 utterances", "fearful: 1270 of 1271", "sad: 1269 of 1271"} <= set(
            check.differences
        )
    else:
        assert check.complete, check.differences


@pytest.mark.skipif(not SHARED.exists(), reason="the shared corpora are not here")
def test_ravdess_folds_agree_with_the_published_list() -> None:
    with open(SHARED / "ravdess" / "folds.csv", newline="", encoding="utf-8") as file:
        assert {row["speaker"]: int(row["test_fold"]) for row in csv.DictReader(file)} == FOLDS


def test_the_check_counts_files_of_other_kinds(tmp_path: Path) -> None:
    touch(tmp_path, ["happy/1.wav", "sad/2.m4a", "sad/3.wav", "sad/4.M4A", "sad/5.webm", "sad/notes.txt"])
    check = check_corpus("folders", tmp_path)
    assert not check.complete
    assert check.found == 2
    (difference,) = check.differences
    assert "3 recordings are left out, of kinds that are not read here: 2 .m4a, 1 .webm" in difference
    assert "ffmpeg -i NAME.m4a NAME.wav" in difference
    # Videos lie beside the recordings of some corpora, which may be complete all the same.
    touch(tmp_path / "e", ["wav/03a01Fa.wav", "video/03a01Fa.mp4"])
    assert not any("mp4" in words for words in check_corpus("emodb", tmp_path / "e").differences)
    assert "1 .mp4" in corpus_remarks("emodb", tmp_path / "e")[0]
    touch(tmp_path / "m", ["a/03-01-01-01-01-01-01.m4a"])
    message = error(lambda: read_corpus("ravdess", tmp_path / "m"))
    assert "Found: no audio file that is read here, but 1 .m4a: convert them" in message
