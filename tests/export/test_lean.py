"""A plain `pip install emospec`, without extras: a model works, without torch, and little is installed."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import soundfile

from conftest import tone
from emospec.inference.recognizer import Recognizer

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 230e6

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's programs."""
    folder = tmp_path_factory.mktemp("lean") / "venv"
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    source = (
        folder.parent / "source"
    )  # a build leaves what it made beside its source, for the next one to find
    shutil.copytree(ROOT / "emospec", source / "emospec")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(source)], check=True)
    return folder / "bin"


def ask(lean: Path, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(lean / "emospec"), *map(str, arguments)], input=stdin, capture_output=True, cwd=lean
    )


def test_every_verb_of_use_works_without_torch(
    lean: Path, hum_model: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, tone(880, 4.0), 16_000, subtype="FLOAT")
    expected = recognizer.predict(file)

    result = ask(lean, "predict", file, "--model", hum_model, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)[0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    result = ask(lean, "predict", file, "--json")
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(b"model base: neutral, happy, angry, sad; learned from ")
    assert json.loads(result.stdout)[0]["emotion"] in ("neutral", "happy", "angry", "sad")
    result = ask(lean, "predict", "-", "--model", hum_model, "--int8", stdin=file.read_bytes())
    assert result.returncode == 0, result.stderr
    result = ask(lean, "embed", file, "--model", hum_model, "--out", tmp_path / "z.npz")
    assert result.returncode == 0, result.stderr
    for more in ([], ["--speech"]):
        result = ask(lean, "timeline", file, "--model", hum_model, "--format", "json", *more)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["duration_seconds"] == 4.0


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(["listen"], "mic"), (["timeline", "a.wav", "--plot", "a.png"], "plot"), (["export", "run", "--out", "m"], "train"),
     (["train", "pack", "--out", "run"], "train"), (["serve"], "serve"),
     (["score", ".", "--out", "r"], "score")],
)  # fmt: skip
def test_what_needs_an_extra_says_so(
    lean: Path, hum_model: Path, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    soundfile.write(lean / "a.wav", tone(880, 1.0), 16_000)
    model = ["--model", hum_model] if arguments[0] in ("listen", "timeline", "serve") else []
    result = ask(lean, *arguments, *model)
    assert result.returncode == 2
    assert f"pip install '.[{extra}]'".encode() in result.stderr
    assert result.stderr.count(b"\n") == 1


def test_there_is_no_torch_and_it_is_small(lean: Path) -> None:
    code = "import importlib.util as u; print([n for n in ('torch', 'pandas', 'scipy', 'onnx') if u.find_spec(n)])"
    result = subprocess.run([str(lean / "python"), "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
    site = lean.parent / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    mine = [
        p
        for p in site.rglob("*")
        if p.is_file() and p.relative_to(site).parts[0] not in ("pip", "setuptools")
    ]
    assert sum(p.stat().st_size for p in mine) < LARGEST_BYTES
