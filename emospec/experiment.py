"""Settings x folds x repeats: drives learning and evaluation, and owns the run folder.

One run is one training on one fold of one repeat, in one folder that is readable without our
code. Runs of an experiment go side by side, one thread each, and resume at any point.
"""

import hashlib
import io
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import emospec
from emospec.config import Settings, load_settings, to_toml
from emospec.data.corpora import CORPORA
from emospec.data.pack import Pack
from emospec.data.splits import Fold, Split, make_split, overlap_words, write_folds
from emospec.data.utterances import Utterance, select_classes
from emospec.errors import EmospecError, ProtocolError, RunError, TrainingError
from emospec.evaluation.metrics import class_distances, recalls, unweighted_accuracy, weighted_accuracy
from emospec.evaluation.results import Run, predicted_confusion, read_run
from emospec.files import write_bytes, write_json, write_text

Progress = Callable[[str, int, int, str], None]
"""Called with the run's name, steps done, steps in all, and a word on how it stands."""


@dataclass(frozen=True)
class Job:
    """One run to do: a setting, on one fold of one repeat, in one folder.

    Attributes:
        pack: the decoded corpus's folder.
        out: the run folder.
        settings: resolved.
        fold: from 1.
        repeat: from 0.
        seed: seeds the split, the initial weights and the batches.
        threads: for torch; 0 leaves torch's own choice.
        command: how the user asked for it.
    """

    pack: Path
    out: Path
    settings: Settings
    fold: int = 1
    repeat: int = 0
    seed: int = 0
    threads: int = 0
    command: str = ""


