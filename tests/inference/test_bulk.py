"""Bulk scoring gives the recogniser's predictions in the manifest's order, whatever was killed and whoever worked."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from pyarrow import parquet
from typer.testing import CliRunner

from clusters import cluster, wait_for
from conftest import tone
from emospec import score
from emospec.audio.discovery import printable
from emospec.cli import app
from emospec.data.pack import Pack
from emospec.errors import ScoringError, TimelineError, WorkersError
from emospec.inference.bulk import error_kind
from emospec.inference.recognizer import Recognizer
from emospec.inference.streaming import Timing

TIMING = Timing(0.5, 0.2, check_speech=False)  # tones are to have an emotion
RESULTS = ("part-*.parquet", "timelines-*.parquet", "errors.parquet")


@pytest.fixture(scope="module")
def calls(hum_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 36 recordings, each named by its path, a missing one, and one that is no audio."""
    folder = tmp_path_factory.mktemp("calls")
    lines = ["call,file"]
    for k, utterance in enumerate(hum_pack.utterances):
        (folder / utterance.file.name).hardlink_to(utterance.file)
        lines.append(f"{k:03},{utterance.file.name}")
    lines[6:6] = ["900,missing.wav", '901,"no, audio.wav"']
    (folder / "no, audio.wav").write_bytes(b"not audio")
    (folder / "calls.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "calls.csv"


def rows_of(out: Path, what: str = "part") -> list[dict[str, Any]]:
    return [row for file in sorted(out.glob(f"{what}-*")) for row in parquet.read_table(file).to_pylist()]


def bytes_of(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for pattern in RESULTS for file in out.glob(pattern)}


@pytest.fixture(scope="module")
def whole(calls: Path, hum_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "results"
    score(calls, out, hum_model, keep=["call"], z=True, timing=TIMING, shard_files=7, jobs=1)
    return out


def again(calls: Path, out: Path, model: Path, **others: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"keep": ["call"], "z": True, "timing": TIMING, "shard_files": 7, "jobs": 1}
    return score(calls, out, model, **arguments | others)


def test_rows_are_the_recognisers_in_the_manifests_order(
    whole: Path, calls: Path, recognizer: Recognizer
) -> None:
    rows = rows_of(whole)
    lines = [line.split(",", 1) for line in calls.read_text().splitlines()[1:]]
    assert [row["row"] for row in rows] == list(range(38))
    assert [[row["call"], row["recording"]] for row in rows] == [[c, f.strip('"')] for c, f in lines]
    for row in rows:
        if row["error"]:
            assert row["emotion"] is row["confidence"] is row["z"] is None
            continue
        prediction = recognizer.predict(calls.parent / row["recording"])
        assert {name: row[f"p_{name}"] for name in prediction.probabilities} == prediction.probabilities
        for name in ("emotion", "confidence", "typicality", "seconds"):
            assert row[name] == getattr(prediction, name)
        assert (row["span_start"], row["span_end"]) == prediction.span
        assert tuple(row["warnings"]) == prediction.warnings
        np.testing.assert_array_equal(np.float32(row["z"]), prediction.z)
    timeline = recognizer.timeline(calls.parent / rows[0]["recording"], timing=TIMING)
    segments = [row for row in rows_of(whole, "timelines") if row["row"] == 0]
    assert [(t["start"], t["end"], t["emotion"], t["confidence"]) for t in segments] == [
        (s.start_seconds, s.end_seconds, s.emotion, s.confidence) for s in timeline.segments
    ]
    assert [tuple(t[f"p_{name}"] for name in timeline.classes) for t in segments] == [
        s.probabilities for s in timeline.segments
    ]


def test_a_timeline_has_no_emotion_without_speech(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    soundfile.write(folder / "hum.wav", tone(300, 1.0), 16_000)
    score(folder, tmp_path / "out", hum_model, timing=Timing(0.5, 0.2), jobs=1)
    for row in (rows := rows_of(tmp_path / "out", "timelines")):
        assert row["emotion"] is row["confidence"] is row["p_angry"] is row["p_sad"] is None
    assert rows


def test_the_summary_and_the_error_table(whole: Path, calls: Path, hum_model: Path, tmp_path: Path) -> None:
    facts, rows = json.loads((whole / "summary.json").read_text()), rows_of(whole)
    assert facts["files"] == 38
    assert facts["failures"] == {"there is no such file": 1, "cannot be decoded as audio": 1}
    assert facts["emotions"] == {
        name: sum(row["emotion"] == name for row in rows) for name in facts["emotions"]
    }
    assert facts["audio_seconds"] == pytest.approx(sum(row["seconds"] or 0 for row in rows))
    errors = parquet.read_table(whole / "errors.parquet").to_pylist()
    assert [(e["row"], e["file"]) for e in errors] == [
        (5, str(calls.parent / "missing.wav")), (6, str(calls.parent / "no, audio.wav")),
    ]  # fmt: skip
    assert all(e["error"] == rows[e["row"]]["error"] for e in errors)
    # It is a manifest of its own.
    summary = score(whole / "errors.parquet", tmp_path / "retried", hum_model, keep=["kind"], jobs=1)
    assert summary["failures"] == facts["failures"]
    assert [r["kind"] for r in rows_of(tmp_path / "retried")] == [e["kind"] for e in errors]


def test_a_finished_folder_is_summarised_again_and_a_missing_shard_is_made_again(
    whole: Path, calls: Path, hum_model: Path
) -> None:
    before, summary = bytes_of(whole), (whole / "summary.json").read_bytes()
    assert again(calls, whole, hum_model) == json.loads(summary)
    assert (whole / "summary.json").read_bytes() == summary
    (whole / "part-00002.parquet").unlink()
    (whole / "part-00004.parquet.77.part").write_bytes(b"half")
    seen: list[tuple[int, int]] = []
    summary = again(calls, whole, hum_model, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(31, 38), (38, 38)]
    assert summary["last_call"]["files"] == 7
    assert bytes_of(whole) == before
    assert not list(whole.glob("*.part"))


@pytest.mark.parametrize(
    ("other", "words"),
    [({"z": False}, "another z"), ({"keep": []}, r"another keep \(--keep call then, no --keep now\)"), ({"int8": True}, "another int8"),
     ({"timing": None}, "another timelines"), ({"shard_files": 8}, "another shard_files")],
)  # fmt: skip
def test_other_options_are_refused(
    whole: Path, calls: Path, hum_model: Path, other: dict[str, Any], words: str
) -> None:
    before = bytes_of(whole)
    with pytest.raises(ScoringError, match=f"made for {words}. Ask as then"):
        again(calls, whole, hum_model, **other)
    assert bytes_of(whole) == before


def test_other_inputs_are_refused(whole: Path, calls: Path, hum_model: Path, tmp_path: Path) -> None:
    shorter = calls.with_name("shorter.csv")
    shorter.write_text("".join(calls.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ScoringError, match="another files, manifest"):
        again(shorter, whole, hum_model)
    recognizer = Recognizer(hum_model, threads=1)
    recognizer.enroll("humming", [calls.parent / "s0_sad_1.wav"])
    recognizer.model.save(tmp_path / "more")
    with pytest.raises(ScoringError, match="another model"):
        again(calls, whole, tmp_path / "more")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ScoringError, match=r"holds no plan.json. Name a new folder"):
        again(calls, tmp_path, hum_model)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "plan.json.77.part").touch()  # in the middle of writing its plan
    assert again(calls, tmp_path / "killed", hum_model)["files"] == 38
    plan = json.loads((whole / "plan.json").read_text()) | {"z": False}
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "plan.json").write_text(json.dumps(plan))  # nothing is scored by it yet
    assert again(calls, tmp_path / "stopped", hum_model)["files"] == 38
    (whole.parent / "damaged").mkdir()
    (whole.parent / "damaged" / "plan.json").write_text("{")
    with pytest.raises(ScoringError, match="is damaged"):
        again(calls, whole.parent / "damaged", hum_model)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("m.csv", "path\na.wav\n", "one column 'file'.*its columns: path"), ("m.csv", "file,file\na,b\n", "one column 'file'"),
     ("m.csv", "file\n", "no row"), ("m.csv", "", "cannot be read"), ("m.csv", "file,a\nx,y\nz\n", "cannot be read"),
     ("m.csv", "file,a\nx,y\n,y\n", "row 2 names no file"), ("m.parquet", "file\na\n", "cannot be read"),
     ("m.txt", "file\na\n", "no .csv and no .parquet"), ("m.csv", "file\nnone://a.wav\n", "cannot be read here: Protocol not known"),
     ("m.csv", None, "there is no such file")],
)  # fmt: skip
def test_a_mistaken_manifest_is_refused_before_anything_is_scored(
    hum_model: Path, tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ScoringError, match=words):
        score(tmp_path / name, tmp_path / "out", hum_model)
    assert not (tmp_path / "out").exists()


