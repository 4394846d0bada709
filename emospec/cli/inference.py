"""The verbs of inference: `predict`, `timeline`, `listen`, `embed` and `score`. They need no torch."""

import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from typer import Argument, Option

from emospec.cli.options import AsJson, Ffmpeg, Int8, ModelName, ModelOptions, finite, model_or_default, needs
from emospec.cli.predictions import Printer, print_window, report_failure, write_timelines
from emospec.cli.progress import counter, scoring_progress
from emospec.cli.streams import print_json
from emospec.cli.targets import STDIN, check_files, check_timeline_files, plan_outputs
from emospec.cli.verbs import Panel, stopped
from emospec.errors import EmospecError
from emospec.files import write_bytes

if TYPE_CHECKING:
    from emospec.inference.prediction import Failure, Prediction
    from emospec.inference.recordings import Recording
    from emospec.inference.streaming import Timing

inference_verbs = Panel("Recordings")

_Result = TypeVar("_Result", bound="Prediction | Failure")

_Recordings = Annotated[
    list[str], Argument(metavar="FILE|FOLDER|-...", help="Recordings, folders of them, or - for stdin.")
]
_MANIFEST = "CSV or Parquet with a column `file` of paths or URLs; or a folder."
_Source = Annotated[str, Argument(metavar="MANIFEST|FOLDER", help=_MANIFEST)]
_AbstainBelow = Annotated[
    float, Option(min=0.0, max=1.0, callback=finite, help="No emotion where the confidence is lower.")
]

_SPEECH = "Predict segments of speech, found first, instead of windows; no hop, no smoothing."
_Speech = Annotated[bool, Option("--speech", help=_SPEECH)]


@dataclass(frozen=True)
class _Reading:
    channel: int | None = Option(
        None, min=1, help="Predict this channel of each recording, from 1; else the mean over all."
    )
    ffmpeg: Ffmpeg = False

    def inputs(self, names: list[str]) -> "list[Recording]":
        from emospec.audio.discovery import find_recordings

        inputs: list[Recording] = []
        for name in names:
            inputs += [sys.stdin.buffer.read()] if name == "-" else find_recordings(Path(name), self.ffmpeg)
        return inputs

    def report_left_out(self, names: list[str]) -> int:
        # How many recordings of folders are of kinds that are not read.
        from emospec.audio.discovery import count_unsupported, describe_unsupported, printable

        missed = 0
        for name in names:
            if not self.ffmpeg and name != "-" and (counts := count_unsupported(Path(name))):
                missed += sum(counts.values())
                print(f"emospec: {describe_unsupported(counts, printable(name))}", file=sys.stderr)
        return missed


@dataclass(frozen=True)
class _Windows:
    window: float = Option(3.0, help="Seconds that are predicted at once.")
    hop: float = Option(1.0, help="Seconds from one window to the next.")
    smoothing: float = Option(1.0, help="Time constant of the mean over windows, in seconds; 0 is none.")
    abstain_below: _AbstainBelow = 0.0
    no_speech_check: bool = Option(False, "--no-speech-check", help="Predict windows without speech, too.")

    def timing(self, minimum_seconds: float, *, speech: bool = False) -> "Timing":
        from emospec.inference.streaming import Timing

        return Timing.from_request(
            speech=speech,
            window_seconds=self.window,
            hop_seconds=self.hop,
            smoothing_seconds=self.smoothing,
            minimum_seconds=minimum_seconds,
            abstain_below=self.abstain_below,
            check_speech=not self.no_speech_check,
        )


@dataclass(frozen=True)
class _TimelineFiles:
    forms: list[str] | None = Option(
        None,
        "--format",
        help="csv, json, audacity, textgrid, elan, rttm, srt or vtt; repeatable. Else the suffix of --out says it.",
    )
    as_json: bool = Option(False, "--json", help="As --format json.")
    out: Path | None = Option(None, help="The file to write, or for several a folder; else standard output.")
    plot: Path | None = Option(None, help="Draw waveform, spectrogram, emotions: .png, .jpg, .svg or .pdf.")


