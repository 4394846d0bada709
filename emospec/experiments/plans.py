"""The experiments of the command line: cross-validation, a sweep of one key, the paper's settings, and the demo.

Settings x folds x repeats make the runs to do. What does not go together is refused before anything is trained.
"""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TypedDict, Unpack

from emospec.config import NO_RESULT, Settings, load_settings
from emospec.data.corpora import demo as demo_corpus
from emospec.data.corpora import read_corpus
from emospec.data.pack import prepare
from emospec.errors import ConfigError, TrainingError, WorkersError, did_you_mean
from emospec.experiments.parallel import run_specs
from emospec.experiments.progress import RunProgress, stage
from emospec.experiments.spec import RunSpec, changed_settings, doubt_of, open_pack, split_of
from emospec.report.page import write_report
from emospec.runs.folder import refuse_mixture
from emospec.runs.provenance import records_call
from emospec.runs.record import RATE, WEIGHT, RunRecord, read_run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arm:
    """One setting of an experiment: the folder of its runs, a preset, and overrides."""

    folder: str
    preset: str
    overrides: tuple[str, ...]


def _paper_arm(preset: str, center_weight: float, center_rate: float = 0.5) -> Arm:
    overrides = (f"{WEIGHT}={center_weight:g}", f"{RATE}={center_rate:g}")
    return Arm(f"{preset}-lambda-{center_weight:g}-alpha-{center_rate:g}", preset, overrides)


# Settings 1 and 2, settings 3 and 4, and the sweeps of lambda (Eq. 4) and alpha (Eq. 5).
PAPER: dict[str, list[Arm]] = {
    "mel": [_paper_arm("dai2019-mel", center_weight) for center_weight in (0, 0.3)],
    "stft": [_paper_arm("dai2019-stft", center_weight) for center_weight in (0, 0.3)],
    "lambda": [_paper_arm("dai2019-mel", center_weight) for center_weight in (0, 0.003, 0.03, 0.3, 3)],
    "alpha": [_paper_arm("dai2019-mel", 0.3, center_rate) for center_rate in (0.1, 0.3, 0.5, 0.7, 0.9)],
}


class PlanOptions(TypedDict, total=False):
    """The options of `plan`."""

    folds: int
    repeats: int
    steps: int
    seed: int
    strict: bool
    command: str | None


class RunOptions(PlanOptions, total=False):
    """The options of `sweep` and `reproduce`: those of `crossval`, and `folds`, only the first so many; 0 means all."""

    jobs: int
    cluster: str
    resume: bool
    progress: RunProgress | None


def plan(
    arms: Sequence[Arm],
    pack: Path | str,
    out: Path | str,
    *,
    folds: int = 0,
    repeats: int = 1,
    steps: int = 0,
    seed: int = 0,
    strict: bool = False,
    command: str | None = None,
) -> list[RunSpec]:
    """Return the runs of some settings, with the options of `crossval` and `RunOptions`; log doubts as warnings."""
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}: choose 1 or more")
    out = Path(out)
    refuse_mixture(out, "a folder of runs", but_for="runs")
    settings = [load_settings(arm.preset, arm.overrides, steps) for arm in arms]
    _refuse_equal(arms, settings)
    specs = []
    for arm, setting in zip(arms, settings, strict=True):
        changes = changed_settings(setting, arm.preset)
        common = RunSpec(Path(pack), out / arm.folder, setting, seed=seed, strict=strict)
        common = replace(common, command=command or "", changed_settings=changes)
        opened, utterances, _ = open_pack(common.pack, setting)
        doubts = []
        for repeat in range(repeats):
            split = split_of(utterances, setting, repeat, seed, own=opened.user_corpora)
            for number, fold in enumerate(split.folds[: folds or None], start=1):
                # The steps of each fold are planned before any is trained.
                doubts.append(doubt_of(setting, len(fold.train)))
                folder = common.out / f"r{repeat}-f{number}"
                specs.append(replace(common, out=folder, fold=number, repeat=repeat))
        # The doubts of further folds would be the same again.
        if doubts[0]:
            _log.warning("%s: %s", common.out, doubts[0])
    # Fold by fold: what is done at any time can be compared.
    return sorted(specs, key=lambda spec: (spec.repeat, spec.fold))


def _refuse_equal(arms: Sequence[Arm], settings: Sequence[Settings]) -> None:
    seen: dict[str, Arm] = {}
    for arm, setting in zip(arms, settings, strict=True):
        # Without centre loss, two alphas are one setting.
        idle = set() if setting.loss.center_weight else {"center_rate"}
        exclude = NO_RESULT | {"loss": idle}
        other = seen.setdefault(setting.model_dump_json(exclude=exclude), arm)
        if other is not arm:
            raise ConfigError(f"{other.folder} and {arm.folder} are one and the same setting. Leave one out")