def test_mistaken_options_are_refused(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="'cal', did you mean 'call'"):
        again(calls, tmp_path / "out", hum_model, keep=["cal"])
    with pytest.raises(ScoringError, match="1 or more"):
        again(calls, tmp_path / "out", hum_model, shard_files=0)
    with pytest.raises(TimelineError, match="longer than the 14 s"):
        again(calls, tmp_path / "out", hum_model, timing=Timing(window_seconds=20))
    clash = tmp_path / "clash.parquet"
    parquet.write_table(pa.table({"file": ["a.wav"], "emotion": ["sad"]}), clash)
    with pytest.raises(ScoringError, match="'emotion' cannot be kept"):
        score(clash, tmp_path / "out", hum_model, keep=["emotion"])
    assert not (tmp_path / "out").exists()


def test_a_folder_and_a_parquet_manifest(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"no utf-8 \xff")
    shutil.copytree(calls.parent, folder)
    summary = score(folder, tmp_path / "folder", hum_model, shard_files=10, jobs=2)
    assert (summary["files"], summary["failures"]) == (37, {"cannot be decoded as audio": 1})
    rows = rows_of(tmp_path / "folder")
    assert [row["recording"] for row in rows] == [
        printable(str(file)) for file in sorted(folder.glob("*.wav"))
    ]
    files = [str(calls.parent / Path(row["recording"]).name) for row in rows[1:3]]
    table = pa.table({"n": pa.array([7, None], pa.int32()), "file": files})
    parquet.write_table(table, tmp_path / "m.parquet")
    score(tmp_path / "m.parquet", tmp_path / "two", hum_model, keep=["n"], jobs=1)
    kept = parquet.read_table(tmp_path / "two" / "part-00000.parquet")
    assert kept["n"].type == pa.int32()
    nanoseconds = pa.array([1_700_000_000_123_456_789, None], pa.timestamp("ns"))
    parquet.write_table(table.append_column("at", nanoseconds), tmp_path / "m.parquet")
    score(tmp_path / "m.parquet", tmp_path / "three", hum_model, keep=["n", "at", "n"], jobs=1)
    stamped = parquet.read_table(tmp_path / "three" / "part-00000.parquet")
    assert stamped["at"].type == pa.timestamp("us")
    assert stamped["at"].cast(pa.int64()).to_pylist() == [1_700_000_000_123_456, None]
    assert stamped.column_names.count("n") == 1
    assert kept["n"].to_pylist() == [7, None]
    for row, first in zip(kept.to_pylist(), rows[1:], strict=False):
        assert all(row[name] == first[name] for name in first if name not in ("row", "recording"))


