"""One run: one training on one fold of one repeat, in one folder readable without our code.

Drives learning and evaluation, and owns what a run folder holds: `config.toml`, `meta.json`,
`folds.csv`, `history.csv`, `checkpoint/`, `model/` with its card, `features.npz`, `predictions.csv`
and, when all else is there, `scores.json`.
"""

import json
import logging
import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emospec
from emospec.config import Settings, load_settings, to_toml, toml_value
from emospec.data.audit import Audit
from emospec.data.splits import PARTS, write_folds
from emospec.errors import RunError
from emospec.evaluation.overlap import fold_overlap
from emospec.experiments.scoring import write_judgement
from emospec.experiments.spec import PreparedRun, RunSpec, prepare_run
from emospec.files import folder_lock, output_errors, write_json, write_text
from emospec.inference.model import CARD
from emospec.progress import roughly
from emospec.report.card import model_card
from emospec.runs.folder import CHECKPOINT
from emospec.runs.provenance import commit, corpus_facts, hardware, versions
from emospec.runs.record import RunRecord, flatten, read_run

if TYPE_CHECKING:
    from emospec.learning.distributed import Ranks
    from emospec.learning.learner import Learner, Outputs
    from emospec.learning.task import HistoryRow, TrainingResult, TrainingTask

_LEAVING_SECONDS = 60.0  # that a killed call's run may take to notice it, on a cluster within some steps

PACE = "pace.json"
"""A step and the seconds up to it, of a run that has no row of history yet; gone when the run is finished."""
_STARTED = {
    PACE,
    "meta.json",
    "config.toml",
    "folds.csv",
    "earlier.csv",
    "history.csv",
    "checkpoint",
    "tensorboard",
}
_KINDS = {
    "a run": ("scores.json", CHECKPOINT),
    "runs": ("r*-f*/meta.json", "*=*/r*-f*/meta.json"),
    "a pack": ("fingerprints.bin",),
    "a model": ("model.onnx",),
}
"""Kinds of folders, each with the files of which one proves it."""

_log = logging.getLogger(__name__)

RunProgress = Callable[[str, int, int, str], None]
"""Called with the run's name, steps done, steps in all, and a word on how it stands."""


def train(
    pack: Path | str,
    out: Path | str,
    preset: str = "dai2019-mel",
    overrides: Sequence[str] = (),
    *,
    fold: int = 1,
    repeat: int = 0,
    steps: int = 0,
    seed: int = 0,
    threads: int = 0,
    resume: bool = False,
    strict: bool = False,
    tensorboard: bool = False,
    progress: RunProgress | None = None,
) -> RunRecord:
    """Train and judge one model: one fold of one repeat of a protocol.

    Args:
        pack: a folder that `prepare` made.
        out: the run folder, made here.
        preset: a preset's name or TOML file.
        overrides: `table.key=value` each.
        fold: which fold, from 1.
        repeat: which repeat of a protocol that draws, from 0.
        steps: train exactly so many, whatever the preset says; 0 leaves it to the preset.
        seed: seeds the split, the initial weights and the batches.
        threads: for torch; 0 leaves its own choice.
        resume: go on with an interrupted run; a finished one is returned as it is.
        strict: refuse a fold with a leak, which otherwise is a warning that travels with the number.
        tensorboard: log to `out/tensorboard` too.
        progress: see `RunProgress`.

    Raises:
        EmospecError: settings, pack, split or folder do not allow it; nothing is trained then.
        ProtocolError: `strict`, and the audit finds a leak before the training, or in what it used after it.

    Example:
        >>> emospec.train("packs/emodb", "runs/emodb", fold=1).scores["test"]["UA"]  # doctest: +SKIP
        0.78
    """
    settings = load_settings(preset, overrides, steps)
    asked: list[object] = ["--out", out, *setting_options(preset, overrides, seed, steps), "--fold", fold]
    command = command_of("train", pack, *asked, *["--repeat", repeat] * bool(repeat), *["--strict"] * strict)
    job = RunSpec(
        Path(pack),
        Path(out),
        settings,
        fold,
        repeat,
        seed,
        threads,
        command,
        notable(settings, preset),
        strict,
    )
    # Of several processes that train together, one warns.
    warn = _log.warning if os.environ.get("RANK", "0") == "0" else None
    return run_job(job, resume=resume, tensorboard=tensorboard, progress=progress, warn=warn)


