"""Shards are read back as written, and windows of them give every utterance once an epoch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import emospec
from conftest import SHORT
from emospec.data import shards as module
from emospec.data.pack import Pack, prepare
from emospec.data.shards import Shards, ShardWriter, first_items
from emospec.data.utterances import Utterance
from emospec.learning import frame_store
from emospec.learning.frame_store import FrameStore
from emospec.learning.sampling import ShardWindows, batch_indices
from emospec.learning.spectrogram import LogSpectrogram

SMALL = 40_000
"""Bytes: a waveform or two, and a quarter of its frames."""


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", SMALL)
    monkeypatch.setattr(frame_store, "SHARD_BYTES", SMALL)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=30))
def test_shards_of_any_sizes_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    items = [np.full(n, k, "<i2") for k, n in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_BYTES", SMALL)
        writer = ShardWriter(folder, "a", "bin")
        for item in items:
            writer.write(item)
        writer.close()
        stored = Shards(folder, "a", "bin", np.dtype("<i2"), np.array(lengths))
    assert [stored.path(k) for k in range(len(stored))] == sorted(folder.iterdir())
    for k, item in enumerate(items):
        np.testing.assert_array_equal(stored[k], item)
    for k in range(len(stored)):
        assert stored.size(k) == stored.path(k).stat().st_size
        assert stored.size(k) <= SMALL or stored.firsts[k + 1] == stored.firsts[k] + 1
        if k:
            assert stored.size(k - 1) + 2 * lengths[stored.firsts[k]] > SMALL


def test_no_items_make_no_shards(tmp_path: Path) -> None:
    assert first_items(np.array([], np.int64)).tolist() == []
    assert len(Shards(tmp_path, "a", "bin", np.dtype("<i2"), np.array([], np.int64))) == 0


@pytest.mark.usefixtures("small_shards")
def test_a_pack_and_its_frames_are_the_same_in_shards(
    hum_pack: Pack, make_utterances: Callable[[Path], list[Utterance]], tmp_path: Path
) -> None:
    pack, _ = prepare(make_utterances(tmp_path / "audio"), tmp_path / "pack")
    assert len(list(pack.folder.glob("int16-*.bin"))) > 10
    assert pack.digest == hum_pack.digest
    frontend = LogSpectrogram("log-mel")
    progress: list[int] = []
    store = FrameStore(pack, frontend, lambda done, _: progress.append(done))
    assert progress[-1] == len(pack)
    assert len(list(pack.folder.glob("frames-*.f32"))) > 10
    missing = sorted(pack.folder.glob("frames-*.f32"))[3]
    held = missing.read_bytes()
    missing.unlink()
    store = FrameStore(pack, frontend)
    assert missing.read_bytes() == held
    for k in range(len(pack)):
        np.testing.assert_array_equal(pack.waveform(k), hum_pack.waveform(k))
        waveform = torch.from_numpy(pack.waveform(k))
        frames, _ = frontend.decibels(waveform[None], torch.tensor([len(waveform)]))
        np.testing.assert_allclose(store.frames(k), frames[0].numpy(), atol=1e-4)
    mapped, _ = store.batch([5, 1])
    store.keep_on(torch.device("cpu"), resident=True)
    held_on, _ = store.batch([5, 1])
    for row, k in enumerate((5, 1)):
        assert torch.equal(held_on[row, : store.counts[k]], mapped[row, : store.counts[k]])
    assert sorted(i for bucket in store.buckets([7, 2, 3], torch.float32) for i in bucket) == [2, 3, 7]


@pytest.mark.usefixtures("small_shards")
def test_the_corpus_is_read_in_windows_on_request(
    hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pack").mkdir()
    for file in hum_pack.folder.iterdir():
        if not file.name.startswith(("frames", "int16")):
            (tmp_path / "pack" / file.name).hardlink_to(file)
    writer = ShardWriter(tmp_path / "pack", "int16", "bin")
    for k in range(len(hum_pack)):
        writer.write(np.rint(hum_pack.waveform(k) * 32768).astype("<i2"))
    writer.close()
    store = FrameStore(Pack(tmp_path / "pack"), LogSpectrogram("log-mel"))
    train = np.arange(0, len(hum_pack), 2)
    assert store.windows(train, 0, 0) is None
    assert store.windows(train, 1e9, 0) is None
    windows = store.windows(train, 3.5 * SMALL, 0)
    assert windows is not None
    read: list[Path] = []
    monkeypatch.setattr(frame_store, "_read_through", read.append)
    store.read_ahead(windows.shards_to_read(0))
    store._reader.shutdown()
    assert len(read) == 6
    assert all(path.is_file() for path in read)


def test_windows_give_every_item_once_an_epoch() -> None:
    shards = np.repeat(np.arange(10), 7)
    windows = ShardWindows(shards, 3, seed=5)
    stream = np.concatenate([batch_indices(step, 70, 16, 5, windows) for step in range(70 * 3 // 16)])
    needed: set[int] = set()
    for place, item in enumerate(stream):
        new = windows.shards_to_read(place)
        assert not new or place % 70 % 21 == 0
        needed |= set(new)
        assert shards[item] in needed
    epochs = [stream[70 * k : 70 * (k + 1)] for k in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(70))
        for first in range(0, 70, 21):
            in_window = shards[epoch[first : first + 21]]
            assert len(set(in_window)) == (3 if first < 63 else 1)
            assert np.any(np.diff(in_window) < 0) or len(set(in_window)) == 1, (
                "not shuffled within the window"
            )
    assert epochs[0].tolist() != epochs[1].tolist()
    again = ShardWindows(shards, 3, seed=5)
    assert batch_indices(9, 70, 16, 5, again).tolist() == stream[9 * 16 : 10 * 16].tolist()
    assert again.shards_to_read(9 * 16) != []
    assert ShardWindows(shards, 10, 5).more_than_one is False


@pytest.mark.full
def test_a_training_in_windows_is_resumed_to_the_same_bytes(
    hum_pack: Pack, small_shards: None, tmp_path: Path
) -> None:
    pack, _ = prepare(hum_pack.utterances, tmp_path / "pack")
    windows = [*SHORT, "training.window_gb=1e-4", "training.checkpoint_seconds=0"]

    def stop(_: str, done: int, steps: int, __: str) -> None:
        if steps == 12 and done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        emospec.train(pack.folder, tmp_path / "cut", "dai2019-mel", windows, progress=stop)
    cut = emospec.train(pack.folder, tmp_path / "cut", "dai2019-mel", windows, resume=True)
    whole = emospec.train(pack.folder, tmp_path / "whole", "dai2019-mel", windows)
    at_once = emospec.train(pack.folder, tmp_path / "at-once", "dai2019-mel", SHORT)
    weights = [(run.folder / "model" / "model.safetensors").read_bytes() for run in (cut, whole, at_once)]
    assert weights[0] == weights[1] != weights[2]
