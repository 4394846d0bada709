"""Settings x folds x repeats: many runs, side by side in processes, resumable at any point."""

import math
import os
import re
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from emospec.config import load_settings
from emospec.data.corpora import demo as demo_corpus
from emospec.data.corpora import read_corpus
from emospec.data.pack import Pack, prepare
from emospec.errors import ConfigError, EmospecError, TrainingError, WorkersError, did_you_mean
from emospec.experiments.planning import Arm, plan
from emospec.experiments.progress import Watch
from emospec.experiments.run import (
    RunProgress,
    command_of,
    each,
    refuse_another,
    refuse_existing,
    refuse_leaks,
    refuse_mixture,
    run_job,
    setting_options,
    stage,
)
from emospec.experiments.spec import RunSpec, prepare_run
from emospec.report.page import write_report
from emospec.runs.record import RunRecord, read_run


def _paper_arm(preset: str, center_weight: float, center_rate: float = 0.5) -> Arm:
    overrides = (f"loss.center_weight={center_weight:g}", f"loss.center_rate={center_rate:g}")
    return Arm(f"{preset}-lambda-{center_weight:g}-alpha-{center_rate:g}", preset, overrides)


PAPER: dict[str, list[Arm]] = {
    "mel": [_paper_arm("dai2019-mel", center_weight) for center_weight in (0, 0.3)],
    "stft": [_paper_arm("dai2019-stft", center_weight) for center_weight in (0, 0.3)],
    "lambda": [_paper_arm("dai2019-mel", center_weight) for center_weight in (0, 0.003, 0.03, 0.3, 3)],
    "alpha": [_paper_arm("dai2019-mel", 0.3, center_rate) for center_rate in (0.1, 0.3, 0.5, 0.7, 0.9)],
}
"""The paper's experiment: settings 1 and 2, settings 3 and 4, and its two sweeps."""


def crossval(
    pack: Path | str,
    out: Path | str,
    preset: str = "dai2019-mel",
    overrides: Sequence[str] = (),
    *,
    repeats: int = 1,
    steps: int = 0,
    seed: int = 0,
    jobs: int = 0,
    cluster: str = "",
    resume: bool = False,
    strict: bool = False,
    progress: RunProgress | None = None,
) -> list[RunRecord]:
    """Train and judge one setting on all folds of all repeats of its protocol.

    Args:
        pack: a folder that `prepare` made.
        out: holds the run folders, `r0-f1`, `r0-f2` and so on.
        preset: a preset's name or TOML file.
        overrides: `table.key=value` each.
        repeats: how often the protocol is drawn anew.
        steps: train exactly so many in each run, whatever the preset says; 0 leaves it to the preset.
        seed: seeds the splits, the initial weights and the batches.
        jobs: runs side by side; 0 means one per core, or one where there is a GPU. Where there are fewer runs than
            cores, they share the cores.
        cluster: the address of a Dask scheduler, whose workers see the same files; each run has one thread.
        resume: go on with interrupted runs, and keep finished ones.
        strict: refuse folds with a leak, which otherwise is a warning that travels with the number.
        progress: see `RunProgress`.

    Raises:
        EmospecError: settings, pack, split or folders do not allow it; nothing is trained then.
        TrainingError: some runs failed; the others went on.
        WorkersError: the cluster cannot be had, or a worker was lost; `resume` goes on.
    """
    arm = Arm("", preset, tuple(overrides))
    asked: list[object] = [
        "--out",
        out,
        *setting_options(preset, overrides, seed, steps),
        "--repeats",
        repeats,
    ]
    command = command_of("crossval", pack, *asked, *["--strict"] * strict)
    more: dict[str, Any] = {"steps": steps, "seed": seed, "strict": strict, "command": command}
    todo = plan([arm], pack, out, repeats=repeats, **more)
    return run_jobs(todo, jobs=jobs, cluster=cluster, resume=resume, progress=progress)


def sweep(
    pack: Path | str,
    out: Path | str,
    key: str,
    values: Sequence[str],
    preset: str = "dai2019-mel",
    overrides: Sequence[str] = (),
    *,
    folds: int = 0,
    repeats: int = 1,
    steps: int = 0,
    seed: int = 0,
    jobs: int = 0,
    cluster: str = "",
    resume: bool = False,
    strict: bool = False,
    progress: RunProgress | None = None,
) -> list[RunRecord]:
    """Train and judge a preset at several values of one key; all folds of all repeats of each.

    Args:
        key: any key of a preset, such as `loss.center_weight`.
        values: its values, as in TOML; see `sweep_values`.
        folds: only the first so many; 0 means all.

    The other arguments and errors are those of `crossval`. Run folders are `out/KEY=VALUE/r0-f1` ...
    """
    arms = [Arm(f"{key}={value}", preset, (*overrides, f"{key}={value}")) for value in values]
    asked: list[object] = ["--out", out, "--key", key, "--values", ",".join(values)]
    asked += [*setting_options(preset, overrides, seed, steps), "--repeats", repeats]
    command = command_of("sweep", pack, *asked, *["--folds", folds] * bool(folds), *["--strict"] * strict)
    more: dict[str, Any] = {"steps": steps, "seed": seed, "strict": strict, "command": command}
    todo = plan(arms, pack, out, folds=folds, repeats=repeats, **more)
    return run_jobs(todo, jobs=jobs, cluster=cluster, resume=resume, progress=progress)