def run_job(
    job: RunSpec,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    progress: RunProgress | None = None,
    warn: Callable[[str], None] | None = None,
) -> RunRecord:
    """Do one run, from its settings to its `scores.json`. `train` says what may go wrong."""
    refuse_existing(job.out, resume)
    ready = prepare_run(job)
    refuse_another(ready)
    if job.is_finished:
        return _finished(job)
    if warn:
        for doubt in ready.doubts:
            warn(doubt)

    import torch

    from emospec.learning.device import reuse_freed_memory

    reuse_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(job.threads or before)
    try:
        return _train_and_judge(ready, resume, tensorboard, progress)
    finally:
        torch.set_num_threads(before)


def refuse_leaks(job: RunSpec) -> None:
    """ProtocolError where the audit finds a leak in the job's fold. Trains nothing."""
    prepare_run(job).audit().refuse_leaks()


def _train_and_judge(
    ready: PreparedRun, resume: bool, tensorboard: bool, progress: RunProgress | None
) -> RunRecord:
    from emospec.learning.distributed import Ranks

    job, out = ready.job, ready.job.out
    ranks = Ranks()
    ranks.wait()  # every process has looked at the folder before the first writes into it
    progress = progress if ranks.main else None
    audit = ready.audit()
    if job.strict:
        audit.refuse_leaks()
    meta = _meta(ready)
    if not ranks.main:
        return _train_alone(ready, meta, audit, ranks, resume, tensorboard, progress)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    held = RunError(f"{out}: another call trains it still. Wait for it, or name another folder")
    with folder_lock(out, held, _LEAVING_SECONDS):
        refuse_existing(out, resume)  # which another call may have filled while this one waited
        refuse_another(ready)
        return _train_alone(ready, meta, audit, ranks, resume, tensorboard, progress)


def _train_alone(
    ready: PreparedRun,
    meta: dict[str, Any],
    audit: Audit,
    ranks: "Ranks",
    resume: bool,
    tensorboard: bool,
    progress: RunProgress | None,
) -> RunRecord:
    """The training and judging of a run whose folder nobody else writes into."""
    import torch

    from emospec.learning.frame_store import FrameStore
    from emospec.learning.learner import Learner
    from emospec.learning.training import fit

    job, settings, out = ready.job, ready.job.settings, ready.job.out
    learner = Learner(
        settings.frontend.kind,
        settings.frontend.max_frames,
        ready.classes,
        ready.seed,
        settings.network,
        settings.frontend.own_mean,
    )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    meta |= {
        "hardware": hardware(torch.get_num_threads(), device) | {"processes": ranks.count},
        "usual_seconds": ready.usual_seconds(),
        "parameters": sum(p.numel() for p in learner.network.parameters()),
        "audit": audit.to_dict(),
    }
    if ranks.main:
        write_json(out / "meta.json", meta)  # first: by it a start that failed is known
        write_text(out / "config.toml", to_toml(settings))
        samples = ready.pack.samples_of(ready.utterances)
        write_folds(ready.split, ready.utterances, samples, out / "folds.csv")
        if ready.start:
            write_text(out / "earlier.csv", ready.start.known.to_csv(index=False))
        else:  # one may be left of a run that was broken off before its first checkpoint
            (out / "earlier.csv").unlink(missing_ok=True)
        if not (out / CHECKPOINT).is_file():  # likewise
            (out / "history.csv").unlink(missing_ok=True)

    with ranks.main_first():
        store = FrameStore(ready.pack, learner.frontend, stage(progress, "spectrograms"))
    task, show = ready.task(meta["protocol"]), _row_words(progress, out.name)
    result = fit(
        learner, store, task, out,
        resume=resume, tensorboard=tensorboard, progress=show, pace=_pace_words(progress, out, task),
    )  # fmt: skip
    audit = ready.proved(audit, result)
    if job.strict:
        audit.refuse_leaks()
    outputs = {part: ranks.forward_utterances(learner, store, ready.part(part)) for part in PARTS}
    if ranks.main:
        _write_results(ready, learner, outputs, meta, audit, result)
    ranks.wait()
    return read_run(out)


