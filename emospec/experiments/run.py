"""One run: one training on one fold of one repeat, in one folder readable without our code."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from emospec.config import load_settings
from emospec.data.audit import Audit
from emospec.data.splits import PARTS
from emospec.errors import RunError
from emospec.experiments.progress import RunProgress, TrainingReports, stage
from emospec.experiments.results import write_results, write_start
from emospec.experiments.spec import PreparedRun, RunSpec, changed_settings, doubt_of, prepare_run
from emospec.files import folder_lock, output_errors
from emospec.runs.folder import refuse_existing
from emospec.runs.provenance import hardware, records_call
from emospec.runs.record import RunRecord, read_run

if TYPE_CHECKING:
    from emospec.learning.distributed import Ranks

# A killed call's run may take so long to notice it, on a cluster within some steps.
_LEAVING_SECONDS = 60.0

_log = logging.getLogger(__name__)


@records_call
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
    command: str | None = None,
) -> RunRecord:
    """Train and evaluate one model: one fold of one repeat of a protocol.

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
        command: the words that the run folder records as its origin; by default this call.

    Raises:
        EmospecError: settings, pack, split or folder do not allow it; nothing is trained then.
        ProtocolError: `strict`, and the audit finds a leak, before the training or after it.

    >>> emospec.train("packs/emodb", "runs/emodb", fold=1).scores.test.ua  # doctest: +SKIP
    0.78
    """
    settings = load_settings(preset, overrides, steps)
    spec = RunSpec(
        pack=Path(pack),
        out=Path(out),
        settings=settings,
        fold=fold,
        repeat=repeat,
        seed=seed,
        threads=threads,
        command=command or "",
        changed_settings=changed_settings(settings, preset),
        strict=strict,
    )
    # Of several processes that train together, one warns.
    warn = _log.warning if os.environ.get("RANK", "0") == "0" else None
    return run_spec(spec, resume=resume, tensorboard=tensorboard, progress=progress, warn=warn)


def run_spec(
    spec: RunSpec,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    progress: RunProgress | None = None,
    warn: Callable[[str], None] | None = None,
) -> RunRecord:
    """Do one run, from its settings to its `scores.json`. `train` says what may go wrong."""
    refuse_existing(spec.out, resume)
    prepared = prepare_run(spec)
    prepared.refuse_another()
    if spec.files.is_finished:
        run = read_run(spec.out)
        if spec.strict:
            run.meta.audit.refuse_leaks()
        return run
    doubt = doubt_of(spec.settings, len(prepared.fold.train))
    if warn and doubt:
        warn(doubt)

    import torch

    from emospec.learning.device import reuse_freed_memory
    from emospec.learning.distributed import Ranks

    reuse_freed_memory()
    ranks = Ranks()
    # The first process writes into the folder once all have looked at it.
    ranks.wait()
    audit = prepared.audit()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(spec.threads or threads_before)
    try:
        with _folder_held(prepared, ranks, resume):
            progress = progress if ranks.main else None
            _train(prepared, audit, ranks, resume=resume, tensorboard=tensorboard, progress=progress)
    finally:
        torch.set_num_threads(threads_before)
    return read_run(spec.out)


@contextmanager
def _folder_held(prepared: PreparedRun, ranks: "Ranks", resume: bool) -> Iterator[None]:
    """Hold the run's folder, so that no other call writes into it."""
    # Of several processes the first one writes.
    if not ranks.main:
        yield
        return
    out = prepared.spec.out
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    held = RunError(f"{out}: another call trains it still. Wait for it, or name another folder")
    with folder_lock(out, held, _LEAVING_SECONDS):
        # Another call may have filled it while this one waited.
        refuse_existing(out, resume)
        prepared.refuse_another()
        yield


def _train(
    prepared: PreparedRun,
    audit: Audit,
    ranks: "Ranks",
    *,
    resume: bool,
    tensorboard: bool,
    progress: RunProgress | None,
) -> None:
    import torch

    from emospec.learning.device import training_device
    from emospec.learning.frame_store import FrameStore
    from emospec.learning.learner import Learner
    from emospec.learning.training import fit

    spec, settings = prepared.spec, prepared.spec.settings
    # The spectrogram, and steps 1 to 8 of the network.
    learner = Learner(
        settings.frontend.kind,
        settings.frontend.max_frames,
        prepared.classes,
        seed=prepared.seed,
        design=settings.network,
        own_mean=settings.frontend.own_mean,
    )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else training_device().type
    machine = hardware(torch.get_num_threads(), device, ranks.count)
    meta = prepared.meta(audit, machine, sum(p.numel() for p in learner.network.parameters()))
    if ranks.main:
        write_start(prepared, meta)
    # The first process computes the frames, the others then find them.
    with ranks.main_first():
        store = FrameStore(prepared.pack, learner.frontend, stage(progress, "spectrograms"))
    task = prepared.task()
    reports = TrainingReports(progress, spec.files, task) if progress else None
    result = fit(
        learner,
        store,
        task,
        spec.out,
        resume=resume,
        tensorboard=tensorboard,
        progress=reports.row if reports else None,
        pace=reports.pace if reports else None,
    )
    meta = meta.model_copy(update={"audit": prepared.audit_after(audit, result)})
    outputs = {part: ranks.forward_utterances(learner, store, prepared.part(part)) for part in PARTS}
    if ranks.main:
        write_results(prepared, meta, result, learner=learner, outputs=outputs)
    ranks.wait()