def test_urls_are_fetched(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    names = ["s0_angry_0.wav", "no, audio.wav"]
    for name in names:
        memory.pipe_file(f"/calls/{name}", (calls.parent / name).read_bytes())
    urls = [*(f"memory://calls/{name}" for name in names), "memory://calls/none.wav"]
    parquet.write_table(pa.table({"file": urls}), tmp_path / "urls.parquet")
    summary = score(tmp_path / "urls.parquet", tmp_path / "out", hum_model, jobs=1)
    assert summary["failures"] == {"cannot be decoded as audio": 1, "cannot be fetched": 1}
    first, second, third = rows_of(tmp_path / "out")
    assert first["confidence"] == Recognizer(hum_model, threads=1).predict(calls.parent / names[0]).confidence
    assert second["error"].startswith(f"{urls[1]}: cannot be decoded")
    assert third["error"].startswith(f"{urls[2]}: cannot be fetched (")
    errors = parquet.read_table(tmp_path / "out" / "errors.parquet")
    assert errors["file"].to_pylist() == urls[1:]


def test_a_name_stays_as_it_was_given(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    names = ["wide\u3000space.wav", "no-break\u00a0space.wav"]
    shutil.copy(next(calls.parent.glob("*.wav")), tmp_path / names[0])
    (tmp_path / "m.csv").write_text("\n".join(["file", *names]), encoding="utf-8")
    score(tmp_path / "m.csv", tmp_path / "out", hum_model, jobs=1)
    assert [row["recording"] for row in rows_of(tmp_path / "out")] == names
    shutil.copy(next(calls.parent.glob("*.wav")), tmp_path / names[1])
    summary = score(tmp_path / "out" / "errors.parquet", tmp_path / "again", hum_model, jobs=1)
    assert (summary["files"], summary["failed"]) == (1, 0)


def test_a_damaged_shard_is_named(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    again(calls, tmp_path / "out", hum_model)
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"")
    (tmp_path / "out" / "summary.json").unlink()
    with pytest.raises(ScoringError, match=r"part-00001\.parquet is damaged .* Delete it, and call again"):
        again(calls, tmp_path / "out", hum_model)


def test_damage_inside_a_shard_is_named(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    again(calls, tmp_path / "out", hum_model)
    part = tmp_path / "out" / "part-00001.parquet"
    place = parquet.ParquetFile(part).metadata.row_group(0)
    column = next(c for c in map(place.column, range(place.num_columns)) if c.path_in_schema == "emotion")
    content = bytearray(part.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + 12] = b"\xff" * 12
    part.write_bytes(content)
    (tmp_path / "out" / "summary.json").unlink()
    with pytest.raises(
        ScoringError, match=r"(?s)part-00001\.parquet is damaged .* Delete it, and call again"
    ):
        again(calls, tmp_path / "out", hum_model)


def test_two_calls_at_once_keep_each_others_files(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    tried: list[str] = []

    def once_more(*_: object) -> None:
        if not tried:
            with pytest.raises(ScoringError) as caught:
                again(calls, tmp_path / "out", hum_model)
            tried.append(str(caught.value))

    summary = again(calls, tmp_path / "out", hum_model, progress=once_more)
    assert "another call scores into it still" in tried[0]
    assert again(calls, tmp_path / "out", hum_model) == summary


def test_kinds_hold_no_names_and_no_numbers() -> None:
    assert error_kind("/a 1/b: c.wav: is truncated: 3 of 5", "/a 1/b: c.wav") == "is truncated"
    assert error_kind("s3://a/b: cannot be fetched (404)", "s3://a/b") == "cannot be fetched"


def test_the_command_line(whole: Path, calls: Path, hum_model: Path, tmp_path: Path) -> None:
    arguments = ["score", calls, "--model", hum_model, "--out", tmp_path / "out"]
    arguments += ["--jobs", 1, "--shard-files", 7]
    result = CliRunner().invoke(app, [*map(str, arguments), "--keep", "call", "--z"], catch_exceptions=False)
    assert result.exit_code == 1
    assert "failed: there is no such file" in result.stdout
    assert "38 of 38 files" in result.stderr
    for name, content in bytes_of(tmp_path / "out").items():
        assert (whole / name).read_bytes() == content
    result = CliRunner().invoke(app, [*map(str, arguments), "--keep", "call", "--z", "--json"])
    assert json.loads(result.stdout)["failed"] == 2
    result = CliRunner().invoke(app, [*map(str, arguments), "--cluster", "tcp://127.0.0.1:1"])
    assert isinstance(result.exception, WorkersError)
    assert "Name one" in str(result.exception)


COMMAND = [sys.executable, "-m", "emospec", "score"]


def command_for(calls: Path, model: Path, out: Path, *more: object) -> list[str]:
    return [*COMMAND, *map(str, [calls, "--model", model, "--out", out, "--keep", "call", "--z", *more])]


@pytest.fixture(scope="module")
def many(calls: Path) -> Path:
    """The manifest, twenty times over: its shards take long enough to be killed in."""
    head, *lines = calls.read_text().splitlines()
    path = calls.with_name("many.csv")
    path.write_text("\n".join([head, *lines * 20]) + "\n")
    return path


@pytest.fixture(scope="module")
def undisturbed(many: Path, hum_model: Path) -> dict[str, bytes]:
    """The files of a call that nobody disturbs."""
    out = many.with_name("undisturbed")
    subprocess.run(command_for(many, hum_model, out, "--shard-files", 25), check=False, capture_output=True)
    return bytes_of(out)


@pytest.mark.full
def test_killed_at_any_moment_the_same_call_goes_on(
    many: Path, undisturbed: dict[str, bytes], hum_model: Path, tmp_path: Path
) -> None:
    more = ("--shard-files", 25, "--jobs", 2)
    out, rng = tmp_path / "killed", np.random.default_rng(0)
    for _ in range(5):
        before = len(list(out.glob("part-*")))
        with subprocess.Popen(command_for(many, hum_model, out, *more), stderr=subprocess.DEVNULL) as process:
            wait_for(lambda before=before: len(list(out.glob("part-*.parquet"))) > before)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
    assert not (out / "summary.json").exists()
    result = subprocess.run(command_for(many, hum_model, out, *more), check=False, capture_output=True)
    assert result.returncode == 1
    assert [row["row"] for row in rows_of(out)] == list(range(38 * 20))
    assert bytes_of(out) == undisturbed


@pytest.mark.full
def test_a_worker_that_is_killed_is_named_in_a_line(many: Path, hum_model: Path, tmp_path: Path) -> None:
    arguments = command_for(many, hum_model, tmp_path / "out", "--shard-files", 25, "--jobs", 2)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        wait_for(lambda: len(list((tmp_path / "out").glob("part-*.parquet"))) > 2)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [pid for pid in children if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(workers[0]), signal.SIGKILL)
        _, printed = process.communicate(timeout=120)
    assert process.returncode == 2
    assert printed.startswith(b"emospec: a worker was lost")
    assert printed.count(b"\n") == 1


@pytest.mark.full
def test_on_a_cluster_whose_worker_dies_the_rows_are_the_same(
    many: Path, undisturbed: dict[str, bytes], hum_model: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path, 2) as (address, _, workers):
        arguments = command_for(many, hum_model, tmp_path / "out", "--shard-files", 25, "--cluster", address)
        with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
            wait_for(lambda: len(list((tmp_path / "out").glob("part-*.parquet"))) >= 5)
            os.kill(workers[0].pid, signal.SIGKILL)
            _, printed = process.communicate(timeout=300)
        assert process.returncode == 1, printed.decode()
        assert len(list((tmp_path / "out").glob("part-*"))) == 31
    assert bytes_of(tmp_path / "out") == undisturbed


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_cluster_that_is_not_there_is_named(calls: Path, hum_model: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkersError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1"):
        score(calls, tmp_path / "out", hum_model, cluster="tcp://127.0.0.1:1")
