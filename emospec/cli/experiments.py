"""The verbs of experiments: `presets`, `demo`, `train`, `crossval`, `sweep`, `reproduce`. They need the extra `train`."""

import os
from pathlib import Path
from typing import Annotated

import typer

import emospec
from emospec.cli.data import prepare_corpora, print_prepared
from emospec.cli.options import AsJson, command_line, needs
from emospec.cli.progress import run_progress
from emospec.cli.streams import print_json

app = typer.Typer()

Preset = Annotated[
    str, typer.Option(help="best, dai2019-mel, dai2019-stft or demo (see `emospec presets`), or a TOML file.")
]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one setting; may be repeated.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seeds the split, the initial weights and the batches.")]
Folds = Annotated[int, typer.Option(min=0, help="Only the first so many folds; 0 is all.")]
Repeats = Annotated[int, typer.Option(min=1, help="How often the split is drawn anew.")]
Steps = Annotated[
    int,
    typer.Option(
        min=0,
        help="Train exactly so many steps, as for a short trial; 0 leaves it to the preset and the corpus.",
    ),
]
Jobs = Annotated[int, typer.Option(min=0, help="Runs side by side; 0 is one per core, or one with a GPU.")]
Cluster = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Do the runs on a Dask cluster; its scheduler's address.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is there.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a fold in which the audit finds a leak.")]
PackFolder = Annotated[Path, typer.Argument(metavar="PACK", help="A folder that `emospec prepare` made.")]


