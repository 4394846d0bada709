"""Prove that two versions of emospec behave alike: collect what each gives, then compare it all.

    python -m studies.same_numbers make OUT [--python PY] [--recordings FOLDER]
    python -m studies.same_numbers compare A B

`make` drives an emospec as its users do, by its command line and over HTTP, and imports nothing of it: so one copy of
this script compares versions whose modules differ. PY is the Python that has the emospec in question. All that is to be
compared lies in OUT, in one folder per step; what it is made of lies in `OUT/work`.

`compare` prints for each file whether it is equal, and exits with 1 where one is not. Give both versions the same
recordings, on one machine: floating point numbers differ between processors and between versions of packages.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import onnx
import soundfile
from numpy.typing import NDArray
from onnx import numpy_helper
from pyarrow import parquet
from safetensors.numpy import load_file
from websockets.sync.client import connect

WORK = "work"  # in OUT: the commands run here, with relative paths, so that no result holds an absolute one
AUDIO = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".opus")
RATE = 16_000
MOST_RECORDINGS = 200
CONVERSATION_SECONDS = 90
STEPS = 40
TIMELINES = ("json", "csv", "audacity", "textgrid", "elan", "rttm", "srt", "vtt")
KEPT_OF_A_RUN = (
    "config.toml",
    "meta.json",
    "folds.csv",
    "history.csv",
    "features.npz",
    "predictions.csv",
    "scores.json",
    "model",
)
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONSAFEPATH": "1", "COLUMNS": "120"}
"""One thread and no GPU: sums are then made in one order, and the same bits come out each time."""


class Mask(NamedTuple):
    """Parts that may differ in some files: keys of JSON (dots lead inwards), columns of CSV, patterns of other text."""

    files: str
    keys: tuple[str, ...]
    why: str


MASKS = (
    Mask("prepare/index.json", ("sources", "requested"), "times and absolute paths of the corpus's files"),
    Mask("train/*/meta.json", ("emospec", "versions", "command", "commit"), "versions and commands"),
    Mask("train/*/meta.json", ("created", "seconds", "usual_seconds", "hardware"), "dates, times, host"),
    Mask("train/*/meta.json", ("fingerprint",), "a hash of the version and the settings; see config.toml"),
    Mask("train/*/history.csv", ("seconds",), "times"),
    Mask("*/config.json", ("emospec", "training.command", "training.emospec"), "versions and commands"),
    Mask("score/plan.json", ("emospec", "onnxruntime", "manifest"), "versions, a hash of absolute paths"),
    Mask("score/s*.json", ("last_call",), "times"),
    Mask("serve/openapi.json", ("info.version",), "versions"),
    Mask(
        "serve/openapi.json",
        ("**.description", "**.summary", "**.title", "**.$ref", "**.mapping", "components.schemas"),
        "words, and names of schemas; the answers are compared themselves",
    ),
    Mask(
        "train/*/config.toml",
        (r"(?m)^(steps|steps_for|min_steps|select_after|epochs|selection_start) = .*\n",),
        "0.3.0 names a training's length otherwise; the steps taken are in history.csv",
    ),
    Mask("*/model/README.md", (r"(?m)^emospec train .*$", r"emospec \d[\d.]*\d"), "commands, versions"),
    Mask("*/model/README.md", (r"[^\d|]+",), "words; numbers and tables are compared"),
    Mask("serve/models.json", ("models.card",), "the words of the bundled card"),
    Mask(
        "export/*.json",
        ("sha256", "**.sha256"),
        "a graph's nodes may be others; what it computes is compared",
    ),
    Mask("predict/kinds.json", ("**.warnings",), "the words of warnings"),
    Mask(
        "report/report/report.html",
        (r"<code>emospec .*?</code>", r"(<div>[^<]+, commit [^<]+</div>)+", r"<div>python .*?</div>"),
        "commands, commit, versions",
    ),
    Mask(
        "report/report/report.html",
        (r"(?m)^(steps|steps_for|min_steps|select_after|epochs|selection_start) = .*\n",),
        "0.3.0 names a training's length otherwise",
    ),
    Mask("report/report/report.html", (r"emospec report · [\d-]+", r"\d+ min \d+ s"), "dates, times"),
    Mask("report/report/report.html", (r"[^\d.]+",), "words; all numbers and figures are compared"),
)


EARLIER_SETTINGS = re.compile(
    r',\s*"training\.(steps_for|select_after)=\d+"|, training\.(steps_for|select_after)=\d+'
)
"""Settings that stood in a run's name before 0.3.0 where `--steps` was given."""


