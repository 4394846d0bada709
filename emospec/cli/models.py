"""The verbs of models: `export`, which needs the extra `train`, `serve`, which needs its own, and `models`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from emospec.cli.options import AsJson, Ffmpeg, ModelOptions, default_terms, finite, needs
from emospec.cli.streams import print_json
from emospec.cli.verbs import Panel
from emospec.errors import EmospecError

model_verbs = Panel("Models")

_TOKEN = "What requests must bear; best by the environment."  # noqa: S105 - a help text


@model_verbs.verb("export", "emospec export runs/one --out models/mine")
def _export(
    run: Annotated[Path, Argument(metavar="RUN", help="A finished run's folder.")],
    out: Annotated[Path, Option(help="The model folder to make.")],
    int8: Annotated[
        Path | None,
        Option(metavar="PACK", help="Write an int8 graph too; the run's own pack sets its ranges."),
    ] = None,
    float16: Annotated[
        bool, Option("--float16", help="Store the graphs' weights in 16 bits: about half the size.")
    ] = False,
    crossval: Annotated[
        Path | None,
        Option(metavar="RUNS", help="A cross-validation of the same recipe; the card tells its scores."),
    ] = None,
    notes: Annotated[Path | None, Option(help="Markdown for the card's limits.")] = None,
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


@dataclass(frozen=True)
class _Server:
    host: str = Option("127.0.0.1", help="The address to bind; by default this machine alone.")
    port: int = Option(8000, min=0, max=65535, help="0 takes a free one.")
    # The environment keeps the token out of the list of processes.
    token: str = Option("", envvar="EMOSPEC_TOKEN", help=_TOKEN, show_default=False)
    max_seconds: float = Option(3600.0, min=0.1, callback=finite, help="The longest recording.")
    max_megabytes: int = Option(100, min=1, help="The largest request, in 10^6 bytes.")
    allow_origin: list[str] | None = Option(None, help="A site whose pages may send requests; repeatable.")
    root_path: str = Option("", help="The path a proxy serves it under, such as /emo.", show_default=False)


@model_verbs.verb("serve", "EMOSPEC_TOKEN=... emospec serve --host 0.0.0.0")
def _serve(model: ModelOptions, served: _Server, ffmpeg: Ffmpeg = False) -> None:
    """Serve a model over HTTP, with a page for people at /."""
    with needs("serve"):
        from emospec.serving.limits import MEGABYTE, Limits
        from emospec.serving.server import run_server
    from emospec.inference.model import DEFAULT

    most = served.max_megabytes * MEGABYTE
    run_server(
        model.model or DEFAULT,
        host=served.host,
        port=served.port,
        int8=model.int8,
        threads=model.threads,
        token=served.token,
        origins=tuple(served.allow_origin or ()),
        root_path=served.root_path,
        limits=Limits(bytes=most, seconds=served.max_seconds, held_bytes=4 * most),
        ffmpeg=ffmpeg,
        notes=() if model.model else (default_terms(),),
    )


@model_verbs.verb("models", "emospec models")
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
