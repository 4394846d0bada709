"""Bulk scoring: a manifest to a folder of shards, in parallel processes or on a Dask cluster.

`plan.json` records what was asked for. A shard is finished when its file exists, so that the same call resumes
after any kill. `shard` is a worker's part.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import joblib
import onnxruntime
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

import emospec
from emospec.audio.discovery import printable
from emospec.audio.waveform import SAMPLE_RATE
from emospec.errors import ScoringError
from emospec.files import folder_lock, fsync_and_rename, output_errors, write_json
from emospec.inference.manifest import Manifest, ManifestRow, location
from emospec.inference.recognizer import Recognizer
from emospec.inference.shard import ShardSettings, model_digest, score_shard, shard_path
from emospec.inference.streaming import Timing
from emospec.table_cells import FILE
from emospec.workers import Workers, open_workers

_PLAN, _SUMMARY, _ERRORS = "plan.json", "summary.json", "errors.parquet"
_PLAN_FORMAT, _TEXT = 1, pa.string()
_ERROR_SCHEMA = pa.schema([("row", pa.int64()), (FILE, _TEXT), ("kind", _TEXT), ("error", _TEXT)])

ScoringProgress = Callable[[int, int, float], None]
"""Called with the files done, all files, and the seconds of audio that this call has scored."""


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
    """Score any number of recordings into Parquet files; a call that was cut short resumes when it is repeated.

    Args:
        source: a folder, or a manifest; see `Manifest`.
        out: a folder, made here: `part-00000.parquet` and so on, whose rows are those of the manifest in order,
            `errors.parquet`, `summary.json`, and `plan.json`.
        model, int8, channel, ffmpeg: as of `Recognizer` and its `predict`.
        keep: columns of the manifest to carry along.
        z: write z too, as the column `z` of (64,) float32.
        timing: write timelines with such windows too, `timelines-00000.parquet` and so on.
        shard_files: recordings in a shard, 1 or more; a kill loses no more than the shards in work.
        jobs: parallel processes; 0 is one per core. On a cluster, all of its workers.
        cluster: the address of a Dask scheduler, whose workers see the same files.

    Returns:
        The content of `summary.json`: counts, files of a folder that were left out by suffix, emotions, failures
        by kind, seconds of audio, the last call's rate.
    """
    if shard_files < 1:
        raise ScoringError(f"shard_files is {shard_files}: choose 1 or more")
    started, out, manifest = time.perf_counter(), Path(out), Manifest(source, keep, ffmpeg)
    workers = open_workers(jobs, cluster, ahead=2)
    recognizer = Recognizer(model, int8=int8, threads=1, ffmpeg=ffmpeg)
    # A mistaken timing fails now, not in every row.
    recognizer.stream(SAMPLE_RATE, timing)
    settings = ShardSettings(
        out=out.absolute(),
        base=manifest.base,
        kept=manifest.kept,
        model=recognizer.model.folder.absolute(),
        digest=model_digest(recognizer.model),
        int8=int8,
        z=z,
        timing=timing,
        parent=0 if cluster else os.getpid(),
        channel=channel,
        ffmpeg=ffmpeg,
    )
    settings.schema(recognizer.model)
    plan = _plan(settings, manifest, shard_files)
    _make_folder(out)
    busy = ScoringError(f"{out}: another call scores into it still. Wait for it, or name another folder")
    with folder_lock(out, busy):
        _keep_plan(out, plan)
        scored = _score_missing(settings, manifest, plan, workers=workers, progress=progress)
        if scored is not None:
            last_call = {"files": scored, "seconds": time.perf_counter() - started}
            with output_errors(out):
                _finish(settings, plan, last_call, manifest.left_out)
        return _read(out / _SUMMARY)


def _plan(settings: ShardSettings, manifest: Manifest, shard_files: int) -> dict[str, Any]:
    files, sha256 = manifest.count_and_hash()
    return {
        "format": _PLAN_FORMAT,
        "emospec": emospec.__version__,
        "onnxruntime": onnxruntime.__version__,
        "files": files,
        "manifest": sha256,
        "keep": [field.name for field in settings.kept],
        "model": settings.digest,
        "int8": settings.int8,
        "z": settings.z,
        # None where it is not asked for: plans of earlier versions have neither.
        "channel": settings.channel,
        "ffmpeg": settings.ffmpeg or None,
        "timelines": asdict(settings.timing) if settings.timing else None,
        "shard_files": shard_files,
        "shards": {
            shard_path(settings.out, k).name: [first, min(first + shard_files, files)]
            for k, first in enumerate(range(0, files, shard_files))
        },
    }


def _make_folder(out: Path) -> None:
    if (out / _PLAN).is_file():
        return
    # The folder of a call that was killed before it had a plan may be used again; anything else is not ours.
    if out.exists() and (not out.is_dir() or any(file.suffix != ".part" for file in out.iterdir())):
        raise ScoringError(f"{out} is there and holds no {_PLAN}. Name a new folder")
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)


def _keep_plan(out: Path, plan: dict[str, Any]) -> None:
    """Write the plan where nothing is scored yet; ScoringError where results are of another plan."""
    old = _read(out / _PLAN) if (out / _PLAN).is_file() else {}
    changed = [name for name in plan if old.get(name) != plan[name] and name != "shards"]
    if not changed:
        return
    if any(out.glob("*.parquet")) or (out / _SUMMARY).is_file():
        if "keep" in changed:
            # Other columns change the hash of the manifest too, which then says nothing.
            then, now = (
                " ".join(f"--keep {c}" for c in p.get("keep") or ()) or "no --keep" for p in (old, plan)
            )
            others = (name for name in changed if name not in ("keep", "manifest"))
            changed = [f"keep ({then} then, {now} now)", *others]
        differs = f"was made for another {', '.join(changed)}"
        raise ScoringError(f"{out / _PLAN} {differs}. Ask as then, or name another folder")
    write_json(out / _PLAN, plan)


def _score_missing(
    settings: ShardSettings,
    manifest: Manifest,
    plan: dict[str, Any],
    *,
    workers: AbstractContextManager[Workers],
    progress: ScoringProgress | None,
) -> int | None:
    """Score the shards that have no file yet; return the number of recordings, None where all is finished."""
    # Shards of an earlier call are counted as done, but not in the seconds: the rate is this call's.
    ranges, total = list(plan["shards"].values()), plan["files"]
    left = [k for k in range(len(ranges)) if not shard_path(settings.out, k).is_file()]
    if not left and (settings.out / _SUMMARY).is_file():
        return None
    before = total - sum(last - first for first, last in (ranges[k] for k in left))
    done, audio_seconds = 0, 0.0
    report = progress or (lambda *_: None)
    report(before, total, audio_seconds)
    with workers as work:
        shards = _shards(manifest, ranges, left)
        for files, seconds in work(joblib.delayed(score_shard)(settings, *shard) for shard in shards):
            done, audio_seconds = done + files, audio_seconds + seconds
            report(before + done, total, audio_seconds)
    return done


def _shards(
    manifest: Manifest, ranges: Sequence[tuple[int, int]], left: Sequence[int]
) -> Iterator[tuple[int, int, list[ManifestRow]]]:
    """Yield number, first row and rows of the shards that are left, in one pass over the manifest."""
    rows, position = manifest.rows(), 0
    for shard in left:
        first, last = ranges[shard]
        yield shard, first, list(islice(rows, first - position, last - position))
        position = last


def _finish(
    settings: ShardSettings, plan: dict[str, Any], last_call: dict[str, Any], left_out: Mapping[str, int]
) -> None:
    """Write the error table and the summary, read back from the shards."""
    emotions: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    seconds = 0.0
    unfinished = settings.out / f"{_ERRORS}.part"
    with parquet.ParquetWriter(unfinished, _ERROR_SCHEMA) as writer:
        for shard in range(len(plan["shards"])):
            table = _summary_columns(shard_path(settings.out, shard))
            failed = table.filter(pc.is_valid(table["error"]))
            if failed.num_rows:
                # The failures are a manifest, so that they can be scored again.
                places = [location(settings.base, recording) for recording in failed["recording"].to_pylist()]
                errors = zip(failed["error"].to_pylist(), places, strict=True)
                kinds = [error_kind(error, printable(place)) for error, place in errors]
                columns = [failed["row"], places, kinds, failed["error"]]
                writer.write_table(pa.table(columns, schema=_ERROR_SCHEMA))
                failures.update(kinds)
            emotions.update(table["emotion"].drop_null().to_pylist())
            seconds += pc.sum(table["seconds"]).as_py() or 0.0
    fsync_and_rename(unfinished, settings.out / _ERRORS)
    summary = {
        "files": plan["files"],
        "failed": failures.total(),
        "left_out": dict(left_out),
        "emotions": dict(emotions.most_common()),
        "failures": dict(failures.most_common()),
        "audio_seconds": seconds,
        "last_call": last_call | {"files_per_second": last_call["files"] / last_call["seconds"]},
    }
    write_json(settings.out / _SUMMARY, summary)
    # Workers that were killed while they wrote leave such files.
    for stray in settings.out.glob("*.part"):
        stray.unlink()


def _summary_columns(path: Path) -> pa.Table:
    # Not `read_table`, whose import takes 25 MB.
    try:
        with parquet.ParquetFile(path) as file:
            return file.read(["row", "recording", "emotion", "seconds", "error"], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        # Arrow raises OSErrors too, without a number.
        if isinstance(error, OSError) and error.errno:
            raise ScoringError(f"{path} cannot be read ({error.strerror})") from error
        raise ScoringError(f"{path} is damaged ({error}). Delete it, and call again") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ScoringError(f"{path} is damaged ({error}). Name another folder") from error


def error_kind(error: str, place: str) -> str:
    """Return what an error says, without the name and the particulars.

    >>> error_kind("a.wav: is truncated: 3 of 5 samples are there", "a.wav")
    'is truncated'
    """
    return re.split(r"[\d:(.,;]", error.removeprefix(f"{place}: "), maxsplit=1)[0].strip()