def sweep_values(text: str) -> list[str]:
    """The values of a sweep: a list with commas, of which each may be a range START:STOP:STEP of numbers.

    Raises:
        ConfigError: a range or a value is empty, or a value stands twice.

    Example:
        >>> sweep_values("0,0.1:0.5:0.2")
        ['0', '0.1', '0.3', '0.5']
    """
    values: list[str] = []
    for part in (part.strip() for part in re.split(r",(?![^\[]*\])", text)):  # a list's own commas stay
        try:
            start, stop, step = map(Decimal, part.split(":"))
            count = math.floor((stop - start) / step) + 1
        except (ValueError, ArithmeticError):
            values.append(part)
            continue
        if count < 1:
            raise ConfigError(f"the range {part!r} is empty: from START, STEP must lead to STOP")
        values += [f"{start + k * step:f}" for k in range(count)]
    meant = [_number_or_words(value) for value in values]
    if "" in meant or len(set(meant)) < len(meant):
        raise ConfigError(f"the values {text!r} hold an empty one or one twice. Name each once")
    return values


def _number_or_words(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:
        return text


def reproduce(
    pack: Path | str,
    out: Path | str,
    parts: Sequence[str] = tuple(PAPER),
    overrides: Sequence[str] = (),
    *,
    folds: int = 0,
    repeats: int = 1,
    steps: int = 0,
    seed: int = 0,
    jobs: int = 0,
    cluster: str = "",
    resume: bool = False,
    strict: bool = False,
    progress: RunProgress | None = None,
) -> Path:
    """The paper's experiment: settings 1 to 4, the sweeps of lambda and alpha, and the report.

    A setting that stands in several parts is trained once. Failed runs are left out of the report.

    Args:
        parts: of `PAPER`.
        overrides: for every setting, such as `data.protocol=dai2019`, the paper's own.
        folds: only the first so many; 0 means all.

    Returns:
        The report, in `out/report`.

    The other arguments and errors are those of `crossval`.
    """
    if unknown := [part for part in parts if part not in PAPER]:
        raise ConfigError(
            f"part {unknown[0]!r} is not known{did_you_mean(unknown[0], tuple(PAPER)) or '.'} Known: {', '.join(PAPER)}"
        )
    keys = {override.partition("=")[0].strip() for override in overrides}
    if fixed := sorted(keys & {"loss.center_weight", "loss.center_rate"}):
        raise ConfigError(
            f"{fixed[0]} is what the paper's experiment varies. Vary it otherwise with `emospec sweep`"
        )
    arms = dict.fromkeys(arm for part in parts for arm in PAPER[part])
    asked: list[object] = ["--out", out, *each("--part", parts), *each("--set", overrides), "--seed", seed]
    asked += ["--repeats", repeats, *["--folds", folds] * bool(folds), *["--steps", steps] * bool(steps)]
    command = command_of("reproduce", pack, *asked, *["--strict"] * strict)
    chosen = [replace(arm, overrides=(*arm.overrides, *overrides)) for arm in arms]
    more: dict[str, Any] = {"steps": steps, "seed": seed, "strict": strict, "command": command}
    todo = plan(chosen, pack, out, folds=folds, repeats=repeats, **more)
    try:
        runs = run_jobs(todo, jobs=jobs, cluster=cluster, resume=resume, progress=progress)
    except (TrainingError, WorkersError):
        finished = [read_run(job.out) for job in todo if job.is_finished]
        if finished:
            write_report(finished, Path(out) / "report")
        raise
    return write_report(runs, Path(out) / "report")


def demo(out: Path | str, *, seed: int = 0, progress: RunProgress | None = None) -> Path:
    """The whole way on a synthesised corpus: recordings, pack, two trainings, report.

    Args:
        out: a folder, made here; a finished demo in it is shown again.
        seed: seeds the corpus, the split and the trainings.
        progress: see `RunProgress`.

    Returns:
        The report, one HTML file.
    """
    out = Path(out)
    refuse_mixture(out, "a demo")
    demo_corpus.synthesise(out / "corpus", seed, progress=stage(progress, "synthesise"))
    pack, _ = prepare(read_corpus("demo", out / "corpus"), out / "pack", progress=stage(progress, "prepare"))
    todo = []
    for name, overrides in (("without-centre-loss", ["loss.center_weight=0"]), ("with-centre-loss", [])):
        command = command_of(
            "train", pack.folder, "--out", out / name, *setting_options("demo", overrides, seed)
        )
        todo.append(
            RunSpec(pack.folder, out / name, load_settings("demo", overrides), seed=seed, command=command)
        )
    runs = run_jobs(todo, resume=True, progress=progress)
    return write_report(runs, out / "report", "emospec demo: what centre loss does")


def run_jobs(
    todo: Sequence[RunSpec],
    *,
    jobs: int = 0,
    cluster: str = "",
    resume: bool = False,
    progress: RunProgress | None = None,
) -> list[RunRecord]:
    """Do runs side by side, in processes unless it is one at a time, and return them in the order given.

    N runs of one thread finish sooner than one after the other with N threads each, where N divides their number.

    Raises:
        ProtocolError: a job is strict and its fold has a leak; nothing is trained then.
        RunError: a folder holds a run of other settings; nothing is trained then.
        TrainingError: some runs failed; the others went on, and `resume` repeats only the failed.
        WorkersError: the cluster cannot be had, or a worker was lost.
    """
    import joblib
    import torch

    from emospec.workers import open_workers

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "many runs start processes of their own: launch this one in one process, or `emospec train` in several"
        )
    for job in todo:
        refuse_existing(job.out, resume)
        if (job.out / "meta.json").is_file():
            refuse_another(prepare_run(job))
    for job in _each_fold_once(job for job in todo if job.strict):
        refuse_leaks(job)
    at_once = 0 if cluster else min(jobs or _at_once(), len(todo))
    threads = max(1, torch.get_num_threads() // at_once) if at_once else 1
    parent, folder = (0 if cluster else os.getpid()), Path.cwd()
    # A cluster that grows is told of all of them.
    with open_workers(jobs if cluster else at_once, cluster, ahead=len(todo) if cluster else 1) as work:
        _prepare_frames(todo, progress)
        watch = Watch(todo, progress, at_once) if progress else None
        try:
            # The runs' own folders were judged above, all before the first one started.
            each = (
                joblib.delayed(_run_safely)(replace(job, threads=threads), folder, parent) for job in todo
            )
            outcomes = dict(work(each))
        finally:
            if watch:
                watch.stop()
    failed = {out: error for out, error in outcomes.items() if error}
    if failed:
        out, error = next(iter(failed.items()))
        raise TrainingError(
            f"{len(failed)} of {len(todo)} runs failed; --resume repeats them. The first, {out}: {error}"
        )
    return [read_run(job.out) for job in todo]


def _at_once() -> int:
    """Runs side by side where no number is asked for; a GPU's memory may not hold as many as there are cores."""
    import joblib
    import torch

    return 1 if torch.cuda.is_available() else int(joblib.cpu_count())


def _each_fold_once(todo: Iterable[RunSpec]) -> list[RunSpec]:
    """One job for each fold of each draw: settings that share the data share its audit."""
    folds = {
        (
            *(job.pack, job.settings.data.model_dump_json(), job.settings.training.start_from),
            *(job.fold, job.repeat, job.seed),
        ): job
        for job in todo
    }
    return list(folds.values())


def _run_safely(job: RunSpec, folder: Path, parent: int) -> tuple[Path, str]:
    """Do one run in a worker; its error, if any, comes back as words.

    Args:
        job: the run.
        folder: where the caller is, so that relative paths mean the same here.
        parent: the caller's process; 0 on a cluster.
    """
    from emospec.workers import check_task_wanted, exit_with_parent

    def stay_wanted(*_: object) -> None:
        # One that went on would meet --resume in its run's folder.
        if parent:
            exit_with_parent(parent)
        else:
            check_task_wanted()

    try:
        os.chdir(folder)
    except OSError as error:
        return job.out, f"a worker does not see {folder} ({error.strerror}). All workers need the same files"
    try:
        run_job(job, resume=True, progress=stay_wanted)
    except EmospecError as error:
        return job.out, str(error)
    except Exception as error:  # such as no memory on the accelerator: the other runs go on
        traceback.print_exc()
        return job.out, f"{type(error).__name__}: {error}"
    return job.out, ""


def _prepare_frames(todo: Sequence[RunSpec], progress: RunProgress | None) -> None:
    """Compute each pack's frames once, before the runs that share them start."""
    from emospec.learning.device import reuse_freed_memory
    from emospec.learning.frame_store import FrameStore
    from emospec.learning.spectrogram import LogSpectrogram

    reuse_freed_memory()
    for pack, frontend in dict.fromkeys((job.pack, job.settings.frontend) for job in todo):
        FrameStore(
            Pack(pack),
            LogSpectrogram(frontend.kind, frontend.max_frames),
            stage(progress, "spectrograms"),
        )
