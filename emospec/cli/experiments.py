"""The verbs of experiments: `presets`, `demo`, `train`, `crossval`, `sweep`, `reproduce`. They need the extra `train`."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

import emospec
from emospec.cli.data import prepare_corpora, print_prepared
from emospec.cli.options import AsJson, needs
from emospec.cli.progress import run_progress
from emospec.cli.streams import print_json
from emospec.cli.verbs import Panel

experiment_verbs = Panel("Training")

_Preset = Annotated[
    str, Option(help="best, dai2019-mel, dai2019-stft or demo (see `emospec presets`), or a TOML file.")
]
_Seed = Annotated[int, Option(min=0, help="Seeds the split, the initial weights and the batches.")]
_PackFolder = Annotated[Path, Argument(metavar="PACK", help="A folder that `emospec prepare` made.")]
_RunsFolder = Annotated[Path, Option(help="The folder that holds the run folders.")]


@dataclass(frozen=True)
class _Training:
    overrides: list[str] = Option([], "--set", metavar="TABLE.KEY=VALUE", help="Change settings; repeatable.")
    steps: int = Option(
        0,
        min=0,
        help="Train exactly so many steps, as for a short trial; 0 leaves it to the preset and the corpus.",
    )
    seed: _Seed = 0
    resume: bool = Option(False, "--resume", help="Go on with what is there.")
    strict: bool = Option(False, "--strict", help="Refuse a fold in which the audit finds a leak.")


@dataclass(frozen=True)
class _SingleRun:
    fold: int = Option(1, min=1, help="Which fold of the split.")
    repeat: int = Option(0, min=0, help="Which repeat of a split that draws.")
    threads: int = Option(0, min=0, help="Threads; 0 takes all cores.")
    tensorboard: bool = Option(False, "--tensorboard", help="Log to OUT/tensorboard too.")


@dataclass(frozen=True)
class _Repeats:
    repeats: int = Option(1, min=1, help="How often the split is drawn anew.")
    jobs: int = Option(0, min=0, help="Runs side by side; 0 is one per core, or one with a GPU.")
    cluster: str = Option("", metavar="ADDRESS", help="Run on a Dask cluster; its scheduler's address.")


@dataclass(frozen=True)
class _Folds(_Repeats):
    folds: int = Option(0, min=0, help="Only the first so many folds; 0 is all.")


@contextmanager
def _reporting(as_json: bool) -> Iterator[dict[str, Any]]:
    # The extra `train` may be missing: then the verb's imports, inside, say so.
    with needs("train"), run_progress(as_json) as progress:
        # The command line as it was given, for the record of a run.
        yield {"progress": progress, "command": shlex.join(["emospec", *sys.argv[1:]])}


def _print_results(folder: Path, as_json: bool, places: dict[str, str], **more: dict[str, str]) -> None:
    from emospec.cli.tables import print_summaries

    print_summaries(emospec.evaluate(folder), as_json, places, **more)


@experiment_verbs.verb("presets", "emospec presets dai2019-mel > mine.toml")
def _presets(
    preset: Annotated[str, Argument(metavar="[PRESET]", help="One, explained key by key.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the presets, or write one out as TOML, all keys explained, to make one of your own."""
    from emospec.config import explain_preset, load_settings, preset_names

    if as_json:
        print_json(load_settings(preset).model_dump() if preset else preset_names())
    elif preset:
        print(explain_preset(preset), end="")
    else:
        print("\n".join(preset_names()))


@experiment_verbs.verb("demo", "emospec demo --out demo")
def _demo(
    out: Annotated[Path, Option(help="A folder for all of it.")] = Path("demo"),
    seed: _Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Synthesise a corpus, train without and with centre loss, evaluate, and write a report."""
    with _reporting(as_json) as reporting:
        from emospec.experiments.plans import demo

        report = demo(out, seed=seed, **reporting)
    _print_results(out, as_json, {"report": str(report)})


@experiment_verbs.verb("train", "emospec train packs/emodb --out runs/one --set loss.center_weight=0")
def _train(
    pack: _PackFolder,
    out: Annotated[Path, Option(help="The run folder to make.")],
    training: _Training,
    single: _SingleRun,
    preset: _Preset = "dai2019-mel",
    as_json: AsJson = False,
) -> None:
    """Train and evaluate one model, on one fold."""
    with _reporting(as_json) as reporting:
        emospec.train(pack, out, preset, **vars(training), **vars(single), **reporting)
    # Of several processes that train together, the first one prints.
    if os.environ.get("RANK", "0") == "0":
        _print_results(out, as_json, {"run": str(out)})


@experiment_verbs.verb(
    "crossval", "emospec crossval packs/emodb --out runs/emodb-dai --set data.protocol=dai2019 --repeats 3"
)
def _crossval(
    pack: _PackFolder,
    out: _RunsFolder,
    training: _Training,
    repeats: _Repeats,
    preset: _Preset = "dai2019-mel",
    as_json: AsJson = False,
) -> None:
    """Train and evaluate one setting on all folds of its split, side by side."""
    with _reporting(as_json) as reporting:
        emospec.crossval(pack, out, preset, **vars(training), **vars(repeats), **reporting)
    _print_results(out, as_json, {"runs": str(out)})


@experiment_verbs.verb(
    "sweep", "emospec sweep packs/emodb --out runs/rate --key training.learning_rate --values 1e-4,3e-4,1e-3"
)
def _sweep(
    pack: _PackFolder,
    out: _RunsFolder,
    key: Annotated[str, Option(help="Any key of a preset; `emospec presets dai2019-mel` lists them.")],
    values: Annotated[str, Option(help="Its values, with commas between, or a range START:STOP:STEP.")],
    training: _Training,
    folds: _Folds,
    preset: _Preset = "dai2019-mel",
    as_json: AsJson = False,
) -> None:
    """Train and evaluate a preset at several values of one key."""
    with _reporting(as_json) as reporting:
        from emospec.experiments.plans import sweep, sweep_values

        options = vars(training) | vars(folds) | reporting
        sweep(pack, out, key, sweep_values(values), preset=preset, **options)
    _print_results(out, as_json, {"runs": str(out)})


@experiment_verbs.verb(
    "reproduce",
    "emospec reproduce packs/iemocap --corpus iemocap=~/IEMOCAP --out runs/paper "
    "--set data.protocol=dai2019 --repeats 5",
)
def _reproduce(
    pack: _PackFolder,
    out: Annotated[Path, Option(help="The folder that holds the run folders and the report.")],
    training: _Training,
    folds: _Folds,
    parts: Annotated[
        list[str], Option("--part", help="mel, stft, lambda or alpha; repeatable; all by default.")
    ] = ["mel", "stft", "lambda", "alpha"],  # noqa: B006 - typer reads the default
    corpora: Annotated[
        list[str], Option("--corpus", metavar="NAME=ROOT", help="Make PACK of it first; repeatable, to pool.")
    ] = [],  # noqa: B006 - typer reads the default
    as_json: AsJson = False,
) -> None:
    """Run the paper's experiment: its four settings, its sweeps of lambda and alpha, and a report."""
    summaries: dict[str, str] = {}
    with _reporting(as_json) as reporting:
        from emospec.experiments.plans import reproduce

        if corpora:
            prepared = prepare_corpora(corpora, pack, reporting["progress"])
            summaries = prepared.summaries
            if not as_json:
                print_prepared(prepared)
        report = reproduce(pack, out, parts, **vars(training), **vars(folds), **reporting)
    _print_results(out, as_json, {"report": str(report)}, corpora=summaries)