class StudyError(Exception):
    """Something that the study needs did not come about, or is not there."""


# Making -----------------------------------------------------------------------------------------------------------


class Maker:
    """One emospec at work: runs its commands in `OUT/work`, and keeps what they give in the folders of OUT."""

    def __init__(self, out: Path, python: str) -> None:
        self.out, self.python = out, python
        self.work = out / WORK
        self.codes: dict[str, int] = {}

    def command(self, *arguments: str) -> list[str]:
        """Return a whole command line of emospec."""
        return [self.python, "-m", "emospec", *arguments]

    def run(self, kept: str, *arguments: str, fails: int = 0) -> None:
        """Run one command, and keep its standard output as the file `kept`, and its exit code.

        Args:
            kept: a path in OUT.
            arguments: of emospec.
            fails: the exit code that is expected.

        Raises:
            StudyError: the command ended otherwise.
        """
        print(f"emospec {' '.join(arguments[:4])} ...", file=sys.stderr, flush=True)
        done = subprocess.run(
            self.command(*arguments), cwd=self.work, env=os.environ | ALONE, capture_output=True, check=False
        )
        if done.returncode != fails:
            raise StudyError(f"emospec {' '.join(arguments)}: exit {done.returncode}\n{done.stderr.decode()}")
        self.codes[kept] = done.returncode
        self.keep(kept, done.stdout)

    def keep(self, kept: str, content: bytes) -> None:
        """Write one file of OUT."""
        path = self.out / kept
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def keep_json(self, kept: str, value: Any) -> None:
        """Write one file of OUT as JSON."""
        self.keep(kept, (json.dumps(value, indent=1) + "\n").encode())

    def take(self, source: str, kept: str) -> None:
        """Copy a file or a folder of the working folder into OUT."""
        path, target = self.work / source, self.out / kept
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)

    def keep_digests(self, folder: str, kept: str, pattern: str = "*") -> None:
        """Write the SHA-256 of each file of a folder: for what is too large, or not allowed, to be kept twice."""
        files = sorted(file for file in (self.work / folder).rglob(pattern) if file.is_file())
        lines = [
            f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(self.work)}\n"
            for file in files
        ]
        self.keep(kept, "".join(lines).encode())


def make(out: Path, python: str, recordings: Path | None) -> None:
    """Collect in `out` what an emospec gives.

    Args:
        out: a folder, made here.
        python: the Python that has this emospec.
        recordings: a folder with recordings of speech; without one, those of the demo corpus are taken.

    Raises:
        StudyError: `out` is there already, there are no recordings, or a command failed.
    """
    if out.exists():
        raise StudyError(f"{out} is there already: name a new folder")
    maker = Maker(out.resolve(), python)
    maker.work.mkdir(parents=True)
    make_corpus(maker)
    gather_recordings(maker, recordings or maker.work / "demo" / "corpus")
    for step in (study, export, predict, timelines, score, serve):
        step(maker)
    maker.keep_json("exit_codes.json", maker.codes)


