"""Batches see every utterance once an epoch; the frame store gives what the front end gives."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from emospec.data.pack import Pack
from emospec.learning.frame_store import FrameStore
from emospec.learning.sampling import batch_indices
from emospec.learning.spectrogram import LogSpectrogram


def test_every_utterance_once_an_epoch_and_batches_always_full() -> None:
    stream = np.concatenate([batch_indices(step, 50, 32, seed=1) for step in range(25)])
    assert len(stream) == 800
    for epoch in range(16):
        assert sorted(stream[50 * epoch : 50 * epoch + 50]) == list(range(50))
    assert stream[:50].tolist() != stream[50:100].tolist()


def test_batches_larger_than_the_corpus() -> None:
    assert sorted(Counter(batch_indices(3, 3, 32, seed=0).tolist()).values()) == [10, 11, 11]


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    assert batch_indices(7, 100, 32, 4).tolist() == batch_indices(7, 100, 32, 4).tolist()
    assert batch_indices(7, 100, 32, 4).tolist() != batch_indices(7, 100, 32, 5).tolist()


def test_stored_frames_are_the_front_ends(hum_pack: Pack) -> None:
    frontend = LogSpectrogram("log-mel", max_frames=60)
    store = FrameStore(hum_pack, frontend)
    for i in range(len(hum_pack)):
        waveform = torch.from_numpy(hum_pack.waveform(i))
        frames, counts = frontend.decibels(waveform[None], torch.tensor([len(waveform)]))
        assert store.counts[i] == counts[0]
        np.testing.assert_allclose(store.frames(i), frames[0].numpy(), atol=1e-4)
    padded, counts = store.batch([3, 0])
    assert padded.shape == (2, store.counts[[3, 0]].max(), 128)
    assert counts.tolist() == store.counts[[3, 0]].tolist()


def test_the_store_is_made_once(hum_pack: Pack, tmp_path: Path) -> None:
    shutil.copytree(hum_pack.folder, tmp_path / "pack", ignore=shutil.ignore_patterns("frames-*"))
    pack, calls = Pack(tmp_path / "pack"), list[int]()
    FrameStore(pack, LogSpectrogram("log-stft"), lambda done, _: calls.append(done))
    assert calls[-1] == len(pack)
    calls.clear()
    FrameStore(pack, LogSpectrogram("log-stft"), lambda done, _: calls.append(done))
    assert not calls
    assert not list(pack.folder.glob("*.part"))


def test_a_shard_that_was_cut_short_is_made_again(hum_pack: Pack, tmp_path: Path) -> None:
    pack = Pack(shutil.copytree(hum_pack.folder, tmp_path / "pack"))
    store = FrameStore(pack, LogSpectrogram("log-mel"))
    whole = [store.frames(i).copy() for i in range(len(pack))]
    for path in (tmp_path / "pack").glob("frames-*"):
        path.write_bytes(path.read_bytes()[:1000])
    again = FrameStore(pack, LogSpectrogram("log-mel"))
    for i, frames in enumerate(whole):
        np.testing.assert_array_equal(again.frames(i), frames)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_buckets_hold_everything_once_in_bounded_memory(hum_pack: Pack, precision: torch.dtype) -> None:
    store = FrameStore(hum_pack, LogSpectrogram("log-mel"))
    store.counts = store.counts * 40
    buckets = list(store.buckets(range(len(hum_pack)), precision))
    assert sorted(i for bucket in buckets for i in bucket) == list(range(len(hum_pack)))
    assert len(buckets) > 5
    sizes = [max(store.counts[bucket]) * len(bucket) * precision.itemsize for bucket in buckets]
    assert 2**13 < max(sizes) <= 2**14


def test_frames_held_on_a_device_make_the_same_batches(hum_pack: Pack) -> None:
    frontend = LogSpectrogram("log-mel")
    indices = [len(hum_pack) - 1, 3, 0]
    mapped = frontend.standardise(*FrameStore(hum_pack, frontend).batch(indices))
    store = FrameStore(hum_pack, frontend)
    store.keep_on(torch.device("cpu"), resident=True)
    held = frontend.standardise(*store.batch(indices))
    assert torch.equal(held[0], mapped[0])
    assert torch.equal(held[1], mapped[1])