@app.command("presets", epilog="Example: emospec presets dai2019-mel > mine.toml")
def _presets(
    preset: Annotated[str, typer.Argument(metavar="[PRESET]", help="One, explained key by key.")] = "",
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


@app.command("demo", epilog="Example: emospec demo --out demo")
def _demo(
    out: Annotated[Path, typer.Option(help="A folder for all of it.")] = Path("demo"),
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Synthesise a corpus, train without and with centre loss, evaluate, and write a report."""
    from emospec.cli.tables import print_summaries

    with needs("train"), run_progress(as_json) as progress:
        from emospec.experiments.plans import demo

        report = demo(out, seed=seed, progress=progress, command=command_line())
    print_summaries(emospec.evaluate(out), as_json, {"report": str(report)})


@app.command("train", epilog="Example: emospec train packs/emodb --out runs/one --set loss.center_weight=0")
def _train(
    pack: PackFolder,
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    preset: Preset = "dai2019-mel",
    overrides: Overrides = [],  # noqa: B006 - typer reads the default
    fold: Annotated[int, typer.Option(min=1, help="Which fold of the split.")] = 1,
    repeat: Annotated[int, typer.Option(min=0, help="Which repeat of a split that draws.")] = 0,
    steps: Steps = 0,
    seed: Seed = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes all cores.")] = 0,
    resume: Resume = False,
    strict: Strict = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to OUT/tensorboard too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate one model, on one fold."""
    from emospec.cli.tables import print_summaries

    with needs("train"), run_progress(as_json) as progress:
        emospec.train(
            pack, out, preset, overrides, fold=fold, repeat=repeat, steps=steps, seed=seed, threads=threads,
            resume=resume, strict=strict, tensorboard=tensorboard, progress=progress, command=command_line(),
        )  # fmt: skip
    # Of several processes that train together, the first one prints.
    if os.environ.get("RANK", "0") == "0":
        print_summaries(emospec.evaluate(out), as_json, {"run": str(out)})


@app.command(
    "crossval",
    epilog="Example: emospec crossval packs/emodb --out runs/emodb-dai --set data.protocol=dai2019 --repeats 3",
)
def _crossval(
    pack: PackFolder,
    out: Annotated[Path, typer.Option(help="The folder that holds the run folders.")],
    preset: Preset = "dai2019-mel",
    overrides: Overrides = [],  # noqa: B006 - typer reads the default
    repeats: Repeats = 1,
    steps: Steps = 0,
    seed: Seed = 0,
    jobs: Jobs = 0,
    cluster: Cluster = "",
    resume: Resume = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate one setting on all folds of its split, side by side."""
    from emospec.cli.tables import print_summaries

    with needs("train"), run_progress(as_json) as progress:
        emospec.crossval(
            pack, out, preset, overrides, repeats=repeats, steps=steps, seed=seed, jobs=jobs,
            cluster=cluster, resume=resume, strict=strict, progress=progress, command=command_line(),
        )  # fmt: skip
    print_summaries(emospec.evaluate(out), as_json, {"runs": str(out)})


@app.command(
    "sweep",
    epilog="Example: emospec sweep packs/emodb --out runs/rate --key training.learning_rate --values 1e-4,3e-4,1e-3",
)
def _sweep(
    pack: PackFolder,
    out: Annotated[Path, typer.Option(help="The folder that holds the run folders.")],
    key: Annotated[str, typer.Option(help="Any key of a preset; `emospec presets dai2019-mel` lists them.")],
    values: Annotated[str, typer.Option(help="Its values, with commas between, or a range START:STOP:STEP.")],
    preset: Preset = "dai2019-mel",
    overrides: Overrides = [],  # noqa: B006 - typer reads the default
    folds: Folds = 0,
    repeats: Repeats = 1,
    steps: Steps = 0,
    seed: Seed = 0,
    jobs: Jobs = 0,
    cluster: Cluster = "",
    resume: Resume = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate a preset at several values of one key."""
    from emospec.cli.tables import print_summaries

    with needs("train"), run_progress(as_json) as progress:
        from emospec.experiments.plans import sweep, sweep_values

        sweep(
            pack, out, key, sweep_values(values), preset, overrides, folds=folds, repeats=repeats, steps=steps, seed=seed,
            jobs=jobs, cluster=cluster, resume=resume, strict=strict, progress=progress, command=command_line(),
        )  # fmt: skip
    print_summaries(emospec.evaluate(out), as_json, {"runs": str(out)})


@app.command(
    "reproduce",
    epilog="Example: emospec reproduce packs/iemocap --corpus iemocap=~/IEMOCAP --out runs/paper "
    "--set data.protocol=dai2019 --repeats 5",
)
def _reproduce(
    pack: PackFolder,
    out: Annotated[Path, typer.Option(help="The folder that holds the run folders and the report.")],
    parts: Annotated[
        list[str], typer.Option("--part", help="mel, stft, lambda or alpha; may be repeated; all by default.")
    ] = ["mel", "stft", "lambda", "alpha"],  # noqa: B006 - typer reads the default
    corpora: Annotated[
        list[str],
        typer.Option(
            "--corpus", metavar="NAME=ROOT", help="Make PACK of it first; may be repeated, to pool."
        ),
    ] = [],  # noqa: B006 - typer reads the default
    overrides: Overrides = [],  # noqa: B006 - typer reads the default
    folds: Folds = 0,
    repeats: Repeats = 1,
    steps: Steps = 0,
    seed: Seed = 0,
    jobs: Jobs = 0,
    cluster: Cluster = "",
    resume: Resume = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Run the paper's experiment: its four settings, its sweeps of lambda and alpha, and a report."""
    from emospec.cli.tables import print_summaries

    summaries: dict[str, str] = {}
    with needs("train"), run_progress(as_json) as progress:
        from emospec.experiments.plans import reproduce

        if corpora:
            prepared = prepare_corpora(corpora, pack, progress)
            summaries = prepared.summaries
            if not as_json:
                print_prepared(prepared)
        report = reproduce(
            pack, out, parts, overrides, folds=folds, repeats=repeats, steps=steps, seed=seed,
            jobs=jobs, cluster=cluster, resume=resume, strict=strict, progress=progress, command=command_line(),
        )  # fmt: skip
    print_summaries(emospec.evaluate(out), as_json, {"report": str(report)}, corpora=summaries)
