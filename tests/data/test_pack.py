"""Packs: they hold the decoded waveforms, are made once and whole, and never replace other files."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from five_recordings import Recordings, error, make_recordings, parts, snapshot, utterance

from emospec.audio.reader import read_audio
from emospec.data.corpora.user import UserCorpus
from emospec.data.pack import Pack, prepare
from emospec.data.pack_index import PACK_FORMAT, PackIndex, Skipped, entries_from, read_index, write_index


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    return make_recordings(tmp_path / "audio")


def test_a_pack_returns_the_decoded_waveforms(recordings: Recordings, tmp_path: Path) -> None:
    made, new = prepare(recordings, tmp_path / "deep" / "pack")
    assert new
    pack = Pack(str(tmp_path / "deep" / "pack"))
    assert len(pack) == len(made) == 5
    assert pack.utterances == recordings
    assert pack.digest == made.digest
    assert pack.skipped == []
    for i, decoded in enumerate(read_audio(u.file) for u in recordings):
        waveform = pack.waveform(i)
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, decoded)
    assert pack.seconds == pytest.approx(sum(len(read_audio(u.file)) for u in recordings) / 16_000)


def test_each_call_returns_a_new_waveform(recordings: Recordings, tmp_path: Path) -> None:
    pack, _ = prepare(recordings, tmp_path / "pack")
    for i in range(len(pack)):
        before = pack.waveform(i).copy()
        pack.waveform(i)[:] = 0
        np.testing.assert_array_equal(pack.waveform(i), before)


def test_only_16_bit_mono_at_16_khz_is_stored_as_integers(recordings: Recordings, tmp_path: Path) -> None:
    pack, _ = prepare(recordings, tmp_path / "pack")
    assert [entry.store for entry in pack.entries] == ["int16", "int16", "float32", "float32", "float32"]


def test_a_pack_may_have_one_store_alone(recordings: Recordings, tmp_path: Path) -> None:
    for kind, few in (("int16", recordings[:2]), ("float32", recordings[2:])):
        pack, _ = prepare(few, tmp_path / kind)
        assert {entry.store for entry in pack.entries} == {kind}
        np.testing.assert_array_equal(pack.waveform(1), read_audio(few[1].file))


def test_parts_of_one_file_are_separate_utterances(recordings: Recordings, tmp_path: Path) -> None:
    file = recordings[0].file
    ends = (0.0, 0.01, 0.03, None)
    stretches = [
        utterance(file, id=f"own/a@{k}", start=start, end=end)
        for k, (start, end) in enumerate(zip((0.0, 0.01, 0.03), ends[1:], strict=True))
    ]
    pack, _ = prepare(stretches, tmp_path / "pack")
    assert pack.utterances == stretches
    np.testing.assert_array_equal(np.concatenate([pack.waveform(i) for i in range(3)]), read_audio(file))


def test_every_field_of_an_utterance_is_stored(recordings: Recordings, tmp_path: Path) -> None:
    complete = replace(
        recordings[0],
        sex="f",
        language="de",
        text="„Ja“",
        session="1",
        style="scripted",
        split="dev",
        end=0.04,
    )
    assert prepare([complete], tmp_path / "pack")[0].utterances == [complete]
    assert Pack(tmp_path / "pack").utterances == [complete]


def test_a_valid_pack_is_left_alone(recordings: Recordings, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    prepare(recordings, folder)
    before = snapshot(folder)
    calls: list[int] = []
    pack, new = prepare(recordings, folder, progress=lambda done, _: calls.append(done))
    assert (len(pack), new, calls) == (5, False, [])
    assert snapshot(folder) == before


def test_stored_frames_leave_a_pack_valid(recordings: Recordings, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    prepare(recordings, folder)
    (folder / "frames-log-mel-1400-v1-0123456789ab.f32").touch()
    assert not prepare(recordings, folder)[1]
    assert prepare(recordings[:3], folder, replace=True)[1]
    assert sorted(path.name for path in folder.iterdir()) == [
        "fingerprints.bin",
        "float32-00000.bin",
        "index.json",
        "int16-00000.bin",
    ]


def test_a_changed_recording_is_decoded_again(recordings: Recordings, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    before, _ = prepare(recordings, folder)
    soundfile.write(recordings[1].file, np.full(500, 0.25), 16_000)
    pack, new = prepare(recordings, folder)
    assert new
    np.testing.assert_array_equal(pack.waveform(1), np.full(500, 0.25, np.float32))
    assert pack.digest != before.digest


@pytest.mark.parametrize(
    "change",
    [
        lambda rs: rs[:-1],
        lambda rs: [*rs, replace(rs[0], id="own/again")],
        lambda rs: rs[::-1],
        lambda rs: [replace(rs[0], emotion="sad"), *rs[1:]],
        lambda rs: [replace(rs[0], end=0.01), *rs[1:]],
    ],
    ids=["fewer", "more", "another order", "another label", "another stretch"],
)
def test_other_utterances_make_another_pack(
    recordings: Recordings, tmp_path: Path, change: Callable[[Recordings], Recordings]
) -> None:
    folder = tmp_path / "pack"
    prepare(recordings, folder)
    before = snapshot(folder)
    message = error(lambda: prepare(change(recordings), folder))
    assert "is a pack of other utterances" in message
    assert "--replace" in message
    assert snapshot(folder) == before
    pack, new = prepare(change(recordings), folder, replace=True)
    assert new
    assert pack.utterances == change(recordings)


def test_a_pack_of_other_utterances_counts_them(recordings: Recordings, tmp_path: Path) -> None:
    prepare(recordings[:3], tmp_path / "pack")
    words = "2 of its 3 are not among those asked for, 1 of the 2 asked for are not in it"
    assert words in error(lambda: prepare(recordings[2:4], tmp_path / "pack"))
    relabelled = [replace(u, emotion="sad") for u in recordings[:3]]
    assert "labels, speakers" in error(lambda: prepare(relabelled, tmp_path / "pack"))


def test_a_damaged_pack_of_other_utterances_is_replaced_only_when_asked(
    recordings: Recordings, tmp_path: Path
) -> None:
    prepare(recordings[:3], tmp_path / "pack")
    shorten(tmp_path / "pack", "fingerprints.bin")
    assert "--replace" in error(lambda: prepare(recordings, tmp_path / "pack"))
    assert prepare(recordings, tmp_path / "pack", replace=True)[1]


def test_a_folder_that_is_no_pack_is_never_replaced(recordings: Recordings, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "is not a pack" in error(lambda: prepare(recordings, tmp_path, replace=True))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_user_corpora_and_their_licences_are_kept(recordings: Recordings, tmp_path: Path) -> None:
    calls = UserCorpus("calls", "csv", "CC BY 4.0")
    prepare(recordings, tmp_path / "pack", user_corpora=[calls])
    assert Pack(tmp_path / "pack").user_corpora == {"calls": calls}
    assert prepare(recordings, tmp_path / "pack", user_corpora=[UserCorpus("calls", "csv")])[
        0
    ].user_corpora == {"calls": calls}
    other = UserCorpus("calls", "csv", "CC0 1.0")
    pack, made = prepare(recordings, tmp_path / "pack", user_corpora=[other])
    assert (pack.user_corpora, made) == ({"calls": other}, False)
    soundfile.write(recordings[1].file, np.full(500, 0.25), 16_000)
    assert prepare(recordings, tmp_path / "pack")[0].user_corpora == {"calls": other}
    assert prepare(recordings[:2], tmp_path / "pack", replace=True)[0].user_corpora == {}
    (tmp_path / "pack" / "corpora.json").write_text("[")
    assert "corpora.json is damaged" in error(lambda: Pack(tmp_path / "pack"))
    assert prepare(recordings[:2], tmp_path / "pack")[1]


def test_silent_utterances_are_listed(recordings: Recordings, tmp_path: Path) -> None:
    soundfile.write(recordings[1].file, np.full(9000, 0.0009), 16_000)
    soundfile.write(recordings[2].file, np.full(9000, 0.0011), 16_000)
    prepare(recordings, tmp_path / "pack")
    assert Pack(tmp_path / "pack").silent == [recordings[1].id]


def test_the_digest_depends_on_samples_and_order(recordings: Recordings, tmp_path: Path) -> None:
    first, _ = prepare(recordings, tmp_path / "one")
    same, _ = prepare(recordings, tmp_path / "same")
    reordered, _ = prepare(recordings[::-1], tmp_path / "reordered")
    shorter, _ = prepare([*recordings[:-1], replace(recordings[-1], end=0.02)], tmp_path / "shorter")
    assert first.digest == same.digest
    assert len({first.digest, reordered.digest, shorter.digest}) == 3


def test_progress_counts_to_the_end(recordings: Recordings, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    prepare(recordings, tmp_path / "pack", progress=lambda done, all_: calls.append((done, all_)))
    assert calls == [(k, 5) for k in range(1, 6)]


def shorten(folder: Path, name: str) -> None:
    os.truncate(folder / name, (folder / name).stat().st_size - 1)


def rewrite_index(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    index = json.loads((folder / "index.json").read_text())
    change(index)
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda pack: shorten(pack, "int16-00000.bin"), "int16-00000.bin is damaged"),
        (lambda pack: shorten(pack, "float32-00000.bin"), "float32-00000.bin is damaged"),
        (lambda pack: (pack / "float32-00000.bin").unlink(), "float32-00000.bin is damaged: 0 of"),
        (lambda pack: shorten(pack, "index.json"), "index.json is damaged"),
        (lambda pack: (pack / "index.json").write_bytes(b"\xff\xfe"), "index.json is damaged"),
        (lambda pack: (pack / "index.json").write_text("[]"), "index.json is damaged"),
        (lambda pack: rewrite_index(pack, lambda index: index.pop("entries")), "index.json is damaged"),
        (lambda pack: rewrite_index(pack, lambda index: index.update(entries=[{}])), "index.json is damaged"),
    ],
    ids=["int16", "float32", "no float32", "index", "index bytes", "no object", "no entries", "bad entries"],
)
def test_a_damaged_pack_is_refused_and_made_again(
    recordings: Recordings, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    folder = tmp_path / "pack"
    prepare(recordings, folder)
    damage(folder)
    assert words in error(lambda: Pack(folder))
    assert prepare(recordings, folder)[1]
    np.testing.assert_array_equal(Pack(folder).waveform(4), read_audio(recordings[4].file))


def test_an_index_of_one_line_is_read(recordings: Recordings, tmp_path: Path) -> None:
    made, _ = prepare(recordings, tmp_path / "pack")
    rewrite_index(tmp_path / "pack", lambda index: None)
    assert "\n" not in (tmp_path / "pack" / "index.json").read_text()
    assert Pack(tmp_path / "pack").utterances == made.utterances == recordings
    assert not prepare(recordings, tmp_path / "pack")[1]


def test_an_utterance_without_an_entry_is_an_error(recordings: Recordings, tmp_path: Path) -> None:
    prepare(recordings, tmp_path / "pack")
    rewrite_index(tmp_path / "pack", lambda index: index["utterances"].pop())  # type: ignore[attr-defined]
    assert "not an entry for each utterance" in error(lambda: Pack(tmp_path / "pack"))


def test_a_pack_of_another_version_is_refused_and_made_again(recordings: Recordings, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    prepare(recordings, folder)
    rewrite_index(folder, lambda index: index.update(format=PACK_FORMAT + 1))
    assert f"another version of emospec (format {PACK_FORMAT + 1}, here {PACK_FORMAT})" in error(
        lambda: Pack(folder)
    )
    assert prepare(recordings, folder)[1]


def test_a_missing_pack_is_an_error_with_advice(tmp_path: Path) -> None:
    assert "`emospec prepare` makes one" in error(lambda: Pack(tmp_path))
    assert "`emospec prepare` makes one" in error(lambda: Pack(tmp_path / "missing"))


@pytest.fixture
def with_bad(recordings: Recordings, tmp_path: Path) -> Recordings:
    """The recordings, of which `b` is no sound and `d` is missing."""
    recordings[1].file.write_text("no sound")
    recordings[3].file.unlink()
    return recordings


def test_bad_recordings_are_counted_in_an_error(with_bad: Recordings, tmp_path: Path) -> None:
    message = error(lambda: prepare(with_bad, tmp_path / "pack"))
    assert message.startswith(f"2 of 5 recordings cannot be used, the first: {with_bad[1].file}: ")
    assert "--skip-bad" in message
    assert not (tmp_path / "pack").exists()
    assert not parts(tmp_path / "pack")


def test_bad_recordings_can_be_skipped_and_are_listed(with_bad: Recordings, tmp_path: Path) -> None:
    pack, _ = prepare(with_bad, tmp_path / "pack", skip_bad=True)
    assert [u.id for u in pack.utterances] == ["own/a", "own/c", "own/e"]
    np.testing.assert_array_equal(pack.waveform(2), read_audio(with_bad[4].file))
    reopened = Pack(tmp_path / "pack")
    assert [s.id for s in reopened.skipped] == ["own/b", "own/d"]
    assert reopened.skipped[1] == Skipped("own/d", f"{with_bad[3].file}: there is no such file")
    assert not prepare(with_bad, tmp_path / "pack", skip_bad=True)[1]


def test_a_pack_with_skipped_recordings_is_invalid_without_skip_bad(
    with_bad: Recordings, tmp_path: Path
) -> None:
    prepare(with_bad, tmp_path / "pack", skip_bad=True)
    assert "2 of 5 recordings" in error(lambda: prepare(with_bad, tmp_path / "pack"))
    assert len(Pack(tmp_path / "pack")) == 3


def test_a_mended_recording_is_added(with_bad: Recordings, tmp_path: Path) -> None:
    prepare(with_bad, tmp_path / "pack", skip_bad=True)
    for bad in (with_bad[1], with_bad[3]):
        shutil.copy(with_bad[0].file, bad.file)
    pack, new = prepare(with_bad, tmp_path / "pack", skip_bad=True)
    assert (new, len(pack), pack.skipped) == (True, 5, [])


@pytest.mark.parametrize("skip_bad", [False, True])
def test_only_bad_recordings_are_an_error(tmp_path: Path, skip_bad: bool) -> None:
    missing = [utterance(tmp_path / f"{k}.wav") for k in range(3)]
    message = error(lambda: prepare(missing, tmp_path / "pack", skip_bad=skip_bad))
    assert message.startswith("3 of 3 recordings cannot be used")
    assert message.endswith(". Mend them")  # --skip-bad would leave nothing


def test_no_utterances_and_repeated_ids_are_errors(recordings: Recordings, tmp_path: Path) -> None:
    assert "no utterances" in error(lambda: prepare([], tmp_path / "pack"))
    assert "2 utterances are called own/a" in error(
        lambda: prepare([*recordings, recordings[0]], tmp_path / "pack")
    )


def test_the_index_is_plain_json_beside_raw_samples(recordings: Recordings, tmp_path: Path) -> None:
    prepare(recordings, tmp_path / "pack")
    assert sorted(p.name for p in (tmp_path / "pack").iterdir()) == [
        "fingerprints.bin",
        "float32-00000.bin",
        "index.json",
        "int16-00000.bin",
    ]
    index = json.loads((tmp_path / "pack" / "index.json").read_text())
    assert index["sample_rate"] == 16_000
    first = index["entries"][0]
    raw = np.fromfile(tmp_path / "pack" / "int16-00000.bin", "<i2", first["samples"])
    np.testing.assert_array_equal(raw, soundfile.read(recordings[0].file, dtype="int16")[0])


def test_an_index_has_a_row_a_line_and_is_read_back(tmp_path: Path) -> None:
    index = PackIndex(
        entries=entries_from([("int16", 3, "0" * 64), ("float32", 2, "f" * 64)]),
        utterances=[utterance(Path("/a.wav")), utterance(Path("/b.wav"), start=0.5)],
        skipped=[Skipped("own/c", "no sound")],
        silent=[],
        sources=np.array([[1, 2], [3, 4], [-1, -1]]),
        requested="asked",
        digest="all",
    )
    write_index(tmp_path, index)
    lines = (tmp_path / "index.json").read_text().splitlines()
    assert lines[:4] == [
        '{"format": 3,',
        '"sample_rate": 16000,',
        f'"entries": [{{"store": "int16", "samples": 3, "sha256": "{"0" * 64}"}},',
        f'{{"store": "float32", "samples": 2, "sha256": "{"f" * 64}"}}],',
    ]
    assert lines[6:] == [
        '"skipped": [{"id": "own/c", "reason": "no sound"}],',
        '"silent": [],',
        '"sources": [[1, 2],',
        "[3, 4],",
        "[-1, -1]],",
        '"requested": "asked",',
        '"digest": "all"}',
    ]
    read = read_index(tmp_path)
    assert (read.utterances, read.skipped, read.silent) == (index.utterances, index.skipped, [])
    assert read.entries.tolist() == index.entries.tolist()
    np.testing.assert_array_equal(read.sources, index.sources)
    assert (read.requested, read.digest) == ("asked", "all")