def make_corpus(maker: Maker) -> None:
    """Let `emospec demo` synthesise its corpus; no verb makes it alone, so the demo is stopped where it goes on."""
    print("emospec demo, until its corpus is there", file=sys.stderr, flush=True)
    with subprocess.Popen(
        maker.command("demo", "--out", "demo"),
        cwd=maker.work,
        env=os.environ | ALONE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as demo:
        while demo.poll() is None and not (maker.work / "demo" / "pack").exists():
            time.sleep(0.1)
        demo.terminate()
    maker.keep_digests("demo/corpus", "corpus/corpus.sha256")


def gather_recordings(maker: Maker, folder: Path) -> None:
    """Copy the first recordings of a folder, and make of them a conversation, other kinds of files, and a manifest."""
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in AUDIO)[:MOST_RECORDINGS]
    if not found:
        raise StudyError(f"{folder} holds no recordings")
    target = maker.work / "recordings"
    target.mkdir()
    for file in found:
        shutil.copyfile(file, target / file.name)
    names = [file.name for file in found]
    write_conversation([target / name for name in names], maker.work / "conversation.wav")
    write_kinds(target / names[0], maker.work / "kinds")
    (maker.work / "broken.wav").write_bytes(b"this is no recording")
    rows = [*(f"recordings/{name}" for name in names[:60]), "broken.wav", "missing.wav", "conversation.wav"]
    (maker.work / "manifest.csv").write_text(
        "file,call\n" + "".join(f"{file},call-{k}\n" for k, file in enumerate(rows)), encoding="utf-8"
    )
    for name in ("recordings", "kinds"):
        maker.keep_digests(name, f"inputs/{name}.sha256")
    for name in ("manifest.csv", "conversation.wav"):
        maker.take(name, f"inputs/{name}")


