"""Bulk scoring: a manifest -> a folder of shards, side by side in processes or on a Dask cluster.

`plan.json` says what was asked. A shard is finished when its file is there, so that whatever was killed,
the same call goes on. `shard` says what a worker does.
"""

import dataclasses
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import joblib
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

import emospec
from emospec.audio.reader import printable
from emospec.audio.waveform import SAMPLE_RATE
from emospec.errors import ScoringError
from emospec.files import folder_lock, fsync_and_rename, output_errors, write_json
from emospec.inference.manifest import Census, Manifest, location
from emospec.inference.recognizer import Recognizer
from emospec.inference.shard import Order, digest_of, part_of, score_shard
from emospec.inference.streaming import Timing
from emospec.table_cells import FILE
from emospec.workers import Workers, open_workers

PLAN, SUMMARY, ERRORS = "plan.json", "summary.json", "errors.parquet"
FORMAT = 1
_ERRORS = pa.schema([("row", pa.int64()), (FILE, pa.string()), ("kind", pa.string()), ("error", pa.string())])

ScoringProgress = Callable[[int, int, float], None]
"""Called with the files done, all files, and the seconds of audio that this call has heard."""


def score(
    source: Path | str,
    out: Path | str,
    model: Path | str,
    *,
    keep: Sequence[str] = (),
    int8: bool = False,
    z: bool = False,
    timing: Timing | None = None,
    shard_files: int = 1000,
    jobs: int = 0,
    cluster: str = "",
    channel: int | None = None,
    ffmpeg: bool = False,
    progress: ScoringProgress | None = None,
) -> dict[str, Any]:
    """Score any number of recordings into Parquet files; a call that was cut short goes on where it is repeated.

    Args:
        source: a folder, or a manifest; see `Manifest`.
        out: a folder, made here: `part-00000.parquet` and so on, whose rows are those of the manifest in order,
            `errors.parquet`, `summary.json`, and `plan.json`, by which a repeated call knows what was asked.
        model: what `load_model` takes.
        keep: columns of the manifest to carry along.
        int8: use the graph whose convolutions compute in 8 bits.
        z: write z too, as the column `z` of (64,) float32.
        timing: write timelines too, `timelines-00000.parquet` and so on, with such windows.
        shard_files: recordings in a shard, 1 or more; what is killed loses no more than the shards in work.
        jobs: processes side by side; 0 is one per core. On a cluster, all of its workers.
        cluster: the address of a Dask scheduler, whose workers see the same files.
        channel: judge this one of each recording, from 1; None judges the mean over all.
        ffmpeg: decode recordings that are not read here by ffmpeg; a folder's are taken too then.
        progress: see `ScoringProgress`.

    Returns:
        What `summary.json` holds: counts, files of a folder that were left out by suffix, emotions, failures by kind, seconds of audio, the last call's rate.

    Raises:
        ScoringError: the manifest is mistaken, `out` holds something else, a worker sees other files.
        WorkersError: the cluster cannot be had, or a worker was lost.
        ModelError: there is no such model, or it is damaged.
        TimelineError: the timing is out of range.
    """
    if shard_files < 1:
        raise ScoringError(f"shard_files is {shard_files}: choose 1 or more")
    started, out, manifest = time.perf_counter(), Path(out), Manifest(source, keep, ffmpeg)
    workers = open_workers(jobs, cluster, ahead=2)
    recognizer = Recognizer(model, int8=int8, threads=1, ffmpeg=ffmpeg)
    recognizer.stream(SAMPLE_RATE, timing)  # a mistaken timing is told now, not in every row
    order = Order(
        out.absolute(),
        manifest.base,
        manifest.kept,
        recognizer.model.folder.absolute(),
        digest_of(recognizer.model),
        int8,
        z,
        timing,
        0 if cluster else os.getpid(),
        channel,
        ffmpeg,
    )
    order.schema(recognizer.model)
    census = manifest.census()
    _check_protocols(census)
    plan = _plan(order, census, shard_files)
    _make_folder(out)
    with folder_lock(
        out, ScoringError(f"{out}: another call scores into it still. Wait for it, or name another folder")
    ):
        _keep_plan(out, plan)
        left = [k for k in range(len(plan["shards"])) if not part_of(out, k).is_file()]
        if left or not (out / SUMMARY).is_file():
            done = _score_shards(order, manifest, plan, left, workers, progress)
            took = {"files": done, "seconds": time.perf_counter() - started}
            with output_errors(out):
                _finish(order, plan, took, manifest.left_out)
        return _read(out / SUMMARY)


def _plan(order: Order, census: Census, shard_files: int) -> dict[str, Any]:
    """What is asked, and which rows stand in which shard."""
    starts = range(0, census.files, shard_files)
    return {
        "format": FORMAT,
        "emospec": emospec.__version__,
        "onnxruntime": onnxruntime.__version__,
        "files": census.files,
        "manifest": census.sha256,
        "keep": [field.name for field in order.kept],
        "model": order.digest,
        "int8": order.int8,
        "z": order.z,
        # None where it is not asked for: plans of earlier versions have neither.
        "channel": order.channel,
        "ffmpeg": order.ffmpeg or None,
        "timelines": dataclasses.asdict(order.timing) if order.timing else None,
        "shard_files": shard_files,
        "shards": {
            part_of(order.out, k).name: [first, min(first + shard_files, census.files)]
            for k, first in enumerate(starts)
        },
    }


