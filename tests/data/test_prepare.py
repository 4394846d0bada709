"""The command `emospec prepare`: user corpora, licences, labels, warnings and packs of other utterances."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from conftest import error_of, tone
from emospec.cli import app
from emospec.data.pack import Pack
from emospec.data.utterances import Utterance

Make = Callable[[Path], list[Utterance]]
Says = Callable[..., str]


def run(*words: object) -> str:
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result.stdout


def facts(*words: object) -> dict[str, Any]:
    return dict(json.loads(run(*words, "--json")))


@pytest.fixture
def error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    return lambda *words: error_of(monkeypatch, capsys, *words)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A CSV of four recordings with two further columns, an odd label, and a speaker who is unknown."""
    for name, seconds, level in (("a", 1, 0.3), ("b", 0.2, 0.3), ("c", 15, 0.3), ("d", 1, 0.0)):
        soundfile.write(tmp_path / f"{name}.wav", tone(300, seconds, level=level), 16_000)
    rows = ["a,ann,Joy", "b,ann,anger", "c,bob,puzzled", "d,nan,happy"]
    text = "file,speaker,emotion,duration,rater\n" + "".join(
        f"{r.replace(',', '.wav,', 1)},1,x\n" for r in rows
    )
    (tmp_path / "calls.csv").write_text(text)
    return tmp_path / "calls.csv"


def test_user_corpora_are_named_pooled_and_licensed(calls: Path, tmp_path: Path) -> None:
    lab = tmp_path / "lab" / "sad" / "eve"
    lab.mkdir(parents=True)
    soundfile.write(lab / "x.wav", tone(200, 1), 16_000)
    asked = ("prepare", f"csv:calls={calls}", f"folders:lab={tmp_path / 'lab'}", "--pack", tmp_path / "pack",
             "--licence", "calls=CC BY 4.0", "--licence", "lab=ours")  # fmt: skip
    prepared = facts(*asked)
    assert prepared["corpora"] == {"calls": "4 utterances, 2 speakers", "lab": "1 utterance, 1 speaker"}
    assert prepared["own"] == [
        {"name": "calls", "reader": "csv", "licence": "CC BY 4.0"},
        {"name": "lab", "reader": "folders", "licence": "ours"},
    ]
    assert prepared["remarks"]["calls"] == [
        "columns that are not read: 'duration', 'rater'",
        "licence CC BY 4.0",
    ]
    pack = Pack(tmp_path / "pack")
    assert [u.id for u in pack.utterances] == ["calls/a", "calls/b", "calls/c", "calls/d", "lab/sad/eve/x"]
    assert facts(*asked)["made"] is False


def test_labels_and_their_emotions_are_printed(calls: Path, tmp_path: Path) -> None:
    output = run("prepare", f"csv:calls={calls}", "--pack", tmp_path / "pack")
    assert "calls: Joy -> happy 1, anger -> angry 1, happy 1" in output
    assert "calls: no emotion that emospec knows, so classes of their own: puzzled 1" in output
    assert "calls: columns that are not read: 'duration', 'rater'" in output
    assert "calls: licence not stated: --licence records it" in output
    labels = facts("prepare", f"csv:calls={calls}", "--pack", tmp_path / "pack")["labels"]
    assert labels[-1] == {
        "corpus": "calls",
        "label": "puzzled",
        "emotion": "puzzled",
        "utterances": 1,
        "known": False,
    }


def test_warnings_name_silent_tiny_overlong_and_unknown_speakers(calls: Path, tmp_path: Path) -> None:
    asked = ("prepare", f"csv:calls={calls}", "--pack", tmp_path / "pack")
    warnings = facts(*asked)["warnings"]
    assert [(w["kind"], w["utterances"], w["example"]) for w in warnings] == [
        ("silent", 1, "calls/d"),
        ("tiny", 1, "calls/b"),
        ("overlong", 1, "calls/c"),
        ("no speaker", 1, "calls/d"),
    ]
    lines = [line for line in run(*asked).splitlines() if line.startswith("warning: ")]
    assert lines == [f"warning: {w['words']}" for w in warnings]
    assert "1 of 4 utterances is shorter than 0.48 s, such as calls/b." in lines[1]
    assert "CLASS/SPEAKER/" in lines[3]
    assert "--set data.protocol=dai2019" in lines[3]


def test_there_is_no_warning_without_reason(tmp_path: Path) -> None:
    for name, seconds in (("a", 0.48), ("b", 14.0)):
        place = tmp_path / "lab" / "joy" / name
        place.mkdir(parents=True)
        soundfile.write(place / "x.wav", np.full(round(seconds * 16_000), 0.0011), 16_000)
    assert facts("prepare", f"folders={tmp_path / 'lab'}", "--pack", tmp_path / "pack")["warnings"] == []


def test_a_pack_of_other_recordings_needs_replace(calls: Path, tmp_path: Path, error: Says) -> None:
    folder = tmp_path / "pack"
    run("prepare", f"csv:calls={calls}", "--pack", folder)
    assert "was valid already" in run("prepare", f"csv:calls={calls}", "--pack", folder)
    other = ("prepare", f"csv:others={calls}", "--pack", folder)
    message = error(*other)
    assert "is a pack of other utterances" in message
    assert "--replace" in message
    assert Pack(folder).utterances[0].corpus == "calls"
    assert "made anew" in run(*other, "--replace")
    assert Pack(folder).utterances[0].corpus == "others"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "work.txt").write_text("mine")
    assert "is not a pack" in error("prepare", f"csv={calls}", "--pack", tmp_path / "thesis", "--replace")
    assert (tmp_path / "thesis" / "work.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["csv={}", "csv={}"], "corpus 'csv' is named twice. Name each, as in csv:calls=ROOT"),
        (["csv:a={}", "folders:a={}"], "corpus 'a' is named twice"),
        (["emodb={}", "csv:emodb={}"], "corpus 'emodb' is named twice"),
        (["csv:={}"], "a corpus cannot be called ''"),
        (["csv:a"], "is not of the form NAME=ROOT"),
        (["emdob:a={}"], "only csv and folders take a name"),
        (["csv:a={}", "--licence", " "], "is blank"),
        (["csv:a={}", "csv:b={}", "--licence", "CC0"], "say of which of a, b"),
        (["emodb={}", "--licence", "CC0"], "Other corpora have their own"),
    ],
)
def test_mistakes_are_errors_of_one_line(
    words: list[str], message: str, calls: Path, tmp_path: Path, error: Says
) -> None:
    asked = [word.format(calls) for word in words]
    assert message in error("prepare", *asked, "--pack", tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_the_check_lists_unread_columns(calls: Path) -> None:
    assert "columns that are not read: 'duration', 'rater'" in run("corpora", "check", "csv:calls", calls)
    assert facts("corpora", "check", "csv", calls)["remarks"] == [
        "columns that are not read: 'duration', 'rater'"
    ]


def test_a_corpus_of_bad_recordings_cannot_be_skipped(calls: Path, tmp_path: Path, error: Says) -> None:
    (tmp_path / "bad.csv").write_text("file,speaker,emotion\ncalls.csv,ann,sad\n")
    for more in ((), ("--skip-bad",)):
        message = error("prepare", f"csv={tmp_path / 'bad.csv'}", "--pack", tmp_path / "pack", *more)
        assert "1 of 1 recordings cannot be used" in message
        assert "--skip-bad" not in message
