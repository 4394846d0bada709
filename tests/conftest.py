"""What several rooms' tests need: tones, a tiny synthetic corpus, a pack of it, a short training."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from emospec.cli import run_command_line
from emospec.data.pack import Pack, prepare
from emospec.data.utterances import Utterance
from emospec.inference.recognizer import Recognizer

if TYPE_CHECKING:
    import httpx

    from served import RunningServer

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is compared to the bit is a CPU's
os.fsync = lambda _: None  # type: ignore[assignment]  # tests kill processes; none cuts the power
SHARED = Path(__file__).parents[2] / "shared" / "corpora"  # real recordings, where they are
SHORT = [
    "training.steps=12",
    "training.selection_start=0.25",
    "training.evaluate_every=3",
    "training.batch_size=8",
    "training.learning_rate=1e-3",
    "loss.warmup_steps=4",
    "data.protocol=groups:3",
]
"""Overrides of a preset for a training of a second or two."""


def tone(hz: float, seconds: float, rate: int = 16_000, level: float = 0.3) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def error_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line in which the command line, in this process, refuses these arguments."""
    monkeypatch.setattr(sys, "argv", ["emospec", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        run_command_line()
    assert stop.value.code == 2
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("emospec: ")
    assert "\n" not in printed
    return printed


@pytest.fixture(scope="session")
def make_utterances() -> Callable[[Path], list[Utterance]]:
    """Six speakers who hum low when sad and high when angry, each with an offset, 0.3 to 0.9 s long."""

    def make(root: Path) -> list[Utterance]:
        root.mkdir(parents=True, exist_ok=True)
        utterances = []
        for speaker in range(6):
            for k in range(6):
                rng = np.random.default_rng([speaker, k])
                emotion = ("angry", "sad")[k % 2]
                hz = {"angry": 900.0, "sad": 300.0}[emotion] * rng.uniform(0.9, 1.1)
                waveform = tone(hz, rng.uniform(0.3, 0.9)) + rng.normal(0, 0.02, 1).astype(np.float32)
                file = root / f"s{speaker}_{emotion}_{k}.wav"
                soundfile.write(file, waveform, 16_000)
                sex = "f" if speaker % 2 else "m"
                utterances.append(
                    Utterance(f"hum/{file.stem}", "hum", file, f"s{speaker}", emotion, emotion, sex=sex)
                )
        return utterances

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a folder once for all worker processes of a session, whichever of them needs it first."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = root / f"once-{name}", root / f"once-{name}.made"
        with open(root / f"once-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                make(folder)
                made.touch()
        return folder

    return make_once


@pytest.fixture(scope="session")
def hum_pack(
    tmp_path_factory: pytest.TempPathFactory, make_utterances: Callable[[Path], list[Utterance]]
) -> Pack:
    root = tmp_path_factory.mktemp("hum")
    return prepare(make_utterances(root / "audio"), root / "pack")[0]


@pytest.fixture(scope="session")
def hum_run(hum_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    from emospec.experiments.run import train

    train(hum_pack.folder, out, overrides=SHORT)
    return out


@pytest.fixture(scope="session")
def hum_model(
    once: Callable[[str, Callable[[Path], object]], Path],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Path:
    """The model of `hum_run` with its int8 graph. A process's first export takes torch a quarter of a minute."""
    from emospec.export.model_folder import export_model

    def make(folder: Path) -> None:
        export_model(
            request.getfixturevalue("hum_run"), folder, int8=request.getfixturevalue("hum_pack").folder
        )

    model = tmp_path_factory.mktemp("models") / "hum"
    shutil.copytree(once("hum", make), model)  # some tests change their copy
    return model


@pytest.fixture(scope="session")
def recognizer(hum_model: Path) -> Recognizer:
    return Recognizer(hum_model, threads=1)


@pytest.fixture(scope="module")
def server(hum_model: Path) -> Iterator["RunningServer"]:
    """A server of the hum model, for the tests of one module."""
    from served import served

    with served(hum_model) as running:
        yield running


@pytest.fixture
def client(server: "RunningServer") -> Iterator["httpx.Client"]:
    with server.client() as connected:
        yield connected