def train(
    pack: Path | str,
    out: Path | str,
    preset: str = "dai2019-mel",
    overrides: Sequence[str] = (),
    *,
    fold: int = 1,
    repeat: int = 0,
    seed: int = 0,
    threads: int = 0,
    resume: bool = False,
    tensorboard: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Train and judge one model: one fold of one repeat of a protocol.

    Args:
        pack: a folder that `prepare` made.
        out: the run folder, made here.
        preset: a preset's name or TOML file.
        overrides: `table.key=value` each.
        fold: which fold, from 1.
        repeat: which repeat of a protocol that draws, from 0.
        seed: seeds the split, the initial weights and the batches.
        threads: for torch; 0 leaves its own choice.
        resume: go on with an interrupted run; a finished one is returned as it is.
        tensorboard: log to `out/tensorboard` too.
        progress: see `Progress`.

    Raises:
        EmospecError: settings, pack, split or folder do not allow it; nothing is trained then.

    Example:
        >>> emospec.train("packs/emodb", "runs/emodb", fold=1).scores["test"]["UA"]  # doctest: +SKIP
        0.78
    """
    settings = load_settings(preset, overrides)
    command = f"emospec train {pack} --out {out}" + _options(preset, overrides, seed) + f" --fold {fold}"
    command += f" --repeat {repeat}" * bool(repeat)
    job = Job(Path(pack), Path(out), settings, fold, repeat, seed, threads, command)
    return run_job(job, resume=resume, tensorboard=tensorboard, progress=progress)


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
    """All folds of all repeats of one setting, side by side: run folders `out/r0-f1`, `out/r0-f2` ...

    Args:
        repeats: how often the protocol is drawn anew.
        jobs: runs side by side; 0 means one per core, each with one thread.
        resume: go on with interrupted runs and keep finished ones.

    The other arguments are those of `train`.
    """
    settings = load_settings(preset, overrides)
    opened, (utterances, _) = _open(Path(pack), settings)
    folds = len(_split(utterances, settings, 0, seed).folds)
    command = f"emospec crossval {pack} --out {out}" + _options(preset, overrides, seed) + f" --repeats {repeats}"
    todo = [
        Job(opened.folder, Path(out) / f"r{repeat}-f{fold}", settings, fold, repeat, seed, command=command)
        for repeat in range(repeats)
        for fold in range(1, folds + 1)
    ]
    return run_jobs(todo, jobs=jobs, resume=resume, progress=progress)


def run_jobs(
    todo: Sequence[Job], *, jobs: int = 0, resume: bool = False, progress: Progress | None = None
) -> list[Run]:
    """Do runs side by side in processes of one thread each, in the order given.

    Raises:
        TrainingError: some runs failed; the others went on, and `resume` repeats only the failed.
    """
    from joblib import Parallel, delayed

    for job in todo:
        _refuse_existing(job.out, resume)
    _prepare_frames(todo, progress)
    cores = os.cpu_count() or 1
    side_by_side = min(jobs or cores, len(todo))
    threads = max(1, cores // side_by_side)
    parallel = Parallel(n_jobs=side_by_side, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    watch = _Watch(todo, progress) if progress else None
    try:
        outcomes = dict(parallel(delayed(_run_safely)(job, threads, True) for job in todo))
    finally:
        if watch:
            watch.stop()
    failed = {out: error for out, error in outcomes.items() if error}
    if failed:
        out, error = next(iter(failed.items()))
        raise TrainingError(f"{len(failed)} of {len(todo)} runs failed; --resume repeats them. The first, {out}: {error}")
    return [read_run(job.out) for job in todo]


def _run_safely(job: Job, threads: int, resume: bool) -> tuple[Path, str]:
    """Do one run in a worker process; its error, if any, comes back as words."""
    try:
        run_job(Job(**(vars(job) | {"threads": threads})), resume=resume)
    except EmospecError as error:
        return job.out, str(error)
    return job.out, ""


def run_job(
    job: Job, *, resume: bool = False, tensorboard: bool = False, progress: Progress | None = None
) -> Run:
    """Do one run, from its settings to its `scores.json`. `train` says what may go wrong."""
    _refuse_existing(job.out, resume)
    if (job.out / "scores.json").is_file():
        return read_run(job.out)
    pack, (utterances, classes) = _open(job.pack, job.settings)
    split = _split(utterances, job.settings, job.repeat, job.seed)
    if not 1 <= job.fold <= len(split.folds):
        raise ProtocolError(f"fold {job.fold} is not there: {split.protocol} has folds 1 to {len(split.folds)}")

    import torch

    from emospec.learning.batches import FrameStore
    from emospec.learning.learner import Learner
    from emospec.learning.training import Row, Task, fit, resolve_precision, reuse_freed_memory

    reuse_freed_memory()
    if job.threads:
        torch.set_num_threads(job.threads)
    fold, places = split.folds[job.fold - 1], _places(pack, utterances)
    meta = _meta(job, pack, utterances, classes, split, fold)
    seed = int(np.random.SeedSequence([job.seed, job.repeat, job.fold]).generate_state(1)[0])
    learner = Learner(job.settings.frontend.kind, job.settings.frontend.max_frames, classes, seed)
    meta["precision"] = str(resolve_precision(job.settings.training)).removeprefix("torch.")
    meta["parameters"] = sum(p.numel() for p in learner.network.parameters())
    job.out.mkdir(parents=True, exist_ok=True)
    write_text(job.out / "config.toml", to_toml(job.settings))
    write_folds(split, utterances, job.out / "folds.csv")
    write_json(job.out / "meta.json", meta)

    name = job.out.name
    store = FrameStore(pack, learner.frontend, lambda n, all_: progress(name, n, all_, "frames") if progress else None)
    targets = np.full(len(pack), -1, np.int64)
    targets[places] = [classes.index(u.emotion) for u in utterances]
    task = Task(
        train=places[list(fold.train)].tolist(),
        dev=places[list(fold.dev)].tolist(),
        targets=targets,
        loss=job.settings.loss,
        training=job.settings.training,
        seed=seed,
        fingerprint=_fingerprint(job, pack, split),
    )

    def report(row: Row, steps: int) -> None:
        if progress:
            dev = "" if row.dev_ua is None else f"dev UA {100 * row.dev_ua:.1f}"
            progress(name, row.step, steps, dev)

    result = fit(learner, store, task, job.out, resume=resume, tensorboard=tensorboard, progress=report)
    about = {"emospec": emospec.__version__, "preset": job.settings.name, "protocol": meta["protocol"]}
    learner.cpu().save(job.out / "model", about)
    write_json(job.out / "meta.json", meta | {"steps": result.steps, "seconds": round(result.seconds, 1)})
    outputs = {p: learner.judge(store, places[list(fold.part(p))].tolist()) for p in ("train", "dev", "test")}
    _write_judgement(job.out, utterances, classes, fold, outputs, result.selected_step)
    return read_run(job.out)


def judge(run: Run, pack: Path | str, out: Path | None = None) -> pd.DataFrame:
    """Let a run's model judge all utterances of a pack that are of its classes.

    Args:
        run: a finished run.
        pack: any pack, such as one of another corpus.
        out: where to write the predictions as CSV, if anywhere.

    Returns:
        The predictions, one row per utterance, columns as in `predictions.csv`.
    """
    from emospec.learning.batches import FrameStore
    from emospec.learning.learner import Learner

    opened = Pack(pack)
    utterances = [u for u in opened.utterances if u.emotion in run.classes]
    if not utterances:
        raise RunError(f"{pack} holds no utterance of the run's classes: {', '.join(run.classes)}")
    learner = Learner.load(run.folder / "model")
    outputs = learner.judge(FrameStore(opened, learner.frontend), _places(opened, utterances).tolist())
    table = _predictions(utterances, "test", run.classes, outputs.probabilities)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    return table


def _write_judgement(
    out: Path, utterances: Sequence[Utterance], classes: Sequence[str], fold: Fold, outputs: dict[str, Any], selected: int
) -> None:
    """`features.npz`, `predictions.csv` and, last of all, `scores.json`."""
    z, labels, names, parts = [], [], [], []
    scores: dict[str, Any] = {"classes": list(classes), "selected_step": selected, "distances": {}}
    tables = []
    for part, output in outputs.items():
        chosen = [utterances[i] for i in fold.part(part)]
        z.append(output.z)
        labels += [u.emotion for u in chosen]
        names += [u.id for u in chosen]
        parts += [part] * len(chosen)
        distances = class_distances(output.z, [u.emotion for u in chosen])
        scores["distances"][part] = {"within": distances.within, "between": distances.between}
        if part != "train":
            table = _predictions(chosen, part, classes, output.probabilities)
            tables.append(table)
            scores[part] = score(table, classes)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, z=np.concatenate(z), label=np.array(labels), utterance=np.array(names), part=np.array(parts)
    )
    write_bytes(out / "features.npz", buffer.getvalue())
    write_text(out / "predictions.csv", pd.concat(tables).to_csv(index=False))
    write_json(out / "scores.json", scores)


def score(predictions: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """UA, WA, recall per class, confusion and number of utterances of predictions."""
    confusion = predicted_confusion(predictions, classes)
    return {
        "UA": unweighted_accuracy(confusion),
        "WA": weighted_accuracy(confusion),
        "recall": dict(zip(classes, recalls(confusion).tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "utterances": len(predictions),
    }


def _predictions(
    utterances: Sequence[Utterance], part: str, classes: Sequence[str], probabilities: Any
) -> pd.DataFrame:
    facts = {name: [getattr(u, name) for u in utterances] for name in ("corpus", "speaker", "sex", "language", "text")}
    return pd.DataFrame(
        {"utterance": [u.id for u in utterances], "part": part}
        | facts
        | {
            "target": [u.emotion for u in utterances],
            "predicted": [classes[k] for k in probabilities.argmax(axis=1)],
        }
        | {f"p_{name}": probabilities[:, k] for k, name in enumerate(classes)}
    )


def _open(pack: Path, settings: Settings) -> tuple[Pack, tuple[list[Utterance], tuple[str, ...]]]:
    """The pack, its utterances of the classes in use, and the classes."""
    opened = Pack(pack)
    return opened, select_classes(opened.utterances, settings.data.classes)


def _split(utterances: Sequence[Utterance], settings: Settings, repeat: int, seed: int) -> Split:
    """The split that the settings name; `default` is that of the one corpus, or groups:5 for a pool."""
    names = {u.corpus for u in utterances}
    corpus = CORPORA.get(names.pop()) if len(names) == 1 else None
    protocol = settings.data.protocol
    if protocol == "default":
        protocol = corpus.protocol if corpus else "groups:5"
    folds = corpus.folds if corpus else None
    return make_split(utterances, protocol, repeat=repeat, seed=seed, speaker_folds=folds)


def _places(pack: Pack, utterances: Sequence[Utterance]) -> np.ndarray[Any, np.dtype[np.int64]]:
    place = {u.id: i for i, u in enumerate(pack.utterances)}
    return np.array([place[u.id] for u in utterances], np.int64)


def _prepare_frames(todo: Sequence[Job], progress: Progress | None) -> None:
    """Compute each pack's frames once, before the runs that share them start."""
    from emospec.learning.batches import FrameStore
    from emospec.learning.spectrogram import LogSpectrogram

    for pack, frontend in dict.fromkeys((job.pack, job.settings.frontend) for job in todo):
        FrameStore(
            Pack(pack),
            LogSpectrogram(frontend.kind, frontend.max_frames),
            lambda n, all_: progress("frames", n, all_, "") if progress else None,
        )


def _refuse_existing(out: Path, resume: bool) -> None:
    if out.exists() and not resume and any(out.iterdir()):
        raise RunError(f"{out} exists and is not empty. Go on with it by --resume, or name another folder")


def _fingerprint(job: Job, pack: Pack, split: Split) -> str:
    settings = job.settings.model_dump(exclude={"training": {"checkpoint_seconds"}})
    facts = (settings, job.fold, job.repeat, job.seed, pack.digest, split.hash, emospec.__version__)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _options(preset: str, overrides: Sequence[str], seed: int) -> str:
    return f" --preset {preset}" + "".join(f" --set {o}" for o in overrides) + f" --seed {seed}"


def _meta(
    job: Job, pack: Pack, utterances: Sequence[Utterance], classes: Sequence[str], split: Split, fold: Fold
) -> dict[str, Any]:
    """What `meta.json` says: enough to know what was done, on what, and to repeat it."""
    overlap, words = overlap_words(fold, utterances)
    return {
        "emospec": emospec.__version__,
        "preset": job.settings.name,
        "command": job.command,
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("torch", "numpy", "soundfile", "soxr", "accelerate")},
        "hardware": _hardware(job.threads),
        "seed": job.seed,
        "classes": list(classes),
        "protocol": {
            "name": split.protocol,
            "words": split.words,
            "speaker_overlap": overlap,
            "overlap_words": words,
            "fold": job.fold,
            "folds": len(split.folds),
            "repeat": job.repeat,
            "hash": split.hash,
        },
        "pack": {"folder": str(pack.folder), "digest": pack.digest, "skipped": len(pack.skipped)},
        "corpora": [_corpus_facts(name, utterances) for name in sorted({u.corpus for u in utterances})],
        "counts": {
            part: dict(Counter(utterances[i].emotion for i in fold.part(part))) for part in ("train", "dev", "test")
        },
    }


