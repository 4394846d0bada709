"""The verbs of use: a saved model on recordings. They need no torch, but for `export`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emospec.cli.predictions import Printer, counter
from emospec.errors import EmospecError, ModelError

if TYPE_CHECKING:
    from emospec.inference.recognizer import Failure, Prediction, Recognizer, Recording

app = typer.Typer()

STDIN = "-"
Recordings = Annotated[
    list[str], typer.Argument(metavar="FILE|FOLDER|-...", help="Recordings, folders of them, or - for stdin.")
]
ModelName = Annotated[
    str, typer.Option("--model", help="A model folder, a bundled model's name, or hf:OWNER/NAME@REVISION.")
]
Int8 = Annotated[bool, typer.Option("--int8", help="Compute the convolutions in 8 bits.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads; 0 takes all cores.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command(epilog="Example: emospec predict calls/ --model models/emodb --csv > emotions.csv")
def predict(
    recordings: Recordings,
    model: ModelName = "",
    abstain_below: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="No emotion where the confidence is lower.")
    ] = 0.0,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    int8: Int8 = False,
    threads: Threads = 0,
) -> None:
    """Tell the emotion of recordings. Exit code 1: some could not be judged; 2: none could."""
    recognizer, found = _open(model, int8, threads), _recordings(recordings)
    results = recognizer.predict_many(found, abstain_below=abstain_below)
    failures = 0
    with (
        Printer(recognizer.model.names, "json" if as_json else "csv" if as_csv else "table") as printer,
        counter("judged", len(found)) as step,
    ):
        for done, result in enumerate(map(_named, found, results), start=1):
            failures += printer.add(result)
            step(done)
    _exit(failures, len(found))


@app.command(epilog="Example: emospec embed calls/ --model models/emodb --out z.npz")
def embed(
    recordings: Recordings,
    out: Annotated[Path, typer.Option(help="NPZ file: z (n, 64) float32 and recording (n,) names.")],
    model: ModelName = "",
    int8: Int8 = False,
    threads: Threads = 0,
) -> None:
    """Write the feature z of recordings, to search or cluster them by. Exit codes as of `predict`."""
    import io

    import numpy as np

    from emospec.files import write_bytes

    recognizer, found = _open(model, int8, threads), _recordings(recordings)
    names, z, failures = [], [], 0
    with counter("embedded", len(found)) as step:
        for done, result in enumerate(map(_named, found, recognizer.predict_many(found)), start=1):
            if error := getattr(result, "error", None):
                print(f"emospec: {error}", file=sys.stderr)
                failures += 1
            else:
                names.append(result.recording)
                z.append(result.z)  # type: ignore[union-attr]
            step(done)
    if z:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, z=np.stack(z), recording=np.array(names))
        write_bytes(out, buffer.getvalue())
        print(f"{len(z)} recordings: {out}")
    _exit(failures, len(found))


@app.command(epilog="Example: emospec export runs/emodb/r0-f1 --out models/emodb")
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's folder.")],
    out: Annotated[Path, typer.Option(help="The model folder to make.")],
    int8: Annotated[
        Path | None,
        typer.Option(metavar="PACK", help="Write an int8 graph too; the run's own pack sets its ranges."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a model of a run: one folder that works anywhere, without torch."""
    with _needs_training():
        from emospec.release import export_model

        made = export_model(run, out, int8=int8)
    if as_json:
        from emospec.display import print_json

        print_json({"model": str(out), "classes": list(made.names), "sha256": made.about["sha256"]})
        return
    print(f"{', '.join(made.names)}: {out}")


def _open(model: str, int8: bool, threads: int) -> "Recognizer":
    from emospec.inference.model import bundled
    from emospec.inference.recognizer import Recognizer

    if not model and not bundled():
        raise ModelError("name a model: --model FOLDER, made by `emospec export RUN --out FOLDER`")
    return Recognizer(model or bundled()[0], int8=int8, threads=threads)


def _recordings(named: list[str]) -> "list[Recording]":
    """The files of folders, whatever is named, and standard input read whole."""
    from emospec.data.audio import find_recordings

    found: list[Recording] = []
    for name in named:
        if name == STDIN:
            found.append(sys.stdin.buffer.read())
        else:
            found += find_recordings(Path(name))
    return found


def _named(recording: "Recording", result: "Prediction | Failure") -> "Prediction | Failure":
    """What came from standard input is called so."""
    import dataclasses

    return dataclasses.replace(result, recording="stdin") if isinstance(recording, bytes) else result


def _exit(failures: int, judged: int) -> None:
    if failures:
        raise typer.Exit(2 if failures == judged else 1)


@contextmanager
def _needs_training() -> Iterator[None]:
    """Say how to get the training extra where it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "emospec":
            raise
        raise EmospecError(
            f"export needs an extra ({error.name} is not installed): pip install 'emospec[train]'"
        ) from error
