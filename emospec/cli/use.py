"""The verbs of use: a saved model on recordings. They need no torch, but for `export`."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from emospec.cli.extras import needs
from emospec.cli.predictions import Printer, counter, stopped, told_failure
from emospec.cli.targets import check_files, check_timeline_files, plan
from emospec.errors import EmospecError

if TYPE_CHECKING:
    from emospec.inference.recognizer import Failure, Prediction, Recognizer
    from emospec.inference.recordings import Recording
    from emospec.inference.timeline import Timeline

app = typer.Typer()


def _finite(value: float) -> float:
    """NaN and infinity pass typer's ranges."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number that can be used")
    return value


_Result = TypeVar("_Result", "Prediction | Failure", "Timeline")

STDIN = "-"
Recordings = Annotated[
    list[str], typer.Argument(metavar="FILE|FOLDER|-...", help="Recordings, folders of them, or - for stdin.")
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="A model folder, a bundled model's name, or hf:OWNER/NAME@REVISION. [default: base, which comes with emospec]",
    ),
]
Int8 = Annotated[bool, typer.Option("--int8", help="Compute the convolutions in 8 bits.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads; 0 takes all cores.")]
AbstainBelow = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, callback=_finite, help="No emotion where the confidence is lower."),
]
Window = Annotated[float, typer.Option(help="Seconds that are judged at once.")]
Hop = Annotated[float, typer.Option(help="Seconds from one window to the next.")]
Smoothing = Annotated[
    float, typer.Option(help="Time constant of the mean over windows, in seconds; 0 is none.")
]
Minimum = Annotated[float, typer.Option(help="The shortest segment, in seconds.")]
NoSpeechCheck = Annotated[
    bool, typer.Option("--no-speech-check", help="Judge windows in which nobody speaks, too.")
]
Channel = Annotated[
    int | None,
    typer.Option(min=1, help="Judge this channel of each recording, from 1; else the mean over all."),
]
Ffmpeg = Annotated[
    bool, typer.Option("--ffmpeg", help="Decode m4a, mp4, webm and others by the program ffmpeg.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command(epilog="Example: emospec predict calls/ --csv > emotions.csv")
def predict(
    recordings: Recordings,
    model: ModelName = "",
    abstain_below: AbstainBelow = 0.0,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    channel: Channel = None,
    ffmpeg: Ffmpeg = False,
    int8: Int8 = False,
    threads: Threads = 0,
) -> None:
    """Tell the emotion of recordings. Exit code 1: some were left out or could not be judged; 2: none could."""
    if as_json and as_csv:
        raise EmospecError("--json and --csv exclude each other. Name one")
    recognizer, found = _open(model, int8, threads, ffmpeg), _recordings(recordings, ffmpeg)
    missed = 0 if ffmpeg else _told_left_out(recordings)
    results = recognizer.predict_many(found, abstain_below=abstain_below, channel=channel)
    failures = done = 0
    try:
        with (
            Printer(recognizer.model.names, "json" if as_json else "csv" if as_csv else "table") as printer,
            counter("judged", len(found)) as step,
        ):
            for done, result in enumerate(map(_named, found, results), start=1):
                failures += printer.add(result)
                step(done)
    except KeyboardInterrupt:
        stopped(f"{done} of {len(found)} recordings were judged; those are printed")
    _exit(failures, len(found), missed)


@app.command(epilog="Example: emospec timeline interview.mp3 --out interview.TextGrid")
def timeline(
    recordings: Recordings,
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
        Path | None,
        typer.Option(help="Draw waveform, spectrogram and emotions: .png, .jpg, .svg or .pdf."),
    ] = None,
    speech: Annotated[
        bool,
        typer.Option(
            "--speech",
            help="Judge stretches of speech, found first, instead of windows; no hop, no smoothing.",
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
    """Tell the emotions of recordings over their time, hours long or short. Exit codes as of `predict`."""
    from emospec.cli.timelines import judge_all
    from emospec.inference.streaming import Timing

    # With --speech there are no hops, so none can be mistaken.
    timing = Timing(
        window, min(hop, window) if speech else hop, smoothing, minimum, abstain_below, not no_speech_check
    )
    several = len(recordings) > 1 or Path(recordings[0]).is_dir()
    found = _recordings(recordings, ffmpeg)
    if out is not None and out.is_file():
        check_files(out, apart_from=found)
    outputs = plan(found, [*(forms or ()), *(["json"] if as_json else ())], out, several)
    check_timeline_files(outputs, out, plot, found)
    recognizer = _open(model, int8, threads, ffmpeg)
    missed = 0 if ffmpeg else _told_left_out(recordings)
    plans = list(zip(found, outputs, strict=True))
    failures = judge_all(recognizer, plans, timing, speech=speech, channel=channel, plot=plot)
    _exit(failures, len(found), missed)


@app.command(epilog="Example: emospec listen --seconds 60")
def listen(
    model: ModelName = "",
    device: Annotated[str, typer.Option(help="The microphone's name or number; else the system's own.")] = "",
    seconds: Annotated[
        float, typer.Option(min=0.0, callback=_finite, help="How long to listen; 0 until Ctrl-C.")
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
    """Tell emotions from the microphone as they come, a line per hop."""
    from emospec.cli.microphone import microphone
    from emospec.cli.predictions import print_moment
    from emospec.inference.streaming import Timing

    recognizer = _open(model, int8, threads)
    timing = Timing(window, hop, smoothing, 0.0, abstain_below, not no_speech_check)
    with microphone(device, seconds) as (sample_rate, chunks):
        stream = recognizer.stream(sample_rate, timing)
        if not as_json:
            print(f"listening; what is said is told {timing.latency_seconds:.1f} s later", file=sys.stderr)
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
        stopped(f"{stream.seconds:.1f} s of sound were heard")


@app.command(epilog="Example: emospec embed calls/ --out z.npz")
def embed(
    recordings: Recordings,
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
    found = _recordings(recordings, ffmpeg)
    check_files(out, apart_from=found)
    if out.suffix.lower() not in ("", ".npz"):
        raise EmospecError(f"{out}: z is written as NPZ. Name a file *.npz")
    recognizer = _open(model, int8, threads, ffmpeg)
    missed = 0 if ffmpeg else _told_left_out(recordings)
    results = recognizer.predict_many(found, channel=channel)
    names, z, failures, interrupted = [], [], 0, False
    try:
        with counter("embedded", len(found)) as step:
            for done, result in enumerate(map(_named, found, results), start=1):
                failures += told_failure(result)
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
        from emospec.display import print_json

        print_json({"z": str(out) if z else None, "recordings": len(z), "failed": failures})
    elif z:
        print(f"{len(z)} recordings: {out}")
    if interrupted:
        written = f"z of {len(z)} of {len(found)} recordings is written" if z else "Nothing was written"
        stopped(written)
    _exit(failures, len(found), missed)


@app.command(epilog="Example: emospec score calls/ --out results")
def score(
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
    from emospec.display import print_scored, scoring_progress
    from emospec.inference.bulk import score as run
    from emospec.inference.streaming import Timing

    try:
        with scoring_progress() as progress:
            found = run(
                source,
                out,
                _model(model),
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
        stopped(
            f"What is finished is kept in {out}; the same command goes on"
            if out.is_dir()
            else "Nothing was written"
        )
    print_scored(found, out, as_json)
    missed = 0 if ffmpeg else _told_left_out([source])
    _exit(found["failed"], found["files"], missed)


@app.command(epilog="Example: emospec export runs/one --out models/mine")
def export(
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
        from emospec.release import export_model

        told = _text_of(notes) if notes else ""
        made = export_model(run, out, int8=int8, float16=float16, crossval=crossval, notes=told)
    if as_json:
        from emospec.display import print_json

        print_json({"model": str(out), "classes": list(made.names), "sha256": made.about["sha256"]})
        return
    print(f"{', '.join(made.names)}: {out}")
    if int8 is not None:
        deviation = made.about["int8_deviation"]
        print(f"int8: probabilities of training utterances move by at most {deviation:.3f}")
    if float16:
        deviation = made.about["float16_deviation"]
        print(f"float16: probabilities of noise move by at most {deviation:.1g}")


@app.command(epilog="Example: EMOSPEC_TOKEN=... emospec serve --host 0.0.0.0")
def serve(
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
        float, typer.Option(min=0.1, callback=_finite, help="The longest recording.")
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
        from emospec.serving.server import serve as run
    from emospec.inference.model import DEFAULT

    most = max_megabytes * MEGABYTE
    limits = Limits(bytes=most, seconds=max_seconds, held_bytes=4 * most)
    run(
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
        notes=() if model else (_default_terms(),),
    )


@app.command(epilog="Example: emospec models")
def models(as_json: AsJson = False) -> None:
    """List the models that come with emospec: classes, what they learned from, licences, scores."""
    from emospec.display import print_models
    from emospec.inference.model import bundled, load_model

    print_models([load_model(name) for name in bundled()], as_json)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EmospecError(f"{file}: cannot be read as text ({error})") from error


def _open(model: str, int8: bool, threads: int, ffmpeg: bool = False) -> "Recognizer":
    from emospec.inference.recognizer import Recognizer

    return Recognizer(_model(model), int8=int8, threads=threads, ffmpeg=ffmpeg)


def _model(named: str) -> str:
    """The model that is named; else the default one, which says what it is and on what terms."""
    if named:
        return named
    from emospec.inference.model import DEFAULT

    print(_default_terms(), file=sys.stderr)
    return DEFAULT


def _default_terms() -> str:
    """Return what the default model is, and on what terms it may be used."""
    from emospec.inference.model import DEFAULT, load_model

    model = load_model(DEFAULT)
    corpora = ", ".join(corpus["title"] for corpus in model.about["training"]["corpora"])
    return (
        f"model {DEFAULT}: {', '.join(model.names)}; learned from {corpora}; licence of its weights: "
        f"{model.terms}. `emospec models` tells more, --model names another"
    )


def _told_left_out(named: list[str]) -> int:
    """How many recordings of the folders that are named are of kinds that are not read; a line tells of each folder."""
    from emospec.data.audio import printable
    from emospec.data.kinds import left_out_line
    from emospec.data.recordings import left_out

    missed = 0
    for name in named:
        if name != STDIN and (counts := left_out(Path(name))):
            missed += sum(counts.values())
            print(f"emospec: {left_out_line(counts, printable(name))}", file=sys.stderr)
    return missed


def _recordings(named: list[str], ffmpeg: bool = False) -> "list[Recording]":
    """The files of folders, whatever is named, and standard input read whole."""
    from emospec.data.audio import find_recordings

    found: list[Recording] = []
    for name in named:
        if name == STDIN:
            found.append(sys.stdin.buffer.read())
        else:
            found += find_recordings(Path(name), ffmpeg)
    return found


def _named(recording: "Recording", result: _Result) -> _Result:
    """What came from standard input is called so."""
    import dataclasses

    return dataclasses.replace(result, recording="stdin") if isinstance(recording, bytes) else result


def _exit(failures: int, judged: int, missed: int = 0) -> None:
    if failures or missed:
        raise typer.Exit(2 if failures == judged else 1)