def _corpus_facts(name: str, utterances: Sequence[Utterance]) -> dict[str, Any]:
    mine = [u for u in utterances if u.corpus == name]
    known = CORPORA.get(name)
    return {
        "name": name,
        "title": known.title if known else name,
        "licence": known.licence if known else "",
        "citation": known.citation if known else "",
        "utterances": len(mine),
        "speakers": len({u.speaker for u in mine if u.speaker}),
    }


def _hardware(threads: int) -> dict[str, Any]:
    import torch

    processor = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"processor": processor, "cores": os.cpu_count(), "threads": threads or torch.get_num_threads(), "device": device}


def _commit() -> str | None:
    """The commit of a source checkout, with a `+` where files differ from it; None outside one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + "+" * bool(changed.strip())


class _Watch:
    """Follows runs in other processes by the history that they write."""

    def __init__(self, todo: Sequence[Job], progress: Progress) -> None:
        import threading

        self._todo, self._progress = todo, progress
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time and end."""
        self._stopped.set()
        self._thread.join()

    def _follow(self) -> None:
        seen: dict[Path, str] = {}
        while True:
            last = self._stopped.wait(0.5)
            for job in self._todo:
                self._look(job, seen)
            if last:
                return

    def _look(self, job: Job, seen: dict[Path, str]) -> None:
        history = job.out / "history.csv"
        if not history.is_file():
            return
        line = history.read_text(encoding="utf-8").splitlines()[-1]
        state = "done" if (job.out / "scores.json").is_file() else line
        if seen.get(job.out) == state:
            return
        seen[job.out] = state
        step, *_, dev_ua, _dev_wa = line.split(",")
        if step.isdecimal():
            steps = _planned_steps(job)
            word = "done" if state == "done" else f"dev UA {100 * float(dev_ua):.1f}" if dev_ua else ""
            self._progress(job.out.name, steps if state == "done" else int(step), steps, word)


def _planned_steps(job: Job) -> int:
    import json

    meta = json.loads((job.out / "meta.json").read_text(encoding="utf-8"))
    return job.settings.training.plan(sum(meta["counts"]["train"].values()))[0]