@dataclass(frozen=True)
class _Scoring:
    keep: list[str] | None = Option(None, metavar="COLUMN", help="Carry a column along; repeatable.")
    z: bool = Option(False, "--z", help="Write the feature z too.")
    timelines: bool = Option(False, "--timelines", help="Write timelines too, of 3 s windows every second.")
    shard_files: int = Option(1000, min=1, help="Recordings in a file of results.")
    jobs: int = Option(0, min=0, help="Processes side by side; 0 is one per core.")
    cluster: str = Option("", metavar="ADDRESS", help="A Dask scheduler, whose workers see the same files.")


@inference_verbs.verb("predict", "emospec predict calls/ --csv > emotions.csv")
def _predict(
    recordings: _Recordings,
    model: ModelOptions,
    reading: _Reading,
    abstain_below: _AbstainBelow = 0.0,
    as_json: AsJson = False,
    as_csv: Annotated[bool, Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Predict the emotion of recordings. Exit code 1: some were left out or could not be used; 2: none could."""
    if as_json and as_csv:
        raise EmospecError("--json and --csv exclude each other. Name one")
    # A model that cannot be opened is an error before standard input is read.
    recognizer, inputs = model.recognizer(reading.ffmpeg), reading.inputs(recordings)
    missed = reading.report_left_out(recordings)
    results = recognizer.predict_many(inputs, abstain_below=abstain_below, channel=reading.channel)
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


@inference_verbs.verb("timeline", "emospec timeline interview.mp3 --out interview.TextGrid")
def _timeline(
    recordings: _Recordings,
    model: ModelOptions,
    reading: _Reading,
    windows: _Windows,
    files: _TimelineFiles,
    speech: _Speech = False,
    minimum: Annotated[float, Option(help="The shortest segment, in seconds.")] = 1.0,
) -> None:
    """Predict the emotions of recordings over their time, hours long or short. Exit codes as of `predict`."""
    timing = windows.timing(minimum, speech=speech)
    several = len(recordings) > 1 or Path(recordings[0]).is_dir()
    inputs, out = reading.inputs(recordings), files.out
    if out is not None and out.is_file():
        check_files(out, apart_from=inputs)
    forms = [*(files.forms or ()), *(["json"] if files.as_json else ())]
    outputs = plan_outputs(inputs, forms, out, several)
    check_timeline_files(outputs, out, files.plot, inputs)
    recognizer = model.recognizer(reading.ffmpeg)
    missed = reading.report_left_out(recordings)
    targets = list(zip(inputs, outputs, strict=True))
    failures = write_timelines(
        recognizer, targets, timing, speech=speech, channel=reading.channel, plot=files.plot
    )
    _exit(failures, len(inputs), missed)


@inference_verbs.verb("listen", "emospec listen --seconds 60")
def _listen(
    model: ModelOptions,
    windows: _Windows,
    device: Annotated[str, Option(help="The microphone's name or number; else the system's own.")] = "",
    seconds: Annotated[float, Option(min=0.0, callback=finite, help="How long; 0 until Ctrl-C.")] = 0.0,
    as_json: Annotated[bool, Option("--json", help="Print a line of JSON per hop.")] = False,
) -> None:
    """Predict emotions from the microphone as they come, a line per hop."""
    from emospec.cli.microphone import microphone

    recognizer = model.recognizer()
    timing = windows.timing(0.0)
    with microphone(device, seconds) as (sample_rate, chunks):
        stream = recognizer.stream(sample_rate, timing)
        if not as_json:
            print(f"listening; predictions come {timing.latency_seconds:.1f} s later", file=sys.stderr)
        interrupted = False
        try:
            for chunk in chunks:
                for window in stream.push(chunk):
                    print_window(window, as_json)
        except KeyboardInterrupt:
            interrupted = True
        # The windows that were complete when Ctrl-C came are printed too.
        for window in stream.finish()[0]:
            print_window(window, as_json)
    if interrupted:
        stopped(f"{stream.seconds:.1f} s of sound were predicted")


@inference_verbs.verb("embed", "emospec embed calls/ --out z.npz")
def _embed(
    recordings: _Recordings,
    out: Annotated[Path, Option(help="NPZ file: z (n, 64) float32 and recording (n,) names.")],
    model: ModelOptions,
    reading: _Reading,
    as_json: AsJson = False,
) -> None:
    """Write the feature z of recordings, to search or cluster them by. Exit codes as of `predict`."""
    from emospec.inference.prediction import Prediction

    # Mistakes in the file's name are found before standard input is read and the model opened.
    check_files(out, apart_from=())
    inputs = reading.inputs(recordings)
    check_files(out, apart_from=inputs)
    if out.suffix.lower() not in ("", ".npz"):
        raise EmospecError(f"{out}: z is written as NPZ. Name a file *.npz")
    recognizer = model.recognizer(reading.ffmpeg)
    missed = reading.report_left_out(recordings)
    results = recognizer.predict_many(inputs, channel=reading.channel)
    predictions: list[Prediction] = []
    failures, interrupted = 0, False
    try:
        with counter("embedded", len(inputs)) as step:
            for done, result in enumerate(map(_with_name, inputs, results), start=1):
                failures += report_failure(result)
                if isinstance(result, Prediction):
                    predictions.append(result)
                step(done)
    except KeyboardInterrupt:
        interrupted = True
    if predictions:
        _write_z(predictions, out)
    count = len(predictions)
    if as_json:
        print_json({"z": str(out) if count else None, "recordings": count, "failed": failures})
    elif count:
        print(f"{count} recordings: {out}")
    if interrupted:
        stopped(f"z of {count} of {len(inputs)} recordings is written" if count else "Nothing was written")
    _exit(failures, len(inputs), missed)


def _write_z(predictions: "list[Prediction]", out: Path) -> None:
    import numpy as np

    # The file is made in memory, so that it is written whole or not at all.
    buffer = io.BytesIO()
    names = np.array([prediction.recording for prediction in predictions])
    np.savez_compressed(buffer, z=np.stack([prediction.z for prediction in predictions]), recording=names)
    write_bytes(out, buffer.getvalue())


@inference_verbs.verb("score", "emospec score calls/ --out results")
def _score(
    source: _Source,
    out: Annotated[Path, Option(help="The folder to make; where it is begun already, this goes on.")],
    reading: _Reading,
    scoring: _Scoring,
    model: ModelName = "",
    int8: Int8 = False,
    as_json: AsJson = False,
) -> None:
    """Score any number of recordings into Parquet files. Exit codes as of `predict`."""
    # Missing packages are found before the model is opened.
    with needs("score"):
        from emospec.inference import bulk

        if scoring.cluster:
            import distributed  # noqa: F401
    from emospec.cli.tables import print_scored
    from emospec.inference.streaming import Timing

    options = vars(scoring) | vars(reading)
    timing = Timing() if options.pop("timelines") else None
    keep = options.pop("keep") or ()
    try:
        with scoring_progress() as progress:
            options |= {"int8": int8, "keep": keep, "timing": timing, "progress": progress}
            summary = bulk.score(source, out, model_or_default(model), **options)
    except KeyboardInterrupt:
        kept = f"What is finished is kept in {out}; the same command goes on"
        stopped(kept if out.is_dir() else "Nothing was written")
    print_scored(summary, out, as_json)
    _exit(summary["failed"], summary["files"], reading.report_left_out([source]))


def _with_name(recording: "Recording", result: _Result) -> _Result:
    # Bytes have no name, so what came from standard input is called `stdin`.
    return replace(result, recording=STDIN) if isinstance(recording, bytes) else result


def _exit(failures: int, recordings: int, missed: int) -> None:
    # Exit code 1: some recordings failed or were left out; 2: all failed.
    if failures or missed:
        raise typer.Exit(2 if failures == recordings else 1)
