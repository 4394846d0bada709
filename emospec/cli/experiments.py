"""The verbs of study: corpora, training, judging, reports. They need the training extra."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

import emospec
from emospec.cli.extras import needs
from emospec.errors import RunError

app = typer.Typer()
corpora_app = typer.Typer(invoke_without_command=True)
app.add_typer(
    corpora_app, name="corpora", help="List the corpora that emospec reads, or check a copy of one.",
    epilog="Example: emospec corpora check emodb ~/emodb",
)  # fmt: skip

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
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
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders that hold some.")]


@app.command(epilog="Example: emospec presets dai2019-mel > mine.toml")
def presets(
    preset: Annotated[str, typer.Argument(metavar="[PRESET]", help="One, explained key by key.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the presets, or write one out as TOML, all keys explained, to make one of your own."""
    from emospec.config import explain_preset, load_settings, preset_names

    if as_json:
        from emospec.cli.tables import print_json

        print_json(load_settings(preset).model_dump() if preset else preset_names())
        return
    print(explain_preset(preset) if preset else "\n".join(preset_names()), end="" if preset else "\n")


@app.command(epilog="Example: emospec demo --out demo")
def demo(
    out: Annotated[Path, typer.Option(help="A folder for all of it.")] = Path("demo"),
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Synthesise a corpus, train without and with centre loss, judge, and write a report."""
    from emospec.cli.tables import print_summaries, progress_bars

    with needs("train"), progress_bars(as_json) as progress:
        from emospec.experiments.plans import demo

        report = demo(out, seed=seed, progress=progress)
    print_summaries(emospec.evaluate(out), as_json, {"report": str(report)})


@corpora_app.callback()
def list_corpora(context: typer.Context, as_json: AsJson = False) -> None:
    """List the corpora that emospec reads."""
    from emospec.cli.tables import print_corpora, print_json

    if context.invoked_subcommand:
        return
    from emospec.data.corpora import CORPORA

    rows: list[dict[str, Any]] = [
        {
            "name": c.name,
            "title": c.title,
            "language": c.language,
            "utterances": c.expected,
            "speakers": len(c.speakers) if isinstance(c.speakers, dict) else c.speakers,
            "classes": c.classes,
            "protocol": c.protocol,
            "licence": c.licence,
            "source": c.source,
            "citation": c.citation,
            "layout": c.layout,
            "note": c.note,
        }
        for c in CORPORA.values()
    ]
    if as_json:
        print_json(rows)
        return
    print_corpora(rows)


@corpora_app.command(epilog="Example: emospec corpora check emodb ~/emodb")
def check(
    name: Annotated[
        str, typer.Argument(help="A corpus that `emospec corpora` lists, such as emodb, csv or folders.")
    ],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    as_json: AsJson = False,
) -> None:
    """Compare a copy of a corpus with what the whole corpus holds; exit 1 where it differs."""
    from emospec.cli.tables import print_check, print_json
    from emospec.data.corpora import check_corpus, corpus_remarks

    found = check_corpus(name, root)
    remarks = [remark for remark in corpus_remarks(name, root) if remark not in found.differences]
    if as_json:
        facts = (
            "corpus",
            "found",
            "expected",
            "others",
            "classes",
            "speakers",
            "sessions",
            "differences",
            "complete",
        )
        print_json({key: getattr(found, key) for key in facts} | {"remarks": remarks})
    else:
        print_check(found)
        print(*remarks, sep="\n", end="\n" * bool(remarks))
    if not found.complete:
        raise typer.Exit(1)


@app.command(epilog="Example: emospec prepare emodb=~/emodb ravdess=~/ravdess --pack packs/both")
def prepare(
    corpora: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=ROOT...",
            help="One corpus of `emospec corpora` or several, pooled; your own as csv=FILE or folders=ROOT, "
            "or under a name as csv:NAME=FILE.",
        ),
    ],
    pack: Annotated[Path, typer.Option(help="The folder to make.")],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out recordings that cannot be used, and record why.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a pack of other utterances.")
    ] = False,
    licences: Annotated[
        list[str],
        typer.Option(
            "--licence",
            metavar="[NAME=]TEXT",
            help="Terms of use of your own corpus, for runs and model cards; may be repeated.",
        ),
    ] = [],  # noqa: B006 - typer reads the default
    as_json: AsJson = False,
) -> None:
    """Decode corpora once into a memory-mapped pack; a valid one is left as it is.

    Your own recordings: csv=FILE (columns file, speaker, emotion) or folders=ROOT (CLASS/SPEAKER/); csv:NAME=FILE and
    folders:NAME=ROOT give them a name.
    """
    from emospec.cli.data import prepare_corpora, print_prepared
    from emospec.cli.tables import progress_bars

    with needs("train"), progress_bars(as_json) as progress:
        found = prepare_corpora(
            corpora, pack, progress, skip_bad=skip_bad, replace=replace, licences=licences
        )
    print_prepared(found, as_json)


@app.command(epilog="Example: emospec train packs/emodb --out runs/one --set loss.center_weight=0")
def train(
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
    """Train and judge one model, on one fold."""
    from emospec.cli.tables import print_summaries, progress_bars

    with needs("train"), progress_bars(as_json) as progress:
        emospec.train(
            pack, out, preset, overrides, fold=fold, repeat=repeat, steps=steps, seed=seed, threads=threads,
            resume=resume, strict=strict, tensorboard=tensorboard, progress=progress,
        )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":  # of several processes that train together, one tells
        print_summaries(emospec.evaluate(out), as_json, {"run": str(out)})


@app.command(
    epilog="Example: emospec crossval packs/emodb --out runs/emodb-dai --set data.protocol=dai2019 --repeats 3"
)
def crossval(
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
    """Train and judge one setting on all folds of its split, side by side."""
    from emospec.cli.tables import print_summaries, progress_bars

    with needs("train"), progress_bars(as_json) as progress:
        emospec.crossval(
            pack,
            out,
            preset,
            overrides,
            repeats=repeats,
            steps=steps,
            seed=seed,
            jobs=jobs,
            cluster=cluster,
            resume=resume,
            strict=strict,
            progress=progress,
        )
    print_summaries(emospec.evaluate(out), as_json, {"runs": str(out)})


@app.command(
    epilog="Example: emospec sweep packs/emodb --out runs/rate --key training.learning_rate --values 1e-4,3e-4,1e-3"
)
def sweep(
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
    """Train and judge a preset at several values of one key."""
    from emospec.cli.tables import print_summaries, progress_bars

    with needs("train"), progress_bars(as_json) as progress:
        from emospec.experiments.plans import sweep, sweep_values

        sweep(
            pack, out, key, sweep_values(values), preset, overrides, folds=folds, repeats=repeats, steps=steps, seed=seed,
            jobs=jobs, cluster=cluster, resume=resume, strict=strict, progress=progress,
        )  # fmt: skip
    print_summaries(emospec.evaluate(out), as_json, {"runs": str(out)})


@app.command(
    epilog="Example: emospec reproduce packs/iemocap --corpus iemocap=~/IEMOCAP --out runs/paper "
    "--set data.protocol=dai2019 --repeats 5"
)
def reproduce(
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
    from emospec.cli.data import prepare_corpora, print_prepared
    from emospec.cli.tables import print_summaries, progress_bars

    summaries: dict[str, str] = {}
    with needs("train"), progress_bars(as_json) as progress:
        from emospec.experiments.plans import reproduce

        if corpora:
            prepared = prepare_corpora(corpora, pack, progress)
            summaries = prepared.summaries
            if not as_json:
                print_prepared(prepared, as_json)
        report = reproduce(
            pack, out, parts, overrides, folds=folds, repeats=repeats, steps=steps, seed=seed,
            jobs=jobs, cluster=cluster, resume=resume, strict=strict, progress=progress,
        )  # fmt: skip
    print_summaries(emospec.evaluate(out), as_json, {"report": str(report)}, corpora=summaries)


@app.command(epilog="Example: emospec evaluate runs/one --on packs/ravdess")
def evaluate(
    runs: Runs,
    on: Annotated[
        Path | None,
        typer.Option(metavar="PACK", help="Judge on another pack: all that is new to the model."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --on: write the predictions there, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sum up the test scores of runs, or let one run's model judge another pack."""
    from emospec.cli.tables import print_json, print_scores, print_summaries

    with needs("train"):
        if on is None:
            if out is not None:
                raise RunError("--out is for the predictions on another pack: name it by --on PACK")
            print_summaries(emospec.evaluate(*runs), as_json, {})
            return
        from emospec.experiments.scoring import judge, score_new
        from emospec.runs.record import read_run

        if len(runs) != 1:
            raise RunError(
                f"--on judges with one run's model, found {len(runs)} folders. Name one run folder"
            )
        run = read_run(runs[0])
        scores = score_new(run, judge(run, on, out), on)
    if as_json:
        print_json(scores)
        return
    print_scores(scores)


@app.command(epilog="Example: emospec compare runs/center runs/plain")
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Runs of one setting.")],
    second: Annotated[
        Path, typer.Argument(metavar="RUN", help="Runs of another, on the same folds and seeds.")
    ],
    as_json: AsJson = False,
) -> None:
    """Compare two settings in pairs: the difference, its interval by speaker, and a permutation test."""
    from emospec.cli.tables import print_comparison

    with needs("train"):
        from emospec.evaluation.comparison import compare

        print_comparison(compare(first, second), as_json)


@app.command(epilog="Example: emospec report runs/emodb-plain runs/emodb-center --out report")
def report(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="The folder for report.html and its pictures.")],
    title: Annotated[str | None, typer.Option(help="The report's title.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML report on runs, with its pictures as PNG and SVG."""
    from emospec.cli.tables import print_json

    with needs("train"):
        from emospec.report.page import write_report
        from emospec.runs.record import find_runs

        found = find_runs(runs)
        path = write_report(found, out, title)
    if as_json:
        print_json({"report": str(path), "runs": len(found)})
        return
    print(f"Report on {len(found)} run{'s' * (len(found) != 1)}: {path.resolve()}")
