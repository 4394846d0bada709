"""Settings x folds x repeats: many runs, side by side in processes, resumable at any point."""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emospec.config import load_settings
from emospec.data.corpora import demo as demo_corpus
from emospec.data.corpora import read_corpus
from emospec.data.pack import Pack, prepare
from emospec.errors import EmospecError, TrainingError
from emospec.evaluation.report import write_report
from emospec.evaluation.results import Run, read_run
from emospec.run import (
    Job,
    Progress,
    command_options,
    notable,
    open_pack,
    refuse_existing,
    run_job,
    split_of,
    stage,
)


def crossval(
    pack: Path | str,
    out: Path | str,
    preset: str = "dai2019-mel",
    overrides: Sequence[str] = (),
    *,
    repeats: int = 1,
    seed: int = 0,
    jobs: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
) -> list[Run]:
    """Train and judge one setting on all folds of all repeats of its protocol.

    Args:
        pack: a folder that `prepare` made.
        out: holds the run folders, `r0-f1`, `r0-f2` and so on.
        preset: a preset's name or TOML file.
        overrides: `table.key=value` each.
        repeats: how often the protocol is drawn anew.
        seed: seeds the splits, the initial weights and the batches.
        jobs: runs side by side; 0 means one per core, of one thread each.
        resume: go on with interrupted runs, and keep finished ones.
        progress: see `Progress`.

    Raises:
        EmospecError: settings, pack, split or folders do not allow it; nothing is trained then.
        TrainingError: some runs failed; the others went on.
    """
    settings = load_settings(preset, overrides)
    opened, utterances, _ = open_pack(Path(pack), settings)
    folds = len(split_of(utterances, settings, 0, seed).folds)
    command = (
        f"emospec crossval {pack} --out {out}{command_options(preset, overrides, seed)} --repeats {repeats}"
    )
    todo = [
        Job(
            opened.folder,
            Path(out) / f"r{repeat}-f{fold}",
            settings,
            fold,
            repeat,
            seed,
            command=command,
            overrides=notable(overrides),
        )
        for repeat in range(repeats)
        for fold in range(1, folds + 1)
    ]
    return run_jobs(todo, jobs=jobs, resume=resume, progress=progress)


def demo(out: Path | str, *, seed: int = 0, progress: Progress | None = None) -> Path:
    """The whole way on a synthesised corpus: recordings, pack, two trainings, report.

    Args:
        out: a folder, made here; a finished demo in it is shown again.
        seed: seeds the corpus, the split and the trainings.
        progress: see `Progress`.

    Returns:
        The report, one HTML file.
    """
    out = Path(out)
    demo_corpus.synthesise(out / "corpus", seed, progress=stage(progress, "synthesise"))
    pack, _ = prepare(read_corpus("demo", out / "corpus"), out / "pack", progress=stage(progress, "prepare"))
    todo = []
    for name, overrides in (("without-centre-loss", ["loss.center_weight=0"]), ("with-centre-loss", [])):
        command = f"emospec train {pack.folder} --out {out / name}{command_options('demo', overrides, seed)}"
        todo.append(
            Job(pack.folder, out / name, load_settings("demo", overrides), seed=seed, command=command)
        )
    runs = run_jobs(todo, resume=True, progress=progress)
    return write_report(runs, out / "report", "emospec demo: what centre loss does")


def run_jobs(
    todo: Sequence[Job], *, jobs: int = 0, resume: bool = False, progress: Progress | None = None
) -> list[Run]:
    """Do runs side by side, one process each, and return them in the order given.

    N runs of one thread finish sooner than one after the other with N threads each.

    Raises:
        TrainingError: some runs failed; the others went on, and `resume` repeats only the failed.
    """
    import torch
    from joblib import Parallel, delayed

    for job in todo:
        refuse_existing(job.out, resume)
    _prepare_frames(todo, progress)
    side_by_side = min(jobs or os.cpu_count() or 1, len(todo))
    threads = max(1, torch.get_num_threads() // side_by_side)
    parallel = Parallel(
        n_jobs=side_by_side, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
    )
    watch = _Watch(todo, progress) if progress else None
    try:
        # The runs' own folders were judged above, all before the first one started.
        outcomes = dict(parallel(delayed(_run_safely)(replace(job, threads=threads)) for job in todo))
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


def _run_safely(job: Job) -> tuple[Path, str]:
    """Do one run in a worker process; its error, if any, comes back as words."""
    try:
        run_job(job, resume=True)
    except EmospecError as error:
        return job.out, str(error)
    return job.out, ""


def _prepare_frames(todo: Sequence[Job], progress: Progress | None) -> None:
    """Compute each pack's frames once, before the runs that share them start."""
    from emospec.learning.batches import FrameStore
    from emospec.learning.spectrogram import LogSpectrogram

    for pack, frontend in dict.fromkeys((job.pack, job.settings.frontend) for job in todo):
        FrameStore(
            Pack(pack),
            LogSpectrogram(frontend.kind, frontend.max_frames),
            stage(progress, "spectrograms"),
        )


class _Watch:
    """Follows runs in other processes by the history that they write."""

    def __init__(self, todo: Sequence[Job], progress: Progress) -> None:
        self._todo, self._progress = todo, progress
        self._seen: dict[Path, str] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and end."""
        self._stopped.set()
        self._thread.join()

    def _follow(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stopped.wait(0.5)
            for job in self._todo:
                self._look(job)

    def _look(self, job: Job) -> None:
        if not (job.out / "history.csv").is_file():
            return
        line = (job.out / "history.csv").read_text(encoding="utf-8").splitlines()[-1]
        done = (job.out / "scores.json").is_file()
        if self._seen.get(job.out) == (state := f"{done} {line}"):
            return
        self._seen[job.out] = state
        step, *_, dev_ua, _dev_wa = line.split(",")
        meta = json.loads((job.out / "meta.json").read_text(encoding="utf-8"))
        steps = job.settings.training.plan(sum(meta["counts"]["train"].values()))[0]
        word = "done" if done else f"dev UA {100 * float(dev_ua):.1f}" if dev_ua else ""
        self._progress(job.out.name, steps if done else int(step), steps, word)