def write_conversation(files: Iterable[Path], target: Path) -> None:
    """Write recordings in a row as one, with short pauses between them and a long one after each fifth."""
    pieces: list[NDArray[np.int16]] = []
    for k, file in enumerate(files):
        samples, rate = soundfile.read(file, dtype="int16", always_2d=True)
        pause = 0.4 if (k + 1) % 5 else 4.0
        pieces += [
            samples[:: max(1, rate // RATE), 0],  # crude where the rate is another, but the same each time
            np.zeros(int(pause * RATE), np.int16),
        ]
        if sum(map(len, pieces)) > CONVERSATION_SECONDS * RATE:
            break
    soundfile.write(target, np.concatenate(pieces), RATE, subtype="PCM_16")


def write_kinds(file: Path, folder: Path) -> None:
    """Write one recording in other formats, widths, rates and numbers of channels, to have each way of decoding."""
    folder.mkdir()
    samples, _ = soundfile.read(file, dtype="float32", always_2d=True)
    mono = samples[:, :1]
    both = np.concatenate([mono, 0.5 * mono[::-1]], axis=1)
    # Another rate is only claimed: the voice is higher or lower then, and is resampled as any other.
    soundfile.write(folder / "stereo-44100.wav", both, 44_100, subtype="PCM_32")  # FLOAT would hold the time
    soundfile.write(folder / "stereo-48000.flac", both, 48_000, subtype="PCM_24")
    soundfile.write(folder / "mono-8000.wav", mono, 8_000, subtype="ULAW")
    soundfile.write(folder / "mono-22050.aiff", mono, 22_050, subtype="PCM_16")
    soundfile.write(folder / "mono-16000.mp3", mono, RATE)


def study(maker: Maker) -> None:
    """Prepare the corpus, train without and with centre loss, evaluate, and report."""
    maker.run("prepare/prepare.json", "prepare", "demo=demo/corpus", "--pack", "pack", "--json")
    maker.keep_digests("pack", "prepare/pack.sha256", "*.bin")
    maker.take("pack/index.json", "prepare/index.json")
    options = ["--preset", "dai2019-mel", "--steps", str(STEPS), "--seed", "0", "--threads", "1", "--json"]
    options += ["--set", "training.precision=float32"]
    weights: dict[str, list[str]] = {"centre": [], "plain": ["--set", "loss.center_weight=0"]}
    for name, weight in weights.items():
        maker.run(f"train/{name}.json", "train", "pack", "--out", f"runs/{name}", *options, *weight)
        for kept in KEPT_OF_A_RUN:
            maker.take(f"runs/{name}/{kept}", f"train/{name}/{kept}")
    maker.run("evaluate/evaluate.json", "evaluate", "runs", "--json")
    maker.run("report/report.json", "report", "runs", "--out", "report", "--title", "Same numbers", "--json")
    maker.take("report", "report/report")


def export(maker: Maker) -> None:
    """Export the run's model, and predict some recordings with it."""
    maker.run("export/export.json", "export", "runs/centre", "--out", "exported", "--json")
    maker.take("exported", "export/model")
    few = [f"recordings/{file.name}" for file in sorted((maker.work / "recordings").iterdir())[:20]]
    maker.run("export/predict.json", "predict", *few, "--model", "exported", "--threads", "1", "--json")


def predict(maker: Maker) -> None:
    """Predict all recordings with the bundled model, as JSON and CSV, and embed them."""
    maker.run("predict/recordings.json", "predict", "recordings", "--threads", "1", "--json")
    maker.run(
        "predict/abstain.csv", "predict", "recordings", "--csv", "--abstain-below", "0.6", "--threads", "1"
    )
    maker.run("predict/kinds.json", "predict", "kinds", "--threads", "1", "--json")
    maker.run("predict/channel.json", "predict", "kinds/stereo-44100.wav", "--channel", "2", "--json")
    maker.run("predict/broken.json", "predict", "broken.wav", "--json", fails=2)
    maker.run("predict/embed.json", "embed", "recordings", "--out", "z.npz", "--threads", "1", "--json")
    maker.take("z.npz", "predict/z.npz")
    maker.run("predict/models.json", "models", "--json")


def timelines(maker: Maker) -> None:
    """Write timelines of the conversation, by windows and by segments of speech, in each format."""
    formats = [option for form in TIMELINES for option in ("--format", form)]
    ways: dict[str, list[str]] = {"windows": [], "speech": ["--speech"]}
    for name, way in ways.items():
        folder = f"timeline-{name}"
        maker.run(
            f"timeline/{name}.txt", "timeline", "conversation.wav", "--out", folder, *formats, *way,
            "--threads", "1",
        )  # fmt: skip
        maker.take(folder, f"timeline/{name}")


def score(maker: Maker) -> None:
    """Score a manifest, with a broken and a missing recording in it, into several shards with z and timelines."""
    maker.run(
        "score/score.json", "score", "manifest.csv", "--out", "scored", "--keep", "call", "--z", "--timelines",
        "--shard-files", "25", "--jobs", "1", "--json", fails=1,
    )  # fmt: skip
    for file in sorted((maker.work / "scored").iterdir()):
        maker.take(f"scored/{file.name}", f"score/{file.name}")


@contextmanager
def server(maker: Maker) -> Iterator[str]:
    """Run a server of the bundled model on a free port; gives its address."""
    with subprocess.Popen(
        maker.command("serve", "--port", "0", "--threads", "1"),
        cwd=maker.work,
        env=os.environ | ALONE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"http://\S+", line)
            if not found:
                raise StudyError(f"the server did not start: {line!r}")
            yield found[0]
        finally:
            process.terminate()


def serve(maker: Maker) -> None:
    """Ask a server for each kind of answer, errors too, and for a live stream."""
    conversation, broken = maker.work / "conversation.wav", maker.work / "broken.wav"
    # One recording a request: which share a pass depends on how fast each is decoded, and moves the last bits.
    one = sorted((maker.work / "recordings").iterdir())[:1]
    asked: list[tuple[str, str, str, Sequence[Path]]] = [
        ("models.json", "GET", "/v1/models", ()),
        ("openapi.json", "GET", "/openapi.json", ()),
        ("examples.json", "GET", "/examples", ()),
        ("predict.json", "POST", "/v1/predict?check_speech=true", [*one, broken]),
        ("embed.json", "POST", "/v1/embed", one),
        ("timeline.json", "POST", "/v1/timeline", [conversation]),
        ("timeline.textgrid", "POST", "/v1/timeline?format=textgrid&speech=true", [conversation]),
        ("unreadable.json", "POST", "/v1/predict", [broken]),
        ("unknown_query.json", "POST", "/v1/predict?abstain=1", one),
        ("unknown_address.json", "GET", "/v2/models", ()),
    ]
    print("emospec serve ...", file=sys.stderr, flush=True)
    with server(maker) as address, httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
        for kept, method, url, files in asked:
            sent = [("file", (file.name, file.read_bytes())) for file in files]
            answer = client.request(method, url, files=sent or None)
            maker.codes[f"serve/{kept}"] = answer.status_code
            maker.keep(f"serve/{kept}", answer.content)
        maker.keep_json("serve/stream.json", stream(address, conversation))


def stream(address: str, recording: Path) -> list[Any]:
    """Return all messages of a live stream of one recording."""
    samples, rate = soundfile.read(recording, dtype="int16")
    url = f"{address.replace('http', 'ws', 1)}/v1/stream?sample_rate={rate}"
    with connect(url, ping_interval=None, proxy=None) as socket:
        for start in range(0, len(samples), rate):
            socket.send(samples[start : start + rate].tobytes())
        socket.send("end")
        return [json.loads(message) for message in socket]


# Comparing --------------------------------------------------------------------------------------------------------


def compare(a: Path, b: Path) -> bool:
    """Print a line for each file of two folders that `make` made; return whether all are equal."""
    names = sorted(files_of(a) | files_of(b))
    if not names:
        raise StudyError(f"{a} and {b} hold nothing to compare")
    differing = 0
    for name in names:
        difference = difference_of(a, b, name)
        differing += bool(difference)
        print(f"{name}: {f'differs: {difference}' if difference else 'equal'}")
    print(f"{len(names)} files, {differing} differ")
    return not differing


def files_of(folder: Path) -> set[str]:
    """Return the names of the files to compare, as paths in a folder."""
    found = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return {str(file) for file in found if file.parts[0] != WORK}


def difference_of(a: Path, b: Path, name: str) -> str:
    """Return the first difference of one file of two folders, in words; "" where only what is masked differs."""
    for folder in (a, b):
        if not (folder / name).is_file():
            return f"not in {folder}"
    if (a / name).read_bytes() == (b / name).read_bytes():
        return ""
    hidden = [key for mask in MASKS if fnmatch(name, mask.files) for key in mask.keys]
    kind = Path(name).suffix
    if kind == ".npz":
        return array_difference(np.load(a / name), np.load(b / name))
    if kind == ".safetensors":
        return array_difference(load_file(a / name), load_file(b / name))
    if kind == ".onnx":
        return array_difference(weights_of(a / name), weights_of(b / name))
    if kind == ".parquet":
        return parquet_difference(a, b, name)
    try:
        texts = placeless(a, (a / name).read_text("utf-8")), placeless(b, (b / name).read_text("utf-8"))
    except UnicodeDecodeError:
        return byte_difference((a / name).read_bytes(), (b / name).read_bytes())
    if kind == ".json":
        return json_difference(*texts, hidden)
    return (csv_difference if kind == ".csv" and hidden else text_difference)(*texts, hidden)


def placeless(folder: Path, text: str) -> str:
    """Return a text without the absolute path of the folder that it was made in, and without earlier settings."""
    return EARLIER_SETTINGS.sub("", text.replace(str(folder.resolve()), "OUT"))


def json_difference(a: str, b: str, hidden: Sequence[str]) -> str:
    """Compare two texts of JSON: all keys but the hidden ones, and where none are hidden, each letter too."""
    try:
        first, second = json.loads(a), json.loads(b)
    except ValueError:  # one is no JSON any more
        return text_difference(a, b, ())
    for key in hidden:
        remove(first, key)
        remove(second, key)
    return value_difference(first, second) or ("" if hidden else text_difference(a, b, ()))


def remove(value: Any, key: str) -> None:
    """Take one key out of a JSON object; dots lead into objects within, and `**.` means at any depth."""
    if key.startswith("**."):
        for within in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            remove(within, key)
        key = key[3:] if isinstance(value, dict) else ""
        if not key:
            return
    outer, _, inner = key.partition(".")
    if isinstance(value, list):
        for item in value:
            remove(item, key)
    elif inner:
        remove(value.get(outer, {}), inner)
    else:
        value.pop(outer, None)


def value_difference(a: Any, b: Any, place: str = "$") -> str:
    """Return the first difference of two JSON values; the order of keys counts, as it does to who reads them."""
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        pairs = ((a[key], b[key], f"{place}.{key}") for key in a)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = ((x, y, f"{place}[{k}]") for k, (x, y) in enumerate(zip(a, b, strict=True)))
    else:
        # By their text: true and 1, 1 and 1.0 are not the same to who reads them.
        x, y = (json.dumps(value)[:200] for value in (a, b))
        return "" if json.dumps(a) == json.dumps(b) else f"{place}: {x} | {y}"
    return next(filter(None, (value_difference(*pair) for pair in pairs)), "")


def csv_difference(a: str, b: str, hidden: Sequence[str]) -> str:
    """Compare two texts of CSV, all columns but the hidden ones."""
    return line_difference(shown_columns(a, hidden), shown_columns(b, hidden))


def shown_columns(text: str, hidden: Sequence[str]) -> list[str]:
    """Return the rows of a CSV without its hidden columns, as text."""
    rows = list(csv.reader(io.StringIO(text)))
    names = rows[0] if rows else []
    return [
        str([cell for k, cell in enumerate(row) if k >= len(names) or names[k] not in hidden]) for row in rows
    ]


def text_difference(a: str, b: str, hidden: Sequence[str]) -> str:
    """Compare two texts line by line, but for the patterns that are hidden."""
    for pattern in hidden:
        a, b = re.sub(pattern, "…", a), re.sub(pattern, "…", b)
    return line_difference(a.splitlines(keepends=True), b.splitlines(keepends=True))


def line_difference(a: Sequence[str], b: Sequence[str]) -> str:
    """Return the first line that differs."""
    for k, (x, y) in enumerate(zip(a, b, strict=False), 1):
        if x != y:
            return f"line {k}: {x[:200]!r} | {y[:200]!r}"
    return "" if len(a) == len(b) else f"{len(a)} | {len(b)} lines"


def byte_difference(a: bytes, b: bytes) -> str:
    """Return the first byte that differs."""
    if len(a) != len(b):
        return f"{len(a)} | {len(b)} bytes"
    return next((f"byte {k}: {x} | {y}" for k, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), "")


def array_difference(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> str:
    """Compare arrays by name: types, shapes, and each bit; not how they are packed."""
    if sorted(a) != sorted(b):
        return f"arrays {sorted(a)} | {sorted(b)}"
    for name in sorted(a):
        x, y = a[name], b[name]
        if (x.dtype, x.shape) != (y.dtype, y.shape):
            return f"{name}: {x.dtype} {x.shape} | {y.dtype} {y.shape}"
        if x.tobytes() != y.tobytes():
            gap = f", by {np.abs(x - y).max():g} at most" if x.dtype.kind == "f" else ""
            return f"{name}: {np.count_nonzero(x != y)} of {x.size} values differ{gap}"
    return ""


def weights_of(graph: Path) -> dict[str, NDArray[Any]]:
    """Return the weights of an ONNX graph that hold more than a shape or an index."""
    arrays = (numpy_helper.to_array(tensor) for tensor in onnx.load(graph).graph.initializer)
    weights = sorted((array for array in arrays if array.size >= 64), key=lambda array: array.tobytes())
    return {str(k): array for k, array in enumerate(weights)}


def parquet_difference(a: Path, b: Path, name: str) -> str:
    """Compare a Parquet file of two folders as a table, types included: errors in it name absolute paths."""
    first, second = parquet.read_table(a / name), parquet.read_table(b / name)
    if not first.schema.equals(second.schema, check_metadata=True):
        return f"columns {first.schema} | {second.schema}"
    for column in first.column_names:
        # By their text: NaN is not equal to itself, and Python shows a float64 to the last bit.
        x = [placeless(a, repr(value)) for value in first[column].to_pylist()]
        y = [placeless(b, repr(value)) for value in second[column].to_pylist()]
        if difference := line_difference(x, y):
            return f"column {column}, {difference}"
    return ""


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.same_numbers", description=__doc__.split("\n")[0]
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="collect in OUT what an emospec gives")
    making.add_argument("out", type=Path, metavar="OUT")
    making.add_argument("--python", default=sys.executable, metavar="PY", help="the Python that has it")
    making.add_argument("--recordings", type=Path, metavar="FOLDER", help="speech; else the demo corpus's")
    comparing = verbs.add_parser("compare", help="compare two such folders; exit 1 where they differ")
    comparing.add_argument("a", type=Path, metavar="A")
    comparing.add_argument("b", type=Path, metavar="B")
    options = parser.parse_args()
    try:
        if options.verb == "make":
            # Not resolved: the Python of a virtual environment is a link, and knows by its place which it is.
            make(options.out, os.path.abspath(options.python), options.recordings)
        elif not compare(options.a, options.b):
            sys.exit(1)
    except StudyError as failure:
        sys.exit(f"same_numbers: {failure}")


if __name__ == "__main__":
    main()