def _write_results(
    ready: PreparedRun,
    learner: "Learner",
    outputs: "dict[str, Outputs]",
    meta: dict[str, Any],
    audit: Audit,
    result: "TrainingResult",
) -> None:
    """All that a run folder holds of a trained model; `scores.json` last, by which the run is finished."""
    out, settings = ready.job.out, ready.job.settings
    meta |= {"audit": audit.to_dict(), "steps": result.steps, "seconds": round(result.seconds, 1)}
    meta["precision"] = result.precision
    write_json(out / "meta.json", meta)
    scores = write_judgement(out, ready.utterances, ready.classes, ready.fold, outputs, meta["protocol"])
    scores |= {"selected_step": result.selected_step, "audit": audit.summary}
    about = {"emospec": emospec.__version__, "preset": settings.name, "protocol": meta["protocol"]}
    learner.cpu().save(out / "model", about)
    card = model_card(RunRecord(out, settings.model_dump(), meta, scores))
    write_text(out / "model" / CARD, card)
    (out / PACE).unlink(missing_ok=True)
    write_json(out / "scores.json", scores)


def _row_words(progress: RunProgress | None, name: str) -> "Callable[[HistoryRow, int], None]":
    """A training's rows, told to a progress."""

    def show(row: "HistoryRow", steps: int) -> None:
        if progress:
            progress(name, row.step, steps, "" if row.dev_ua is None else f"dev UA {100 * row.dev_ua:.1f}")

    return show


def _pace_words(
    progress: RunProgress | None, out: Path, task: "TrainingTask"
) -> Callable[[int, float], None] | None:
    """Estimate how long a training takes here; report it and note it in the run's folder once some steps were timed."""
    utterances, dev = len(task.train), len(task.dev)

    def show(step: int, seconds: float) -> None:
        steps, _ = task.training.plan(utterances)
        done, whole = (task.training.work(utterances, dev, at) for at in (step, steps))
        if progress:
            write_json(out / PACE, {"step": step, "seconds": seconds * done})
            time = f"about {roughly(seconds * (whole - done))} for {steps - step} steps"
            progress(out.name, step, steps, f"{time} at {seconds:.2g} s a step")

    return show if progress else None