def _make_folder(out: Path) -> None:
    """Make a new folder, or find that of a call before."""
    if (out / PLAN).is_file():
        return
    if out.exists() and (not out.is_dir() or any(file.suffix != ".part" for file in out.iterdir())):
        raise ScoringError(f"{out} is there and holds no {PLAN}. Name a new folder")
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)


def _keep_plan(out: Path, plan: dict[str, Any]) -> None:
    """Find the same plan in a folder, or write it where nothing is scored yet."""
    if (out / PLAN).is_file():
        old = _read(out / PLAN)
        other = [name for name in plan if old.get(name) != plan[name] and name != "shards"]
        if not other:
            return
        if any(out.glob("*.parquet")) or (out / SUMMARY).is_file():
            raise ScoringError(
                f"{out / PLAN} was made for another {', '.join(_differences(other, old, plan))}. "
                "Ask as then, or name another folder"
            )
    write_json(out / PLAN, plan)


def _differences(names: Sequence[str], old: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """Return what differs, by name. Other columns make another hash of the manifest, though it may be the same."""
    if "keep" not in names:
        return list(names)
    then, now = (
        " ".join(f"--keep {column}" for column in each.get("keep") or ()) or "no --keep"
        for each in (old, plan)
    )
    return [f"keep ({then} then, {now} now)", *(name for name in names if name not in ("keep", "manifest"))]


def _check_protocols(census: Census) -> None:
    """Refuse URLs that nothing here can read, before each is tried."""
    if not census.protocols:
        return
    try:
        import fsspec

        for protocol in sorted(census.protocols):
            fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise ScoringError(f"the manifest holds URLs that cannot be read here: {error}") from error


def _score_shards(
    order: Order,
    manifest: Manifest,
    plan: dict[str, Any],
    left: Sequence[int],
    workers: AbstractContextManager[Workers],
    progress: ScoringProgress | None,
) -> int:
    """Score what is left; how many files that was."""
    ranges = list(plan["shards"].values())
    before = plan["files"] - sum(last - first for first, last in (ranges[k] for k in left))
    done, heard = 0, 0.0
    if progress:
        progress(before, plan["files"], heard)
    with workers as work:
        tasks = (
            joblib.delayed(score_shard)(order, shard, first, rows)
            for shard, first, rows in _shards(manifest, ranges, left)
        )
        for files, seconds in work(tasks):
            done, heard = done + files, heard + seconds
            if progress:
                progress(before + done, plan["files"], heard)
    return done


def _shards(
    manifest: Manifest, ranges: Sequence[tuple[int, int]], left: Sequence[int]
) -> Iterator[tuple[int, int, list[tuple[Any, ...]]]]:
    """The rows of the shards that are left, in one pass."""
    rows, at = manifest.rows(), 0
    for shard in left:
        first, last = ranges[shard]
        yield shard, first, list(islice(rows, first - at, last - at))
        at = last


def _finish(order: Order, plan: dict[str, Any], took: dict[str, Any], left_out: Mapping[str, int]) -> None:
    """The error table and the summary, read back from the shards."""
    emotions: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    seconds = 0.0
    unfinished = order.out / f"{ERRORS}.part"
    with parquet.ParquetWriter(unfinished, _ERRORS) as writer:
        for shard in range(len(plan["shards"])):
            table = _columns_of(part_of(order.out, shard))
            failed = table.filter(pc.is_valid(table["error"]))
            if failed.num_rows:
                errors = _errors(failed, order.base)
                writer.write_table(errors)
                failures.update(errors["kind"].to_pylist())
            emotions.update(table["emotion"].drop_null().to_pylist())
            seconds += pc.sum(table["seconds"]).as_py() or 0.0
    fsync_and_rename(unfinished, order.out / ERRORS)
    facts = {
        "files": plan["files"],
        "failed": failures.total(),
        "left_out": dict(left_out),
        "emotions": dict(emotions.most_common()),
        "failures": dict(failures.most_common()),
        "audio_seconds": seconds,
        "last_call": took | {"files_per_second": took["files"] / took["seconds"]},
    }
    write_json(order.out / SUMMARY, facts)
    for stray in order.out.glob("*.part"):
        stray.unlink()  # of workers that were killed while they wrote


def _columns_of(path: Path) -> pa.Table:
    """What a summary needs of a shard, as `read_table` would read it, without the 25 MB that its import takes."""
    try:
        with parquet.ParquetFile(path) as file:
            return file.read(["row", "recording", "emotion", "seconds", "error"], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # Arrow's own have none
            raise ScoringError(f"{path} cannot be read ({error.strerror})") from error
        raise ScoringError(f"{path} is damaged ({error}). Delete it, and call again") from error


def _errors(failed: pa.Table, base: Path) -> pa.Table:
    """The failures of a shard as a manifest of their own, so that they can be scored again."""
    places = [location(base, one) for one in failed["recording"].to_pylist()]
    errors = failed["error"].to_pylist()
    kinds = [kind_of(error, printable(place)) for error, place in zip(errors, places, strict=True)]
    return pa.table([failed["row"], places, kinds, failed["error"]], schema=_ERRORS)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ScoringError(f"{path} is damaged ({error}). Name another folder") from error


def kind_of(error: str, place: str) -> str:
    """What is wrong, without the name and the particulars.

    >>> kind_of("a.wav: is truncated: 3 of 5 samples are there", "a.wav")
    'is truncated'
    """
    return re.split(r"[\d:(.,;]", error.removeprefix(f"{place}: "), maxsplit=1)[0].strip()