def _run_arms(
    arms: Sequence[Arm],
    pack: Path | str,
    out: Path | str,
    *,
    jobs: int = 0,
    cluster: str = "",
    resume: bool = False,
    progress: RunProgress | None = None,
    report: Path | None = None,
    **options: Unpack[PlanOptions],
) -> list[RunRecord]:
    specs = plan(arms, pack, out, **options)
    try:
        return run_specs(specs, jobs=jobs, cluster=cluster, resume=resume, progress=progress)
    except (TrainingError, WorkersError):
        # What has finished is worth a report: a night's work may be in it.
        finished = [read_run(spec.out) for spec in specs if report and spec.files.is_finished]
        if report and finished:
            write_report(finished, report)
        raise


@records_call
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
    command: str | None = None,
) -> list[RunRecord]:
    """Train and evaluate one setting on all folds of all repeats of its protocol.

    Args:
        pack: a folder that `prepare` made.
        out: holds the run folders, `r0-f1`, `r0-f2` and so on.
        preset: a preset's name or TOML file.
        overrides: `table.key=value` each.
        repeats: how often the protocol is drawn anew.
        steps: train exactly so many in each run, whatever the preset says; 0 leaves it to the preset.
        seed: seeds the splits, the initial weights and the batches.
        jobs: runs side by side; 0 means one per core, or one where there is a GPU. Fewer runs share the cores.
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
    specs = plan([arm], pack, out, repeats=repeats, steps=steps, seed=seed, strict=strict, command=command)
    return run_specs(specs, jobs=jobs, cluster=cluster, resume=resume, progress=progress)


@records_call
def sweep(
    pack: Path | str,
    out: Path | str,
    key: str,
    values: Sequence[str],
    preset: str = "dai2019-mel",
    overrides: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> list[RunRecord]:
    """Train and evaluate a preset at several values of one key; all folds of all repeats of each.

    Args:
        key: any key of a preset, such as `loss.center_weight`.
        values: its values, as in TOML; see `sweep_values`.

    The other arguments and errors are those of `crossval`. Run folders are `out/KEY=VALUE/r0-f1` ...
    """
    arms = [Arm(f"{key}={value}", preset, (*overrides, f"{key}={value}")) for value in values]
    return _run_arms(arms, pack, out, **options)


def sweep_values(text: str) -> list[str]:
    """The values of a sweep: a list with commas, of which each may be a range START:STOP:STEP of numbers.

    Raises:
        ConfigError: a range or a value is empty, or a value stands twice.

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
    numbers = [_number_or_words(value) for value in values]
    if "" in numbers or len(set(numbers)) < len(numbers):
        raise ConfigError(f"the values {text!r} hold an empty one or one twice. Name each once")
    return values


def _number_or_words(text: str) -> Decimal | str:
    try:
        return Decimal(text)
    except ArithmeticError:
        return text


@records_call
def reproduce(
    pack: Path | str,
    out: Path | str,
    parts: Sequence[str] = tuple(PAPER),
    overrides: Sequence[str] = (),
    **options: Unpack[RunOptions],
) -> Path:
    """Repeat the paper's experiment, settings 1 to 4 and both sweeps; return the report, in `out/report`.

    A setting that stands in several parts is trained once. Failed runs are left out of the report.

    Args:
        parts: of `PAPER`.
        overrides: for every setting, such as `data.protocol=dai2019`, the paper's own.

    The other arguments and errors are those of `crossval`.
    """
    if unknown := [part for part in parts if part not in PAPER]:
        meant = did_you_mean(unknown[0], tuple(PAPER)) or "."
        raise ConfigError(f"part {unknown[0]!r} is not known{meant} Known: {', '.join(PAPER)}")
    keys = {override.partition("=")[0].strip() for override in overrides}
    if fixed := sorted(keys & {WEIGHT, RATE}):
        to_do = "Vary it otherwise with `emospec sweep`"
        raise ConfigError(f"{fixed[0]} is what the paper's experiment varies. {to_do}")
    # The baseline and the paper's own choice stand in several parts.
    arms = dict.fromkeys(arm for part in parts for arm in PAPER[part])
    chosen = [replace(arm, overrides=(*arm.overrides, *overrides)) for arm in arms]
    report = Path(out) / "report"
    return write_report(_run_arms(chosen, pack, out, report=report, **options), report)


@records_call
def demo(
    out: Path | str, *, seed: int = 0, progress: RunProgress | None = None, command: str | None = None
) -> Path:
    """Go the whole way on a synthesised corpus: recordings, pack, two trainings; return the report, an HTML file.

    Args:
        out: a folder, made here; a finished demo in it is shown again.
        seed: seeds the corpus, the split and the trainings.
        progress: see `RunProgress`.
    """
    out = Path(out)
    refuse_mixture(out, "a demo")
    demo_corpus.synthesise(out / "corpus", seed, progress=stage(progress, "synthesise"))
    pack, _ = prepare(read_corpus("demo", out / "corpus"), out / "pack", progress=stage(progress, "prepare"))
    specs = [
        RunSpec(pack.folder, out / name, load_settings("demo", overrides), seed=seed, command=command or "")
        for name, overrides in (("without-centre-loss", ["loss.center_weight=0"]), ("with-centre-loss", []))
    ]
    runs = run_specs(specs, resume=True, progress=progress)
    return write_report(runs, out / "report", "emospec demo: what centre loss does")
