"""The JSON files of a run folder: read and written back to the byte, also those of other versions."""

import json
from pathlib import Path

import pytest

from emospec.errors import RunError
from emospec.files import to_json
from emospec.runs.record import read_run
from emospec.runs.stored import Meta, Scores, StoredFile
from fake_runs import fake_run

CONFUSION = [[2, 2], [0, 1]]


@pytest.mark.parametrize(("kind", "name"), [(Meta, "meta.json"), (Scores, "scores.json")])
def test_a_file_is_written_back_as_it_was_read(
    hum_run: Path, tmp_path: Path, kind: type[StoredFile], name: str
) -> None:
    kind.read(hum_run / name).write(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (hum_run / name).read_bytes()


def test_what_an_earlier_version_lacks_has_a_default_and_stays_away(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", CONFUSION)
    assert run.meta.usual_seconds is None
    assert run.meta.audit.summary == "audit: not made"
    assert "usual_seconds" not in run.meta.to_dict()
    assert "audit" not in run.meta.to_dict()


def test_keys_of_a_later_version_are_kept(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", CONFUSION)
    content = json.loads(run.files.meta.read_text(encoding="utf-8"))
    content["protocol"]["rooms"] = 3
    content["weather"] = {"rain": True}
    run.files.meta.write_text(to_json(content), encoding="utf-8")
    Meta.read(run.files.meta).write(run.files.meta)
    assert json.loads(run.files.meta.read_text(encoding="utf-8")) == content
    config = run.files.config.read_text(encoding="utf-8") + "\n[weather]\nrain = true\n"
    run.files.config.write_text(config, encoding="utf-8")
    assert read_run(run.folder).flat["weather.rain"] is True


def test_a_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", CONFUSION)
    content = json.loads(run.files.scores.read_text(encoding="utf-8"))
    for version in (1, 2):
        run.files.scores.write_text(json.dumps(content | {"format": version}), encoding="utf-8")
        if version == 1:
            assert read_run(run.folder).scores.test.confusion == CONFUSION
    with pytest.raises(RunError, match=r"scores\.json is of format 2, this emospec reads 1"):
        read_run(run.folder)


def test_nan_is_null_on_disk(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", CONFUSION, dev_ua=float("nan"))
    run.scores.write(run.files.scores)
    assert json.loads(run.files.scores.read_text(encoding="utf-8"))["dev"] == {"UA": None}
    assert read_run(run.folder).scores.dev.ua != read_run(run.folder).scores.dev.ua


def test_a_mistake_is_named_in_one_line(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", CONFUSION)
    content = json.loads(run.files.meta.read_text(encoding="utf-8"))
    del content["protocol"]["hash"]
    run.files.meta.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        RunError, match=r"meta\.json: protocol\.hash is not as it should be \(Field required\)$"
    ):
        read_run(run.folder)
