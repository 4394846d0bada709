"""The verbs of models: `export`, which needs the extra `train`, `serve`, which needs its own, and `models`."""

from pathlib import Path
from typing import Annotated

import typer

from emospec.cli.options import AsJson, Ffmpeg, Int8, ModelName, Threads, default_terms, finite, needs
from emospec.cli.streams import print_json
from emospec.errors import EmospecError

app = typer.Typer()


@app.command("export", epilog="Example: emospec export runs/one --out models/mine")
def _export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    out: Annotated[Path, typer.Option(help="The model folder to make.")],
    int8: Annotated[
        Path | None,
        typer.Option(metavar="PACK", help="Write an int8 graph too; the run's own pack sets its ranges."),
    ] = None,
    float16: Annotated[
        bool, typer.Option("--float16", help="Store the graphs' weights in 16 bits: about half the size.")
    ] = False,
    crossval: Annotated[
        Path | None,
        typer.Option(
            metavar="RUNS", help="A cross-validation of the same recipe; the card tells its scores."
        ),
    ] = None,
    notes: Annotated[Path | None, typer.Option(help="Markdown for the card's limits.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a model of a run: one folder that works anywhere, without torch."""
    with needs("train"):
        from emospec.export.model_folder import export_model

        text = _read_notes(notes) if notes else ""
        made = export_model(run, out, int8=int8, float16=float16, crossval=crossval, notes=text)
    if as_json:
        print_json({"model": str(out), "classes": list(made.names), "sha256": made.about["sha256"]})
        return
    print(f"{', '.join(made.names)}: {out}")
    if int8 is not None:
        deviation = made.about["int8_deviation"]
        print(f"int8: probabilities of training utterances move by at most {deviation:.3f}")
    if float16:
        deviation = made.about["float16_deviation"]
        print(f"float16: probabilities of noise move by at most {deviation:.1g}")


@app.command("serve", epilog="Example: EMOSPEC_TOKEN=... emospec serve --host 0.0.0.0")
def _serve(
    model: ModelName = "",
    host: Annotated[
        str, typer.Option(help="The address to bind; by default this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    ffmpeg: Ffmpeg = False,
    int8: Int8 = False,
    threads: Threads = 0,
    token: Annotated[
        str,
        typer.Option(
            envvar="EMOSPEC_TOKEN",
            help="What requests must bear; best by the environment.",
            show_default=False,
        ),
    ] = "",
    max_seconds: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="The longest recording.")
    ] = 3600.0,
    max_megabytes: Annotated[int, typer.Option(min=1, help="The largest request, in 10^6 bytes.")] = 100,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Another site whose pages may send requests; repeatable.")
    ] = None,
    root_path: Annotated[
        str,
        typer.Option(help="The path under which a proxy has the server, such as /emo.", show_default=False),
    ] = "",
) -> None:
    """Serve a model over HTTP, with a page for people at /."""
    with needs("serve"):
        from emospec.serving.limits import MEGABYTE, Limits
        from emospec.serving.server import run_server
    from emospec.inference.model import DEFAULT

    most = max_megabytes * MEGABYTE
    limits = Limits(bytes=most, seconds=max_seconds, held_bytes=4 * most)
    run_server(
        model or DEFAULT,
        host=host,
        port=port,
        int8=int8,
        threads=threads,
        token=token,
        origins=tuple(allow_origin or ()),
        root_path=root_path,
        limits=limits,
        ffmpeg=ffmpeg,
        notes=() if model else (default_terms(),),
    )


@app.command("models", epilog="Example: emospec models")
def _models(as_json: AsJson = False) -> None:
    """List the models that come with emospec: classes, what they learned from, licences, scores."""
    from emospec.cli.tables import print_models
    from emospec.inference.model import bundled, load_model

    print_models([load_model(name) for name in bundled()], as_json)


def _read_notes(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EmospecError(f"{file}: cannot be read as text ({error})") from error
