"""A manifest's columns and cells are understood as those of a corpus's CSV, and its rows are read as they are needed."""

import math
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from emospec.data.corpora.manifest import read
from emospec.errors import CorpusError, ScoringError
from emospec.inference.manifest import Manifest, location
from emospec.table_cells import cell_text, seconds_of


@pytest.mark.parametrize(
    "text",
    [
        "file,speaker,emotion,sex,start,end\na.wav,ann,sad,f,1.5,2\nb.wav,bob,calm,m,,\n",
        "\ufeff,File ,SPEAKER,emotion,Gender,start,END\n0, a.wav ,ann,sad,f,0 days 00:00:01.5,2\n1,b.wav,nan,calm, m ,NaN,None\n",
        "sep=,\n\nUnnamed: 0,file,speaker,emotion,gender,start,end\n0,sub\\a.wav,ann,sad,f,00:00:01.5,0:0:2\n1,b.wav,,calm,m,,\n",
        "gender,sex,file,speaker,emotion,start,end\nm,f,a.wav,ann,sad,1.5,2\nf,m,b.wav,bob,calm,<NA>,\n",
    ],
)
def test_a_table_is_understood_as_a_corpus_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "b.wav", "sub/a.wav"):
        (tmp_path / name).touch()
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    manifest = Manifest(tmp_path / "m.csv", ["speaker", "sex", "start", "end"])
    assert [field.name for field in manifest.kept] == ["speaker", "sex", "start", "end"]
    for utterance, (name, *cells) in zip(read(tmp_path / "m.csv"), manifest.rows(), strict=True):
        speaker, sex, start, end = map(cell_text, cells)
        assert location(manifest.base, name) == str(utterance.file)
        assert (speaker, sex) == (utterance.speaker, utterance.sex)
        assert seconds_of(start or "0") == utterance.start
        assert (seconds_of(end) if end else None) == utterance.end
        assert math.isfinite(utterance.start)


@pytest.mark.parametrize(
    "text",
    ["file;speaker;emotion\na.wav;ann;sad\n", "sep=;\nfile;speaker;emotion\n", "path,speaker,emotion\na.wav,ann,sad\n",
     "file,speaker,emotion\n,ann,sad\n", "file,speaker,emotion\n#N/A,ann,sad\n", "file,File,speaker,emotion\na,a,ann,sad\n",
     "file,speaker,emotion\na.wav,ann\n", "file,speaker,emotion\n"],
)  # fmt: skip
def test_a_table_is_refused_as_a_corpus_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(CorpusError):
        read(tmp_path / "m.csv")
    with pytest.raises(ScoringError):
        Manifest(tmp_path / "m.csv").count_and_hash()


def test_values_of_a_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    text = '\ufeffa,file,b\n007,"x\ny, z.wav",\n"1e3",ä.flac,null\n'
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    assert list(Manifest(tmp_path / "m.csv", ["b", "a"]).rows()) == [
        ("x\ny, z.wav", "", "007"),
        ("ä.flac", "null", "1e3"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("m.csv", "\ufeff,File ,call\n0, a.wav ,x\n1,b.wav,null\n", [("a.wav", "x"), ("b.wav", "null")]),
        ("m.csv", "Unnamed: 0,FILE,call\n0,sub\\a.wav,x\n", [("sub\\a.wav", "x")]),
    ],
)
def test_columns_are_named_as_in_the_csv_of_a_corpus(
    name: str, text: str, rows: list[tuple[str, str]], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert list(Manifest(tmp_path / name, ["call"]).rows()) == rows


def test_backslashes_are_taken_for_slashes_where_only_these_lead_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("sub/a.wav", "sub\\b.wav"):
        (tmp_path / name).touch()
    assert location(tmp_path, "sub\\a.wav") == str(tmp_path / "sub/a.wav")
    assert location(tmp_path, "sub\\b.wav") == str(tmp_path / "sub\\b.wav")
    assert location(tmp_path, "sub\\c.wav") == str(tmp_path / "sub\\c.wav")


@pytest.mark.parametrize("word", ["nan", "None", "null", "#N/A", "<NA>", " ", "NaN"])
def test_a_blank_path_is_refused_with_its_row(word: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"file,x\na.wav,1\n{word},2\n")
    parquet.write_table(pa.table({"File": ["a.wav", word]}), tmp_path / "m.parquet")
    parquet.write_table(pa.table({"file": ["a.wav", None]}), tmp_path / "none.parquet")
    for name in ("m.csv", "m.parquet", "none.parquet"):
        with pytest.raises(ScoringError, match="row 2 names no file"):
            list(Manifest(tmp_path / name).rows())


@pytest.mark.parametrize(("separator", "words"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators_are_named(separator: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(separator.join(['"x"', '"file"']) + "\n" + separator.join("1a"))
    with pytest.raises(ScoringError, match=f"its columns are separated by {words}. Write it with commas"):
        Manifest(tmp_path / "m.csv")


def test_rows_are_read_as_they_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    file.write_text("file\n" + "".join(f"{k:0300}.wav\n" for k in range(100_000)))
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for (name,) in Manifest(file).rows():
        assert int(name[:300]) == count
        count += 1
        most = max(most, pa.total_allocated_bytes() - before)
    assert count == 100_000
    assert most < file.stat().st_size / 2
