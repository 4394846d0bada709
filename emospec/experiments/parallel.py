"""Runs side by side, in processes of this machine or on a Dask cluster."""

import os
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emospec.data.pack import Pack
from emospec.errors import ConfigError, EmospecError, TrainingError
from emospec.experiments.progress import RunFollower, RunProgress, stage
from emospec.experiments.run import run_spec
from emospec.experiments.spec import RunSpec, prepare_run
from emospec.runs.folder import refuse_existing
from emospec.runs.record import RunRecord, read_run


def run_specs(
    specs: Sequence[RunSpec],
    *,
    jobs: int = 0,
    cluster: str = "",
    resume: bool = False,
    progress: RunProgress | None = None,
) -> list[RunRecord]:
    """Do runs side by side, in processes unless it is one at a time, and return them in the order given.

    `crossval` says what may go wrong.
    """
    import joblib
    import torch

    from emospec.workers import open_workers

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        to_do = "launch this one in one process, or `emospec train` in several"
        raise ConfigError(f"many runs start processes of their own: {to_do}")
    # All folders and folds are checked before the first run starts.
    for spec in specs:
        refuse_existing(spec.out, resume)
        if spec.files.meta.is_file():
            prepare_run(spec).refuse_another()
    # Settings that share the data share the audit of a fold.
    folds = {}
    for spec in (spec for spec in specs if spec.strict):
        data = (spec.pack, spec.settings.data.model_dump_json(), spec.settings.training.start_from)
        folds[*data, spec.fold, spec.repeat, spec.seed] = spec
    for spec in folds.values():
        prepare_run(spec).audit()
    # N runs of one thread finish sooner than one after the other with N threads each, where N divides their number.
    at_once = 0 if cluster else min(jobs or _at_once(), len(specs))
    threads = max(1, torch.get_num_threads() // at_once) if at_once else 1
    parent, folder = (0 if cluster else os.getpid()), Path.cwd()
    # A cluster may grow: it gets all of the runs at once.
    with open_workers(jobs if cluster else at_once, cluster, ahead=len(specs) if cluster else 1) as work:
        _prepare_frames(specs, progress)
        follower = RunFollower(specs, progress, at_once) if progress else None
        try:
            run = joblib.delayed(_run_safely)
            outcomes = dict(work(run(replace(spec, threads=threads), folder, parent) for spec in specs))
        finally:
            if follower:
                follower.stop()
    failed = {out: error for out, error in outcomes.items() if error}
    if failed:
        out, error = next(iter(failed.items()))
        count = f"{len(failed)} of {len(specs)} runs failed"
        raise TrainingError(f"{count}; --resume repeats them. The first, {out}: {error}")
    return [read_run(spec.out) for spec in specs]


def _at_once() -> int:
    import joblib
    import torch

    # A GPU's memory may not hold as many runs as there are cores.
    return 1 if torch.cuda.is_available() else int(joblib.cpu_count())


def _run_safely(spec: RunSpec, folder: Path, parent: int) -> tuple[Path, str]:
    """Do one run in a worker, in the caller's folder; its error, if any, comes back as words."""
    from emospec.workers import check_task_wanted, exit_with_parent

    def stay_wanted(*_: object) -> None:
        # A run that went on without its caller would meet --resume in its folder. A cluster has no parent process.
        if parent:
            exit_with_parent(parent)
        else:
            check_task_wanted()

    try:
        os.chdir(folder)
    except OSError as error:
        return spec.out, f"a worker does not see {folder} ({error.strerror}). All workers need the same files"
    try:
        run_spec(spec, resume=True, progress=stay_wanted)
    except EmospecError as error:
        return spec.out, str(error)
    except Exception as error:
        # Such as no memory on the accelerator: the other runs go on.
        traceback.print_exc()
        return spec.out, f"{type(error).__name__}: {error}"
    return spec.out, ""


def _prepare_frames(specs: Sequence[RunSpec], progress: RunProgress | None) -> None:
    from emospec.learning.device import reuse_freed_memory
    from emospec.learning.frame_store import FrameStore
    from emospec.learning.spectrogram import LogSpectrogram

    reuse_freed_memory()
    # Once for each pack, before the runs that share it start.
    for pack, frontend in dict.fromkeys((spec.pack, spec.settings.frontend) for spec in specs):
        spectrogram = LogSpectrogram(frontend.kind, frontend.max_frames)
        FrameStore(Pack(pack), spectrogram, stage(progress, "spectrograms"))