def refuse_another(ready: PreparedRun) -> None:
    """RunError where the run's folder holds one of other settings, finished or begun: nothing of it is touched."""
    out, finished = ready.job.out, ready.job.is_finished
    meta = out / "meta.json"
    if not meta.is_file() or not (finished or (out / CHECKPOINT).is_file()):
        return
    try:
        known = json.loads(meta.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{meta} cannot be read ({error}). Train into another folder") from error
    if known != ready.fingerprint:
        how = "finished run" if finished else "checkpoint"
        go_on = "Resume with the settings of its config.toml, or name" if not finished else "Name"
        raise RunError(
            f"{out} holds a {how} of other settings, utterances or another version. {go_on} another folder"
        )


def _finished(job: RunSpec) -> RunRecord:
    """A run that is there already."""
    run = read_run(job.out)
    if job.strict:
        run.audit.refuse_leaks()
    return run


def stage(progress: RunProgress | None, name: str) -> Callable[[int, int], None] | None:
    """One named stage of a progress, for rooms that count and know no names."""
    return progress and (lambda done, all_: progress(name, done, all_, ""))


def refuse_existing(out: Path, resume: bool) -> None:
    """RunError where a folder holds something and nobody asked to go on with it, or something other than a run."""
    refuse_mixture(out, "a training", but_for="a run")
    if out.exists() and not resume and any(out.iterdir()) and not _is_failed_start(out):
        raise RunError(f"{out} exists and is not empty. Go on with it by --resume, or name another folder")


def _is_failed_start(out: Path) -> bool:
    """Whether a folder holds no more than a run that ended before its first checkpoint: nothing is lost with it."""
    names = {path.name for path in out.iterdir() if path.suffix != ".part"}
    return "meta.json" in names and names <= _STARTED and not (out / CHECKPOINT).is_file()


def refuse_mixture(out: Path, what: str, *, but_for: str = "") -> None:
    """RunError where the folder for something is already that of something else, or a file.

    Args:
        out: a folder, which need not be there.
        what: is to be written into it.
        but_for: what it may hold: a kind of `_KINDS`.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file: {what} needs a folder. Name another")
    for kind, signs in _KINDS.items():
        if kind != but_for and any(path for sign in signs for path in out.glob(sign)):
            raise RunError(f"{out} holds {kind}: {what} does not go into it. Name another folder")


def command_of(*words: object) -> str:
    """A command line of emospec, as a shell takes it."""
    return shlex.join(["emospec", *map(str, words)])


def setting_options(preset: str, overrides: Sequence[str], seed: int, steps: int = 0) -> list[str]:
    """The options of a command line that ask for these settings."""
    exactly = ["--steps", str(steps)] if steps else []
    return ["--preset", preset, *each("--set", overrides), *exactly, "--seed", str(seed)]


def each(option: str, values: Sequence[str]) -> list[str]:
    """An option for each value."""
    return [word for value in values for word in (option, value)]


def notable(settings: Settings, preset: str) -> tuple[str, ...]:
    """What differs from the preset, `table.key=value`, sorted, except what a setting's name tells."""
    told = ("loss.center_weight", "loss.center_rate", "data.protocol", "training.checkpoint_seconds")
    own, theirs = (flatten(each.model_dump()) for each in (settings, load_settings(preset)))
    changed = sorted((k, v) for k, v in own.items() if v != theirs[k] and k not in told)
    words = ((k, v if isinstance(v, str) else toml_value(v).replace(" ", "")) for k, v in changed)
    return tuple(f"{key}={value}" for key, value in words)


def _meta(ready: PreparedRun) -> dict[str, Any]:
    """What `meta.json` says: enough to know what was done, on what, and to repeat it."""
    job, pack, split, utterances = ready.job, ready.pack, ready.split, ready.utterances
    overlap = fold_overlap(ready.fold, utterances)
    return {
        "emospec": emospec.__version__,
        "preset": job.settings.name,
        "overrides": list(job.overrides),
        "command": job.command,
        "commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "seed": job.seed,
        "classes": list(ready.classes),
        "fingerprint": ready.fingerprint,
        "protocol": {
            "name": split.protocol,
            "words": split.words,
            "speaker_overlap": overlap.verdict,
            "overlap_words": overlap.words,
            "fold": job.fold,
            "folds": len(split.folds),
            "repeat": job.repeat,
            "hash": split.hash,
        },
        "pack": {"folder": str(pack.folder), "digest": pack.digest, "skipped": len(pack.skipped)},
        "corpora": [
            corpus_facts(name, utterances, pack.user_corpora.get(name))
            for name in sorted({u.corpus for u in utterances})
        ],
        "earlier_corpora": ready.start.learned_from if ready.start else [],
        "counts": {
            part: dict(Counter(utterances[i].emotion for i in ready.fold.part(part))) for part in PARTS
        },
    }
