"""The verbs of inference: `predict`, `timeline`, `listen`, `embed` and `score`. They need no torch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from emospec.cli.options import (
    AbstainBelow,
    AsJson,
    Channel,
    Ffmpeg,
    Hop,
    Int8,
    Minimum,
    ModelName,
    NoSpeechCheck,
    Smoothing,
    Threads,
    Window,
    finite,
    model_or_default,
    needs,
)
from emospec.cli.predictions import Printer, print_moment, report_failure
from emospec.cli.progress import counter
from emospec.cli.stopping import stopped
from emospec.cli.streams import print_json
from emospec.cli.targets import STDIN, check_files, check_timeline_files, plan_outputs
from emospec.errors import EmospecError

if TYPE_CHECKING:
    from emospec.inference.recognizer import Failure, Prediction, Recognizer
    from emospec.inference.recordings import Recording

app = typer.Typer()

_Result = TypeVar("_Result", bound="Prediction | Failure")

_Recordings = Annotated[
    list[str], typer.Argument(metavar="FILE|FOLDER|-...", help="Recordings, folders of them, or - for stdin.")
]


@app.command("predict", epilog="Example: emospec predict calls/ --csv > emotions.csv")
def _predict(
    recordings: _Recordings,
    model: ModelName = "",
    abstain_below: AbstainBelow = 0.0,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    channel: Channel = None,
    ffmpeg: Ffmpeg = False,
    int8: Int8 = False,
    threads: Threads = 0,
) -> None:
    """Predict the emotion of recordings. Exit code 1: some were left out or could not be used; 2: none could."""
    if as_json and as_csv:
        raise EmospecError("--json and --csv exclude each other. Name one")
    recognizer, inputs = _recognizer(model, int8, threads, ffmpeg), _inputs(recordings, ffmpeg)
    missed = 0 if ffmpeg else _report_left_out(recordings)
    results = recognizer.predict_many(inputs, abstain_below=abstain_below, channel=channel)
    failures = done = 0
    try:
        with (
            Printer(recognizer.model.names, "json" if as_json else "csv" if as_csv else "table") as printer,
            counter("predicted", len(inputs)) as step,
        ):
            for done, result in enumerate(map(_with_name, inputs, results), start=1):
                failures += printer.add(result)
                step(done)
    except KeyboardInterrupt:
        stopped(f"{done} of {len(inputs)} recordings were predicted; those are printed")
    _exit(failures, len(inputs), missed)


@app.command("timeline", epilog="Example: emospec timeline interview.mp3 --out interview.TextGrid")
def _timeline(
    recordings: _Recordings,
    model: ModelName = "",
    forms: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="csv, json, audacity, textgrid, elan, rttm, srt or vtt; repeatable. Else the suffix of --out says it.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As --format json.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The file to write, or for several a folder; else standard output.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw waveform, spectrogram and emotions: .png, .jpg, .svg or .pdf.")
    ] = None,
    speech: Annotated[
        bool,
        typer.Option(
            "--speech",
            help="Predict segments of speech, found first, instead of windows; no hop, no smoothing.",
        ),
    ] = False,
    no_speech_check: NoSpeechCheck = False,
    window: Window = 3.0,
    hop: Hop = 1.0,
    smoothing: Smoothing = 1.0,
    minimum: Minimum = 1.0,
    abstain_below: AbstainBelow = 0.0,
    channel: Channel = None,
    ffmpeg: Ffmpeg = False,
    int8: Int8 = False,
    threads: Threads = 0,
) -> None:
    """Predict the emotions of recordings over their time, hours long or short. Exit codes as of `predict`."""
    from emospec.cli.timelines import write_timelines
    from emospec.inference.streaming import Timing

    timing = Timing.from_request(
        speech=speech,
        window_seconds=window,
        hop_seconds=hop,
        smoothing_seconds=smoothing,
        minimum_seconds=minimum,
        abstain_below=abstain_below,
        check_speech=not no_speech_check,
    )
    several = len(recordings) > 1 or Path(recordings[0]).is_dir()
    inputs = _inputs(recordings, ffmpeg)
    if out is not None and out.is_file():
        check_files(out, apart_from=inputs)
    outputs = plan_outputs(inputs, [*(forms or ()), *(["json"] if as_json else ())], out, several)
    check_timeline_files(outputs, out, plot, inputs)
    recognizer = _recognizer(model, int8, threads, ffmpeg)
    missed = 0 if ffmpeg else _report_left_out(recordings)
    targets = list(zip(inputs, outputs, strict=True))
    failures = write_timelines(recognizer, targets, timing, speech=speech, channel=channel, plot=plot)
    _exit(failures, len(inputs), missed)


@app.command("listen", epilog="Example: emospec listen --seconds 60")
def _listen(
    model: ModelName = "",
    device: Annotated[str, typer.Option(help="The microphone's name or number; else the system's own.")] = "",
    seconds: Annotated[
        float, typer.Option(min=0.0, callback=finite, help="How long to listen; 0 until Ctrl-C.")
    ] = 0.0,
    window: Window = 3.0,
    hop: Hop = 1.0,
    smoothing: Smoothing = 1.0,
    abstain_below: AbstainBelow = 0.0,
    no_speech_check: NoSpeechCheck = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per hop.")] = False,
    int8: Int8 = False,
    threads: Threads = 0,
) -> None:
    """Predict emotions from the microphone as they come, a line per hop."""
    from emospec.cli.microphone import microphone
    from emospec.inference.streaming import Timing

    recognizer = _recognizer(model, int8, threads)
    timing = Timing.from_request(
        window_seconds=window,
        hop_seconds=hop,
        smoothing_seconds=smoothing,
        minimum_seconds=0.0,
        abstain_below=abstain_below,
        check_speech=not no_speech_check,
    )
    with microphone(device, seconds) as (sample_rate, chunks):
        stream = recognizer.stream(sample_rate, timing)
        if not as_json:
            print(f"listening; predictions come {timing.latency_seconds:.1f} s later", file=sys.stderr)
        interrupted = False
        try:
            for chunk in chunks:
                for moment in stream.push(chunk):
                    print_moment(moment, as_json)
        except KeyboardInterrupt:
            interrupted = True
        for moment in stream.finish()[0]:
            print_moment(moment, as_json)
    if interrupted:
        stopped(f"{stream.seconds:.1f} s of sound were predicted")


@app.command("embed", epilog="Example: emospec embed calls/ --out z.npz")
def _embed(
    recordings: _Recordings,
    out: Annotated[Path, typer.Option(help="NPZ file: z (n, 64) float32 and recording (n,) names.")],
    model: ModelName = "",
    as_json: AsJson = False,
    channel: Channel = None,
    ffmpeg: Ffmpeg = False,
    int8: Int8 = False,
    threads: Threads = 0,
) -> None:
    """Write the feature z of recordings, to search or cluster them by. Exit codes as of `predict`."""
    import io

    import numpy as np

    from emospec.files import write_bytes
    from emospec.inference.recognizer import Prediction

    check_files(out, apart_from=())
    inputs = _inputs(recordings, ffmpeg)
    check_files(out, apart_from=inputs)
    if out.suffix.lower() not in ("", ".npz"):
        raise EmospecError(f"{out}: z is written as NPZ. Name a file *.npz")
    recognizer = _recognizer(model, int8, threads, ffmpeg)
    missed = 0 if ffmpeg else _report_left_out(recordings)
    results = recognizer.predict_many(inputs, channel=channel)
    names, z, failures, interrupted = [], [], 0, False
    try:
        with counter("embedded", len(inputs)) as step:
            for done, result in enumerate(map(_with_name, inputs, results), start=1):
                failures += report_failure(result)
                if isinstance(result, Prediction):
                    names.append(result.recording)
                    z.append(result.z)
                step(done)
    except KeyboardInterrupt:
        interrupted = True
    if z:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, z=np.stack(z), recording=np.array(names))
        write_bytes(out, buffer.getvalue())
    if as_json:
        print_json({"z": str(out) if z else None, "recordings": len(z), "failed": failures})
    elif z:
        print(f"{len(z)} recordings: {out}")
    if interrupted:
        stopped(f"z of {len(z)} of {len(inputs)} recordings is written" if z else "Nothing was written")
    _exit(failures, len(inputs), missed)


@app.command("score", epilog="Example: emospec score calls/ --out results")
def _score(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MANIFEST|FOLDER",
            help="CSV or Parquet with a column `file` of paths or URLs; or a folder.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to make; where it is begun already, this goes on.")],
    model: ModelName = "",
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Carry a column along; repeatable.")
    ] = None,
    z: Annotated[bool, typer.Option("--z", help="Write the feature z too.")] = False,
    timelines: Annotated[
        bool, typer.Option("--timelines", help="Write timelines too, of 3 s windows every second.")
    ] = False,
    shard_files: Annotated[int, typer.Option(min=1, help="Recordings in a file of results.")] = 1000,
    jobs: Annotated[int, typer.Option(min=0, help="Processes side by side; 0 is one per core.")] = 0,
    cluster: Annotated[
        str, typer.Option(metavar="ADDRESS", help="A Dask scheduler, whose workers see the same files.")
    ] = "",
    channel: Channel = None,
    ffmpeg: Ffmpeg = False,
    int8: Int8 = False,
    as_json: AsJson = False,
) -> None:
    """Score any number of recordings into Parquet files. Exit codes as of `predict`."""
    with needs("score"):
        import joblib  # noqa: F401
        import pyarrow  # noqa: F401

        if cluster:
            import distributed  # noqa: F401
    from emospec.cli.progress import scoring_progress
    from emospec.cli.tables import print_scored
    from emospec.inference import bulk
    from emospec.inference.streaming import Timing

    try:
        with scoring_progress() as progress:
            summary = bulk.score(
                source,
                out,
                model_or_default(model),
                keep=keep or (),
                int8=int8,
                z=z,
                timing=Timing() if timelines else None,
                shard_files=shard_files,
                jobs=jobs,
                cluster=cluster,
                channel=channel,
                ffmpeg=ffmpeg,
                progress=progress,
            )
    except KeyboardInterrupt:
        kept = f"What is finished is kept in {out}; the same command goes on"
        stopped(kept if out.is_dir() else "Nothing was written")
    print_scored(summary, out, as_json)
    missed = 0 if ffmpeg else _report_left_out([source])
    _exit(summary["failed"], summary["files"], missed)


def _recognizer(model: str, int8: bool, threads: int, ffmpeg: bool = False) -> "Recognizer":
    from emospec.inference.recognizer import Recognizer

    return Recognizer(model_or_default(model), int8=int8, threads=threads, ffmpeg=ffmpeg)


def _report_left_out(names: list[str]) -> int:
    """Return how many recordings of the named folders are of kinds that are not read; print a line for each folder."""
    from emospec.audio.discovery import left_out
    from emospec.audio.kinds import left_out_line
    from emospec.audio.reader import printable

    missed = 0
    for name in names:
        if name != "-" and (counts := left_out(Path(name))):
            missed += sum(counts.values())
            print(f"emospec: {left_out_line(counts, printable(name))}", file=sys.stderr)
    return missed


def _inputs(names: list[str], ffmpeg: bool = False) -> "list[Recording]":
    """Return the recordings that are named: files, those of folders, and standard input read whole."""
    from emospec.audio.reader import find_recordings

    inputs: list[Recording] = []
    for name in names:
        inputs += [sys.stdin.buffer.read()] if name == "-" else find_recordings(Path(name), ffmpeg)
    return inputs


def _with_name(recording: "Recording", result: _Result) -> _Result:
    """Return a result under its recording's name; what came from standard input is called `stdin`."""
    import dataclasses

    return dataclasses.replace(result, recording=STDIN) if isinstance(recording, bytes) else result


def _exit(failures: int, recordings: int, missed: int = 0) -> None:
    """End with exit code 1 where some recordings failed or were left out, 2 where all failed."""
    if failures or missed:
        raise typer.Exit(2 if failures == recordings else 1)
