"""Corpora: official names, flattened copies and other suffixes are read alike; counts and errors are true."""

import csv
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emospec.data.corpora import CORPORA, check_corpus, corpus_remarks, read_corpus
from emospec.data.corpora.crema_d import FEMALE
from emospec.data.corpora.ravdess import FOLDS
from emospec.data.corpora.user import UserCorpus, with_licences
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError
from emospec.vocabulary import EMOTIONS, common_emotion
from iemocap_tree import make_iemocap_tree

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


def touch(root: Path, names: Iterable[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        # A WAV by its first bytes, unlike any other.
        (root / name).write_bytes(b"RIFF\0\0\0\0WAVE" + os.fsencode(name))
    return root


def facts(utterances: list[Utterance]) -> dict[str, tuple[str, ...]]:
    return {u.id: (u.speaker, u.emotion, u.label, u.sex, u.text) for u in utterances}


def by(utterances: list[Utterance], attribute: str) -> dict[str, int]:
    return dict(Counter(getattr(u, attribute) for u in utterances))


def error(act: Callable[[], object]) -> str:
    with pytest.raises(CorpusError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    return message


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
        assert set(corpus.classes) <= set(EMOTIONS)
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


# IEMOCAP


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("iemocap")
    make_iemocap_tree(root)
    return root


def test_iemocap_whole_tree_gives_exactly_the_known_counts(iemocap: Path) -> None:
    utterances = read_corpus("iemocap", iemocap)
    four = [u for u in utterances if u.emotion in ("neutral", "happy", "angry", "sad")]
    assert len(four) == 5531
    assert by(four, "emotion") == {"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084}
    assert [by(four, "session")[f"Session{n}"] for n in range(1, 6)] == [1085, 1023, 1151, 1031, 1241]
    assert by(four, "style") == {"improvised": 2943, "scripted": 2588}
    assert by(four, "label")["exc"] == 1041
    assert len({u.id for u in utterances}) == len(utterances) == 5531 + 5 * 10
    assert not [u for u in utterances if u.label == "xxx" or u.file.name.startswith("._")]

    check = check_corpus("iemocap", iemocap)
    assert check.complete
    assert check.summary == "5531 of 5531 utterances, 10 of 10 speakers, 50 more of other emotions"


def test_iemocap_speaker_is_who_speaks_not_who_wears_the_markers(iemocap: Path) -> None:
    utterances = {u.id: u for u in read_corpus("iemocap", iemocap)}
    other = utterances["iemocap/Ses01F_impro01_M001"]
    assert (other.speaker, other.sex, other.session) == ("Ses01M", "m", "Session1")
    assert (other.style, other.text) == ("improvised", "impro01")
    scripted = utterances["iemocap/Ses05M_script01_1_F000"]
    assert (scripted.speaker, scripted.sex, scripted.style) == ("Ses05F", "f", "scripted")
    assert (scripted.text, scripted.session, scripted.language) == ("script01_1", "Session5", "en")
    assert {u.speaker for u in utterances.values()} == {f"Ses0{n}{s}" for n in range(1, 6) for s in "FM"}


def small_iemocap(root: Path) -> Path:
    labels = (
        touch(root, ["Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"]) / "Session1/dialog/EmoEvaluation"
    )
    rows = ("000\tneu", "001\texc", "002\txxx", "003\tfru", "004\tsad")
    (labels / "Ses01F_impro01.txt").write_text(
        "".join(
            f"[6.2901 - 8.2357]\tSes01F_impro01_F{row}\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t(\xe9)\n"
            for row in rows
        ),
        encoding="latin-1",
    )
    return touch(root, (f"flat/Ses01F_impro01_F{n:03}.flac" for n in range(4)))


def test_iemocap_flattened_part(tmp_path: Path) -> None:
    root = small_iemocap(tmp_path)
    assert [(u.label, u.emotion) for u in read_corpus("iemocap", root)] == [
        ("neu", "neutral"),
        ("exc", "happy"),
        ("fru", "frustrated"),
    ]
    check = check_corpus("iemocap", root)
    assert check.summary == "2 of 5531 utterances, 1 of 10 speakers, 1 more of other emotions"
    assert "session Session2: 0 of 1023" in check.differences


def test_iemocap_without_annotations_is_an_error(tmp_path: Path) -> None:
    root = touch(small_iemocap(tmp_path), ["Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav"])
    message = error(lambda: read_corpus("iemocap", root))
    assert "Ses02F_impro01_F000.wav has no labels" in message
    assert "no dialog/EmoEvaluation folder of Session2" in message


def test_iemocap_unknown_code_is_an_error(tmp_path: Path) -> None:
    root = small_iemocap(tmp_path)
    labels = root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    labels.write_text(labels.read_text(encoding="latin-1").replace("exc", "joy"), encoding="latin-1")
    assert "Ses01F_impro01.txt:3: emotion code 'joy' is not known. Known: neu," in error(
        lambda: read_corpus("iemocap", root)
    )


# Errors of every corpus


def test_unknown_name_names_the_nearest() -> None:
    assert "no corpus is called 'emo_db', did you mean 'emodb'? Known: iemocap," in error(
        lambda: read_corpus("emo_db", ".")
    )
    assert "no corpus is called 'xyzzy'. Known:" in error(lambda: read_corpus("xyzzy", "."))


def test_missing_root(tmp_path: Path) -> None:
    message = error(lambda: read_corpus("emodb", tmp_path / "nowhere"))
    assert "nowhere does not exist" in message
    assert "wav/03a01Fa.wav" in message


def test_nothing_found_says_what_was_expected_and_found(tmp_path: Path) -> None:
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


def test_of_emodb_as_it_is_released_the_waves_are_read(tmp_path: Path) -> None:
    stems = ["03a01Fa", "08b10Wb"]
    touch(tmp_path, [f"{folder}/{stem}.wav" for folder in ("laryngo", "wav") for stem in stems])
    assert [u.file for u in read_corpus("emodb", tmp_path)] == [tmp_path / "wav" / f"{s}.wav" for s in stems]
    shutil.rmtree(tmp_path / "wav")
    assert len(read_corpus("emodb", tmp_path)) == 2


def test_a_recording_that_is_there_twice_is_taken_once(tmp_path: Path) -> None:
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


def test_equal_recordings_of_unlike_labels_are_not_one(tmp_path: Path) -> None:
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
def test_a_copy_whose_files_hold_no_sound_is_not_complete(content: bytes, words: str, tmp_path: Path) -> None:
    names = [f"dis-{speaker}-b{k}.wav" for speaker in ("f1", "m1") for k in (1, 2)]
    touch(tmp_path, names)
    before = check_corpus("emovo", tmp_path)
    for name in names[:2]:
        (tmp_path / name).write_bytes(content)
    check = check_corpus("emovo", tmp_path)
    assert not check.complete
    (flaw,) = set(check.differences) - set(before.differences)
    assert words in flaw


def test_of_crema_d_as_it_is_released_the_waves_are_read(tmp_path: Path) -> None:
    stems = ["1001_DFA_ANG_XX", "1091_IEO_FEA_HI"]
    touch(tmp_path, [f"AudioWAV/{stem}.wav" for stem in stems] + [f"AudioMP3/{stem}.mp3" for stem in stems])
    read = read_corpus("crema_d", tmp_path)
    assert [u.file for u in read] == [tmp_path / "AudioWAV" / f"{stem}.wav" for stem in stems]


def test_pooled_corpora_have_unique_ids(tmp_path: Path) -> None:
    pool = [u for name in OFFICIAL for u in read_corpus(name, touch(tmp_path / name, OFFICIAL[name]))]
    assert len({u.id for u in pool}) == len(pool) == sum(map(len, OFFICIAL.values()))


# Your own data


def manifest(root: Path, text: str, files: Iterable[str] = ("a.wav", "b/c.wav")) -> Path:
    touch(root, files)
    (root / "manifest.csv").write_text(text, encoding="utf-8")
    return root


def test_csv_reads_every_column(tmp_path: Path) -> None:
    header = "\ufeffFile, Speaker ,EMOTION,start,end,sex,language,text,split,session,style\n"
    rows = "a.wav,ann,Joy,0.5,2,Female,de,hallo,valid,S1,improvised\n\na.wav,bob,anger,2,,m,,,test,,\n"
    rows += "b/c.wav,,puzzled,,,,,,,,\n"
    utterances = {u.id: u for u in read_corpus("csv", manifest(tmp_path, header + rows))}
    assert list(utterances) == ["csv/a@0.5-2.0", "csv/a@2.0-", "csv/b/c"]
    assert utterances["csv/a@0.5-2.0"] == Utterance(
        id="csv/a@0.5-2.0",
        corpus="csv",
        file=tmp_path / "a.wav",
        speaker="ann",
        emotion="happy",
        label="Joy",
        start=0.5,
        end=2.0,
        sex="f",
        language="de",
        text="hallo",
        session="S1",
        style="improvised",
        split="dev",
    )
    second = utterances["csv/a@2.0-"]
    assert (second.start, second.end, second.sex, second.split) == (2.0, None, "m", "test")
    assert (utterances["csv/b/c"].emotion, utterances["csv/b/c"].voice) == ("puzzled", "")
    check = check_corpus("csv", tmp_path / "manifest.csv")
    assert check.complete
    assert check.summary == "3 utterances, 2 speakers"


def test_csv_without_speakers_says_so(tmp_path: Path) -> None:
    check = check_corpus("csv", manifest(tmp_path, "file,speaker,emotion\na.wav,,happy\n"))
    assert check.summary == "1 utterance, speakers unknown"


HEAD = "file,speaker,emotion,start,end,sex,split\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "manifest.csv:1: no column file, speaker, emotion. Found: none. Required: file, speaker, emotion",
        ),
        ("file,emotion\na.wav,happy\n", ":1: no column speaker. Found: file, emotion"),
        (
            "file,speeker,emotion\n",
            ":1: no column speaker. Found: file, speeker, emotion ('speeker', did you mean 'speaker'?)",
        ),
        ("file,speaker,emotion,qqqq\n", "manifest.csv: no row below the header"),
        ("file;speaker;emotion\na.wav;ann;sad\n", ":1: its columns are separated by semicolons"),
        ('"file"\t"speaker"\t"emotion"\n', ":1: its columns are separated by tabs. Write it with commas"),
        ("\n\ufefffile|speaker|emotion\n", ":1: its columns are separated by bars"),
        ("sep=;\nfile;speaker;emotion\n", ":1: its columns are separated by semicolons"),
        ("sep=,\nfile,speaker,emotion\na.wav,ann,\n", ":3: the emotion is blank"),
        ("PAR1", "manifest.csv is a Parquet file, not a CSV"),
        ("PK\x03\x04", "manifest.csv is an Excel workbook, not a CSV"),
        ("file,speaker,emotion,File\n", ":1: column 'file' is there 2 times"),
        (HEAD, "manifest.csv: no row below the header"),
        (HEAD + "a.wav,ann\n", ":2: 2 cells, but the header names 7 columns"),
        (HEAD + ",ann,happy,,,,\n", ":2: the file is blank"),
        (HEAD + "\na.wav,ann,,,,,\n", ":3: the emotion is blank"),
        (HEAD + "z.wav,ann,happy,,,,\n", "z.wav does not exist. Files are relative to the folder of the CSV"),
        (HEAD + "a.wav,ann,happy,soon,,,\n", ":2: start 'soon' is not a number of seconds"),
        (HEAD + "a.wav,ann,happy,-1,,,\n", ":2: start '-1' is not a number of seconds from 0 up"),
        (HEAD + "a.wav,ann,happy,,inf,,\n", ":2: end 'inf' is not a number of seconds"),
        (HEAD + "a.wav,ann,happy,2,2,,\n", ":2: end 2.0 is not after start 2.0"),
        (HEAD + "a.wav,ann,happy,,0,,\n", ":2: end 0.0 is not after start 0.0"),
        (HEAD + "a.wav,ann,happy,,,x,\n", ":2: sex 'x' is not one of f, female, m, male, or blank"),
        (HEAD + "a.wav,ann,happy,,,,tst\n", ":2: split 'tst' is not one of train, dev,"),
        (HEAD + "a.wav,ann,nan,,,,\n", ":2: the emotion is blank"),
        (HEAD + "a.wav,ann,sad,,,,\nb/c.wav,ann, <NA> ,,,,\n", ":3: the emotion is blank"),
        (HEAD + "null,ann,happy,,,,\n", ":2: the file is blank"),
        (HEAD + "a.wav,ann,happy,1 day soon,,,\n", ":2: start '1 day soon' is not a number of seconds"),
        (HEAD + "b\\d.wav,ann,happy,,,,\n", "d.wav does not exist"),
        ('file,speaker,emotion,text\na.wav,ann,sad,"no\nb/c.wav,ann,sad,no\n', "unexpected end of data"),
        (
            HEAD + "a.wav,ann,happy,1,2,,\n./a.wav,bob,sad,1.0,2.0,,\n",
            ":3: the same recording, start and end as line 2",
        ),
    ],
)
def test_csv_mistakes_name_the_line(text: str, message: str, tmp_path: Path) -> None:
    assert message in error(lambda: read_corpus("csv", manifest(tmp_path, text)))


@pytest.mark.parametrize(
    "word", ["", "nan", "NaN", "NAN", "None", "none", "null", "NULL", "#N/A", "N/A", "n/a", "NA", "<NA>", "NaT", "#REF!", "#NAME?", " nan ", "\u00a0"]
)  # fmt: skip
def test_words_for_a_missing_value_are_blanks_in_every_column(word: str, tmp_path: Path) -> None:
    row = ["a.wav", word, "sad", *[word] * 8]
    header = "file,speaker,emotion,start,end,sex,language,text,split,session,style\n"
    (read,) = read_corpus("csv", manifest(tmp_path, header + ",".join(row) + "\n"))
    plain = Utterance(
        id="csv/a", corpus="csv", file=tmp_path / "a.wav", speaker="", emotion="sad", label="sad"
    )
    assert read == plain
    assert read.voice == ""


def test_names_that_look_like_blanks_are_names(tmp_path: Path) -> None:
    rows = "a.wav,Nan,Nonesuch\nb/c.wav,Na,nullified\n"
    read = read_corpus("csv", manifest(tmp_path, "file,speaker,emotion\n" + rows))
    assert [(u.speaker, u.label) for u in read] == [("Nan", "Nonesuch"), ("Na", "nullified")]


def test_a_csv_as_pandas_and_audformat_write_it(tmp_path: Path) -> None:
    text = (
        "\ufeffUnnamed: 0,,File,start,END,Speaker,emotion,Gender,rater,rater\n"
        "0,0,a.wav,0 days,0 days 00:00:01.500000,x,angry,F,1,2\n"
        '1,7,b\\c.wav,0 days 00:01:02.25,NaT,y,"sad",Male,"two\nlines",2\n'
        "2,8,a.wav,1 days 01:00:00,,z,sad,w,,\n"
    )
    read = {u.id: u for u in read_corpus("csv", manifest(tmp_path, text))}
    assert [(u.start, u.end, u.sex) for u in read.values()] == [
        (0.0, 1.5, "f"),
        (90_000.0, None, "f"),
        (62.25, None, "m"),
    ]
    assert list(read) == ["csv/a@0.0-1.5", "csv/a@90000.0-", "csv/b/c@62.25-"]
    assert corpus_remarks("csv", tmp_path) == ["columns that are not read: 'rater'"]


def test_sex_beside_gender_is_the_one_that_is_read(tmp_path: Path) -> None:
    text = "file,speaker,emotion,gender,sex\na.wav,ann,sad,m,f\n"
    assert [u.sex for u in read_corpus("csv", manifest(tmp_path, text))] == ["f"]


def test_further_columns_are_named_with_what_they_may_mean(tmp_path: Path) -> None:
    text = "file,speaker,emotion,duration,langauge,text\na.wav,ann,sad,1.5,de,x\n"
    assert [u.language for u in read_corpus("csv", manifest(tmp_path, text))] == [""]
    (words,) = corpus_remarks("csv", tmp_path)
    assert words == "columns that are not read: 'duration', 'langauge' (did you mean 'language'?)"


def test_own_corpora_have_names_of_their_own(tmp_path: Path) -> None:
    manifest(tmp_path, "file,speaker,emotion\na.wav,ann,sad\n")
    (read,) = read_corpus("csv:calls", tmp_path)
    assert (read.id, read.corpus, read.voice) == ("calls/a", "calls", "calls/ann")
    assert check_corpus("csv:calls", tmp_path).corpus == "calls"
    touch(tmp_path / "f", ["joy/ann/a.wav"])
    (laid,) = read_corpus("folders:lab.1", tmp_path / "f")
    assert (laid.id, laid.voice) == ("lab.1/joy/ann/a", "lab.1/ann")


@pytest.mark.parametrize(
    "name", ["csv:", "csv:a/b", "csv:a b", "csv:a:b", "csv:..", "csv:folders", "csv:" + "a" * 65]
)
def test_names_that_a_corpus_cannot_have(name: str, tmp_path: Path) -> None:
    assert "A name is up to 64 letters" in error(lambda: read_corpus(name, tmp_path))
    assert "only csv and folders take a name" in error(lambda: read_corpus("emodb:x", tmp_path))


def test_licences_are_of_own_corpora() -> None:
    calls, lab = UserCorpus("calls", "csv"), UserCorpus("lab", "folders")
    assert with_licences([calls], ["  CC BY\n4.0 "]) == [UserCorpus("calls", "csv", "CC BY 4.0")]
    assert with_licences([calls], ["https://a.org/?b=c"])[0].licence == "https://a.org/?b=c"
    both = with_licences([calls, lab], ["lab=CC0 1.0"])
    assert [own.licence for own in both] == ["", "CC0 1.0"]
    for corpora, licences, words in (
        ([calls, lab], ["CC0"], "say of which of calls, lab, as in calls=CC0"),
        ([calls], ["cals=CC0"], "is called 'cals', did you mean 'calls'?"),
        ([calls], ["calls= "], "is blank"),
        ([calls], ["a", "calls=b"], "calls has two"),
        ([], ["CC0"], "only csv and folders take one"),
    ):
        assert words in error(lambda corpora=corpora, licences=licences: with_licences(corpora, licences))  # type: ignore[misc]


def test_csv_missing_or_not_text(tmp_path: Path) -> None:
    assert "holds no manifest.csv" in error(lambda: read_corpus("csv", tmp_path))
    (tmp_path / "manifest.csv").write_bytes(b"file,speaker,emotion\na.wav,J\xf6rg,happy\n")
    assert "manifest.csv:2: not UTF-8" in error(lambda: read_corpus("csv", tmp_path))
    (tmp_path / "manifest.csv").write_text('file,speaker,emotion\n"' + "x" * 200_000)
    assert "field larger than field limit" in error(lambda: read_corpus("csv", tmp_path))


def test_folders_whose_names_are_no_utf8_and_other_suffixes(tmp_path: Path) -> None:
    touch(tmp_path, [os.fsdecode(b"gl\xfccklich/ann/\xfc.wav"), "joy/a.oga", "joy/b.aifc", "joy/._a.wav"])
    found = read_corpus("folders", tmp_path)
    assert [u.id for u in found] == ["folders/gl\\udcfccklich/ann/\\udcfc", "folders/joy/a", "folders/joy/b"]
    assert found[0].file.is_file()
    for word in (found[0].id, found[0].label, found[0].emotion, found[0].speaker):
        word.encode()


def test_a_home_that_is_not_there_is_a_line() -> None:
    with pytest.raises(CorpusError, match=r"~nobody-of-this-name/x does not exist"):
        read_corpus("emodb", "~nobody-of-this-name/x")


def test_folders(tmp_path: Path) -> None:
    touch(tmp_path, ["Anger/a.wav", "joy/ann/b.mp3", "joy/ann/deep/c.AIFF", "joy/notes.txt"])
    assert {u.id: (u.emotion, u.label, u.speaker) for u in read_corpus("folders", tmp_path)} == {
        "folders/Anger/a": ("angry", "Anger", ""),
        "folders/joy/ann/b": ("happy", "joy", "ann"),
        "folders/joy/ann/deep/c": ("happy", "joy", "ann"),
    }
    touch(tmp_path, ["stray.wav"])
    assert "stray.wav lies in no class folder. Expected: happy/recording.wav" in error(
        lambda: read_corpus("folders", tmp_path)
    )


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
def test_the_manifests_of_shared_corpora_read_as_they_are(name: str, utterances: int, speakers: int) -> None:
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


def test_files_of_other_kinds_are_named_by_the_check(tmp_path: Path) -> None:
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


def test_a_suffix_that_is_no_recordings_belongs_to_the_name(tmp_path: Path) -> None:
    touch(tmp_path, ["call.001", "call.002", "v1.2/a.b.wav", "c.m4a"])
    rows = "".join(f"{name},ann,happy\n" for name in ("call.001", "call.002", "v1.2/a.b.wav", "c.m4a"))
    found = read_corpus("csv", manifest(tmp_path, f"file,speaker,emotion\n{rows}"))
    assert [u.id for u in found] == ["csv/c", "csv/call.001", "csv/call.002", "csv/v1.2/a.b"]
