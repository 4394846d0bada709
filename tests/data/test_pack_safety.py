"""Making a pack leaves no half pack, harms no other file, and survives interruptions."""

import os
from pathlib import Path

import pytest
from five_recordings import Recordings, error, make_recordings, parts, snapshot, utterance

from emospec.data.pack import Pack, prepare


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    return make_recordings(tmp_path / "audio")


class Stop(BaseException):
    """As KeyboardInterrupt, but not pytest's."""


def stop_at_three(done: int, _: int) -> None:
    if done == 3:
        raise Stop


def test_an_interrupted_prepare_leaves_nothing(recordings: Recordings, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    with pytest.raises(Stop):
        prepare(recordings, folder, progress=stop_at_three)
    assert not folder.exists()
    assert not parts(folder)
    assert prepare(recordings, folder)[1]


def test_a_valid_pack_survives_a_failed_prepare(recordings: Recordings, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    prepare(recordings[:2], folder)
    before = snapshot(folder)
    with pytest.raises(Stop):
        prepare(recordings, folder, replace=True, progress=stop_at_three)
    error(lambda: prepare([*recordings, utterance(tmp_path / "missing.wav")], folder, replace=True))
    assert snapshot(folder) == before
    assert not parts(folder)


def test_remains_of_a_killed_prepare_are_removed(recordings: Recordings, tmp_path: Path) -> None:
    for name in ("new", "old"):  # as between moving the old pack away and the new one there
        (tmp_path / "pack.part" / name).mkdir(parents=True)
        (tmp_path / "pack.part" / name / "int16-00000.bin").write_bytes(b"half")
    (tmp_path / "pack.part" / "int16.bin").write_bytes(b"as earlier versions left it")
    pack, made = prepare(recordings, tmp_path / "pack")
    assert made
    assert len(pack) == len(recordings)
    assert not parts(tmp_path / "pack")


def test_a_pack_that_was_moved_away_is_restored(
    recordings: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pack"
    prepare(recordings[:2], folder)
    before = snapshot(folder)
    move = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise Stop
        move(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(Stop):
        prepare(recordings, folder, replace=True)
    assert snapshot(folder) == before
    assert not parts(folder)


def test_two_calls_at_once_do_not_harm_each_other(recordings: Recordings, tmp_path: Path) -> None:
    tried: list[str] = []

    def once_more(*_: int) -> None:
        tried.append(error(lambda: prepare(recordings, tmp_path / "pack")))

    pack, _ = prepare(recordings, tmp_path / "pack", progress=once_more)
    assert "another call makes it still" in tried[0]
    assert len(pack) == len(recordings)
    assert not parts(tmp_path / "pack")


@pytest.mark.parametrize(
    "content",
    [
        {"thesis.txt": "years of work"},
        {},
        {"index.json": "{}"},
        {"index.json": "{}", "int16.bin": "", "float32.bin": "", "thesis.txt": "years of work"},
    ],
    ids=["files", "nothing", "another index.json", "a pack and files"],
)
def test_a_folder_that_is_no_pack_is_refused_and_untouched(
    recordings: Recordings, tmp_path: Path, content: dict[str, str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text)
    before = snapshot(folder)
    assert "Name another folder" in error(lambda: prepare(recordings, folder))
    assert snapshot(folder) == before


def test_a_file_in_the_place_of_a_pack_is_refused_and_untouched(
    recordings: Recordings, tmp_path: Path
) -> None:
    (tmp_path / "pack").write_text("mine")
    assert "is not a pack" in error(lambda: prepare(recordings, tmp_path / "pack"))
    assert (tmp_path / "pack").read_text() == "mine"


def test_a_link_to_a_pack_stays_a_link(recordings: Recordings, tmp_path: Path) -> None:
    prepare(recordings[:2], tmp_path / "disk")
    (tmp_path / "pack").symlink_to(tmp_path / "disk")
    assert prepare(recordings, tmp_path / "pack", replace=True)[1]
    assert (tmp_path / "pack").is_symlink()
    assert len(Pack(tmp_path / "disk")) == 5
