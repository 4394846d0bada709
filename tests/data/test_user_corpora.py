"""Corpora of the user's own: a CSV, folders, names and licences."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from refusals import message_of, touch

from emospec.data.corpora import check_corpus, corpus_remarks, read_corpus
from emospec.data.corpora.user import UserCorpus, with_licences
from emospec.data.utterances import Utterance
from emospec.errors import CorpusError


def error(act: Callable[[], object]) -> str:
    return message_of(CorpusError, act)


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


def test_a_csv_without_speakers_has_unknown_speakers(tmp_path: Path) -> None:
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
        (
            HEAD + "a.wav,ann,happy,,,x,\n",
            ":2: sex 'x' is not one of f, female, w, woman, m, male, man, or blank",
        ),
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
def test_mistakes_in_a_csv_name_the_line(text: str, message: str, tmp_path: Path) -> None:
    assert message in error(lambda: read_corpus("csv", manifest(tmp_path, text)))


@pytest.mark.parametrize(
    "word", ["", "nan", "NaN", "NAN", "None", "none", "null", "NULL", "#N/A", "N/A", "n/a", "NA", "<NA>", "NaT", "#REF!", "#NAME?", " nan ", "\u00a0"]
)  # fmt: skip
def test_words_for_a_missing_value_are_blanks(word: str, tmp_path: Path) -> None:
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


def test_a_sex_column_wins_over_gender(tmp_path: Path) -> None:
    text = "file,speaker,emotion,gender,sex\na.wav,ann,sad,m,f\n"
    assert [u.sex for u in read_corpus("csv", manifest(tmp_path, text))] == ["f"]


def test_unread_columns_are_listed_with_hints(tmp_path: Path) -> None:
    text = "file,speaker,emotion,duration,langauge,text\na.wav,ann,sad,1.5,de,x\n"
    assert [u.language for u in read_corpus("csv", manifest(tmp_path, text))] == [""]
    (words,) = corpus_remarks("csv", tmp_path)
    assert words == "columns that are not read: 'duration', 'langauge' (did you mean 'language'?)"


def test_user_corpora_have_names(tmp_path: Path) -> None:
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
def test_invalid_names_of_corpora_are_refused(name: str, tmp_path: Path) -> None:
    assert "A name is up to 64 letters" in error(lambda: read_corpus(name, tmp_path))
    assert "only csv and folders take a name" in error(lambda: read_corpus("emodb:x", tmp_path))


def test_licences_belong_to_user_corpora() -> None:
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


def test_an_unknown_home_folder_is_an_error() -> None:
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


def test_only_suffixes_of_recordings_are_cut_from_ids(tmp_path: Path) -> None:
    touch(tmp_path, ["call.001", "call.002", "v1.2/a.b.wav", "c.m4a"])
    rows = "".join(f"{name},ann,happy\n" for name in ("call.001", "call.002", "v1.2/a.b.wav", "c.m4a"))
    found = read_corpus("csv", manifest(tmp_path, f"file,speaker,emotion\n{rows}"))
    assert [u.id for u in found] == ["csv/c", "csv/call.001", "csv/call.002", "csv/v1.2/a.b"]
