"""Training on a corpus larger than memory: 200 hours in shards, shuffled in windows, against some hours at hand."""

import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from bench.corpus import durations, synthesise
from bench.measure import CORES, Ratio, anonymous_bytes, in_turn, ratios_of, seconds, table, worker
from emospec.audio.frames import frame_count
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.fingerprint import RECORD
from emospec.data.pack import Pack, prepare
from emospec.data.shards import Shards, first_items, shard_name

HOURS, WINDOW_GB, BATCH, CLASSES = 200, 0.6, 32, 4
LONGEST_FRAMES, FRAME_BYTES = 1400, 4 * 128
BLOCK_SHARDS = 3
MIB = 2**20


def block() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds of utterances whose frames fill `BLOCK_SHARDS` shards, so that blocks can follow on each other.

    The first is as long as any can be, so it fits into no shard that another did not fit into.
    """
    drawn = np.append(LONGEST_FRAMES / 100, durations(2000 * BLOCK_SHARDS))
    frames = np.minimum(frame_count((drawn * SAMPLE_RATE).astype(np.int64)), LONGEST_FRAMES)
    return drawn[: first_items(frames * FRAME_BYTES)[BLOCK_SHARDS]]


def repeat_pack(small: Pack, folder: Path, times: int) -> None:
    """A pack of so many blocks: its frames are hard links; its waveforms, which nothing reads, are holes."""
    index = json.loads((small.folder / "index.json").read_text())
    entries, utterances = index["entries"], index["utterances"]
    index["entries"] = entries * times
    index["utterances"] = [u | {"id": f"{k}/{u['id']}"} for k in range(times) for u in utterances]
    index["digest"] = f"{times:064d}"
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps(index))
    lengths = np.tile(small.entries.samples, times)
    waveforms = Shards(folder, "int16", "bin", np.dtype("<i2"), lengths)
    holes = {waveforms.path(k): waveforms.size(k) for k in range(len(waveforms))}
    for path, size in (holes | {folder / "fingerprints.bin": len(lengths) * RECORD.itemsize}).items():
        path.touch()
        os.truncate(path, size)
    for file in sorted(small.folder.glob("frames-*.f32")):
        stem, shard = file.stem.replace(small.digest[:12], index["digest"][:12]).rsplit("-", 1)
        first = folder / shard_name(stem, int(shard), "f32")
        shutil.copy(file, first)  # what another process has mapped would stay in memory
        for k in range(1, times):
            (folder / shard_name(stem, k * BLOCK_SHARDS + int(shard), "f32")).hardlink_to(first)


@cache
def _trainer(pack: str, window_gb: float):  # type: ignore[no-untyped-def]
    import torch

    from emospec.config import Loss, load_settings
    from emospec.learning import frame_store
    from emospec.learning.device import reuse_freed_memory
    from emospec.learning.learner import Learner
    from emospec.learning.task import TrainingTask
    from emospec.learning.training import Trainer

    reuse_freed_memory()
    learner = Learner("log-mel", LONGEST_FRAMES, [str(k) for k in range(CLASSES)])
    store = frame_store.FrameStore(Pack(pack), learner.frontend)
    everything = list(range(len(store.counts)))
    settings = {"batch_size": BATCH, "window_gb": window_gb}
    training = load_settings("dai2019-mel").training.model_copy(update=settings)
    targets = np.arange(len(everything)) % CLASSES
    task = TrainingTask(everything, everything[:1], targets, Loss(center_weight=0.3), training, 0, "")
    read = frame_store._read_through

    def read_from_disk(path: Path) -> None:
        # The links are few files: without this they would be read once. What is mapped could not be forgotten.
        store._shards._map.cache_clear()
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        read(path)

    frame_store._read_through = read_from_disk
    return Trainer(learner, store, task, Path(pack), torch.device("cpu"))


def _steps_of_a_window(pack: str, window_gb: float) -> int:
    """So many steps draw a window's utterances."""
    trainer = _trainer(pack, window_gb)
    windows = trainer.batches.windows
    return int(len(trainer.batches.train) * windows._width / len(windows._used) / BATCH)


def _take(pack: str, window_gb: float, steps: int) -> float:
    trainer = _trainer(pack, window_gb)
    return seconds(lambda: [trainer.take_step() for _ in range(steps)])


def _read_bytes() -> int:
    """What this process has had read from disk."""
    return int(Path("/proc/self/io").read_text().partition("\nread_bytes:")[2].split()[0])


def _mib(held: list[int]) -> str:
    return ", ".join(f"{b / MIB:.0f}" for b in held)


def main() -> str:
    """The section of the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, _ = prepare(synthesise(folder / "audio", block()), folder / "small")
        times = int(np.ceil(HOURS * 3600 / small.seconds))
        with worker(CORES) as at_hand, worker(CORES) as in_windows:
            at_hand.submit(_take, str(small.folder), 0.0, 1).result()  # makes the frames
            repeat_pack(small, folder / "large", times)
            large = str(folder / "large")
            steps = in_windows.submit(_steps_of_a_window, large, WINDOW_GB).result()
            held: dict[str, list[int]] = {"small": [], "large": []}
            from_disk: list[int] = []

            def beside() -> float:
                took = at_hand.submit(_take, str(small.folder), 0.0, steps).result()
                held["small"].append(at_hand.submit(anonymous_bytes).result())
                return took

            def windows() -> float:
                before = in_windows.submit(_read_bytes).result()
                took = in_windows.submit(_take, large, WINDOW_GB, steps).result()
                from_disk.append(in_windows.submit(_read_bytes).result() - before)
                held["large"].append(in_windows.submit(anonymous_bytes).result())
                return took

            took = in_turn({"small": beside, "large": windows})
        speed = Ratio(
            f"{steps} steps of {BATCH}, {times * small.seconds / 3600:.0f} h, windows of {WINDOW_GB} GB, read from disk",
            f"the same steps on {small.seconds / 3600:.1f} h at hand",
            ratios_of(took["small"], took["large"]),
            f"{BATCH * steps / np.median(took['large']):.1f} utterances/s",
            f"{BATCH * steps / np.median(took['small']):.1f} utterances/s",
            0.95,
        )
        return f"""## Larger than memory

{table([speed])}

Each repetition draws one window and reads the next. The {HOURS} hours are {times} times the same {BLOCK_SHARDS} shards of frames, hard-linked; the system is
told to forget each before it is read: {", ".join(f"{b / 1e9:.1f}" for b in from_disk)} GB came from disk in each repetition. Anonymous memory after each, MiB, of
the {HOURS} hours: {_mib(held["large"])}; of the {small.seconds / 3600:.1f}: {_mib(held["small"])}. It levels off in
both: kernels and freed blocks are kept for each new batch length. The first value of each list is the warm-up's.
"""
