"""The model folder: its contents, its sources, and what is refused."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import emospec
from conftest import SHORT, error_of
from emospec.cli import app
from emospec.data.pack import Pack
from emospec.errors import ModelError, RunError
from emospec.evaluation.statistics import Interval
from emospec.evaluation.summary import summarise
from emospec.export.model_folder import export_model
from emospec.inference import model as module
from emospec.inference.model import load_model
from emospec.inference.recognizer import Recognizer
from emospec.report import card
from emospec.report.words import percent_sign
from emospec.runs.record import read_run
from fake_runs import changed


@pytest.fixture(scope="module")
def files(hum_pack: Pack) -> list[Path]:
    return [u.file for u in hum_pack.utterances]


@pytest.fixture
def copied(hum_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hum_model, tmp_path / "copy"))


def test_the_folder_says_what_it_is(hum_model: Path, hum_run: Path) -> None:
    config = json.loads((hum_model / "config.json").read_text(encoding="utf-8"))
    assert [c["name"] for c in config["classes"]] == list(read_run(hum_run).classes)
    for name, expected in config["sha256"].items():
        assert hashlib.sha256((hum_model / name).read_bytes()).hexdigest() == expected
    assert set(config["sha256"]) == {"model.int8.onnx", "model.onnx", "model.safetensors"}
    assert config["training"]["protocol"]["hash"] == read_run(hum_run).meta.protocol.hash
    plane = load_model(hum_model).plane
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-6)
    features = read_run(hum_run).features()
    np.testing.assert_allclose(
        plane.project(features["z"][features["part"] == "train"]).mean(axis=0), 0.0, atol=1e-4
    )


@pytest.mark.full
def test_exported_in_16_bits_it_predicts_nearly_the_same(
    hum_model: Path, recognizer: Recognizer, hum_run: Path, hum_pack: Pack, files: list[Path], tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("Fails on ferries.\n", encoding="utf-8")
    arguments = ["export", hum_run, "--out", tmp_path / "half", "--int8", hum_pack.folder, "--float16"]
    arguments += ["--notes", notes]
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "float16: probabilities of noise move by at most" in result.output
    assert "Fails on ferries." in (tmp_path / "half" / "README.md").read_text(encoding="utf-8")
    for graph, exact in (("model.onnx", recognizer), ("model.int8.onnx", Recognizer(hum_model, int8=True))):
        assert (tmp_path / "half" / graph).stat().st_size < 0.7 * (hum_model / graph).stat().st_size
        half = Recognizer(tmp_path / "half", int8="int8" in graph, threads=1)
        for file in files[:6]:
            expected, prediction = exact.predict(file), half.predict(file)
            assert prediction.emotion == expected.emotion
            np.testing.assert_allclose(
                list(prediction.probabilities.values()), list(expected.probabilities.values()), atol=2e-3
            )


def test_a_model_that_is_for_reading_only_can_be_saved_elsewhere(copied: Path, tmp_path: Path) -> None:
    os.chmod(copied, 0o555)
    load_model(copied).save(tmp_path / "own")
    assert os.stat(tmp_path / "own").st_mode & 0o700 == 0o700
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    os.chmod(copied, 0o755)


def test_the_card_is_one_that_the_hub_reads(hum_model: Path) -> None:
    _, header, text = (hum_model / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(header)
    assert facts["library_name"] == "emospec"
    assert (facts["license"], facts["license_name"]) == ("other", "not stated")
    results = facts["model-index"][0]["results"][0]
    assert "speaker-independent" in results["dataset"]["name"]
    assert [m["type"] for m in results["metrics"]] == ["recall", "accuracy"]
    assert "must not be used to judge" in text


@pytest.mark.full
def test_the_card_gives_a_cross_validation_of_its_recipe(
    hum_run: Path, hum_pack: Pack, tmp_path: Path
) -> None:
    runs = emospec.crossval(hum_pack.folder, tmp_path / "runs", overrides=SHORT, jobs=1)
    whole = summarise(runs)
    made = export_model(hum_run, tmp_path / "model", crossval=tmp_path / "runs", notes="Fails on trains.")
    assert made.about["crossval"] == {
        "protocol": whole.runs[0].meta.protocol.name,
        "speaker_overlap": False,
        "UA": {"all": [whole.ua, None, None]},
    }
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert f"runs, speaker-independent | {percent_sign(whole.ua)} (no interval: " in text
    rows = [line for line in text.splitlines() if line.startswith(("| angry |", "| sad |"))]
    assert rows == [
        f"| {name} | {' | '.join(map(str, row))} |"
        for name, row in zip(whole.classes, whole.confusion, strict=True)
    ]
    assert "Fails on trains.\n\nIt always answers" in text
    assert yaml.safe_load(text.split("---\n", 2)[1])["model-index"][0]["results"][0]["metrics"][0][
        "value"
    ] == pytest.approx(whole.ua, abs=1e-4)
    shutil.copytree(tmp_path / "runs", tmp_path / "other")
    for config in (tmp_path / "other").glob("*/config.toml"):
        content = config.read_text(encoding="utf-8")
        assert "center_weight = 0.3\n" in content
        config.write_text(content.replace("center_weight = 0.3\n", "center_weight = 0.0\n"), encoding="utf-8")
    with pytest.raises(RunError, match="the cross-validation is of dai2019-mel, λ 0"):
        export_model(hum_run, tmp_path / "no", crossval=tmp_path / "other")
    elsewhere = [dataclasses.replace(r, meta=changed(r.meta, corpora=[{"name": "ravdess"}])) for r in runs]
    with pytest.raises(RunError, match=r"the cross-validation is of ravdess, .* learned from hum"):
        card.model_card(read_run(hum_run), summarise(elsewhere))
    assert not (tmp_path / "no").exists()


def test_the_card_names_the_corpora_of_the_run_that_the_weights_come_from(hum_run: Path) -> None:
    run = read_run(hum_run)
    before = changed(run.meta.corpora[0], name="ravdess", title="RAVDESS", licence="CC BY-NC-SA 4.0")
    later = dataclasses.replace(run, meta=changed(run.meta, earlier_corpora=[before, *run.meta.corpora]))
    assert [c.name for c in later.learned_from] == ["hum", "ravdess"]
    _, header, text = card.model_card(later).split("---\n", 2)
    assert yaml.safe_load(header)["license_name"] == "not stated; CC BY-NC-SA 4.0"
    assert "- RAVDESS: 36 utterances of 6 speakers. Licence: CC BY-NC-SA 4.0." in text


def test_the_card_gives_intervals_in_percent() -> None:
    result = card._score_row("x", {"UA": Interval(0.5, 0.25, 0.75, 4, "speakers")})
    assert result == "| x | 50.0\u00a0% [25.0, 75.0] |  |"


def test_the_models_in_the_box(
    hum_model: Path, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default one is taken where none is named, and says so."""
    shutil.copytree(hum_model, tmp_path / "box" / "all")
    base = shutil.copytree(hum_model, tmp_path / "box" / "base")
    monkeypatch.setattr(module, "_home", lambda: tmp_path / "box")
    assert module.bundled() == ("base", "all")
    assert load_model("base").folder == base
    with pytest.raises(ModelError, match="there is no model 'bass', did you mean 'base'"):
        load_model("bass")
    runs = [
        CliRunner().invoke(app, ["predict", str(files[0]), "--json", *named], catch_exceptions=False)
        for named in ([], ["--model", "all"])
    ]
    assert runs[0].stdout == runs[1].stdout
    assert runs[1].stderr == ""
    assert runs[0].stderr == (
        "model base: angry, sad; learned from hum; licence of its weights: not stated. "
        "`emospec models` tells more, --model names another\n"
    )
    listed = CliRunner().invoke(app, ["models"], catch_exceptions=False).stdout
    assert "base: angry, sad" in listed
    assert "36 utterances of 6 speakers" in listed
    facts = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)["models"]
    assert [f["name"] for f in facts] == ["base", "all"]
    assert facts[0]["licences"] == ["not stated"]


def test_the_model_that_comes_along_says_what_it_is() -> None:
    model = load_model(module.DEFAULT)
    assert module.bundled() == (module.DEFAULT,)
    assert model.names == ("neutral", "happy", "angry", "sad")
    assert (model.folder / "model.onnx").stat().st_size < 3e6
    assert {c["name"] for c in model.about["training"]["corpora"]} == {"emodb", "ravdess", "nemo", "crema_d"}
    text = (model.folder / "README.md").read_text(encoding="utf-8")
    for licence in model.licences:
        assert licence in text
    assert model.about["crossval"]["protocol"] == "groups:5"
    assert not model.about["crossval"]["speaker_overlap"]
    assert model.terms.endswith("(so: not for commercial use)")


class Hub(BaseHTTPRequestHandler):
    """As much of Hugging Face as `snapshot_download` asks for: one repository at one commit."""

    commit = "0123456789abcdef0123456789abcdef01234567"
    folder: Path

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        names = sorted(p.name for p in self.folder.iterdir())
        if path == f"/api/models/someone/hum/revision/{self.commit}":
            siblings = [{"rfilename": name} for name in names]
            facts = {"id": "someone/hum", "sha": self.commit, "siblings": siblings}
            self._send(json.dumps(facts).encode())
        elif path == f"/api/models/someone/hum/tree/{self.commit}":
            tree = [
                {"type": "file", "path": name, "size": (self.folder / name).stat().st_size, "oid": "0" * 40}
                for name in names
            ]
            self._send(json.dumps(tree).encode())
        elif path.startswith(f"/someone/hum/resolve/{self.commit}/") and path.rsplit("/", 1)[1] in names:
            self._send((self.folder / path.rsplit("/", 1)[1]).read_bytes())
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.full
def test_a_model_from_the_hub(
    hum_model: Path, recognizer: Recognizer, files: list[Path], tmp_path: Path
) -> None:
    """In a process of its own: the address of the hub is read once, when its library is imported."""
    Hub.folder = hum_model
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = (
        "import sys; from emospec.inference.recognizer import Recognizer\n"
        "print(Recognizer(sys.argv[1], threads=1).predict(sys.argv[2]).confidence)"
    )
    home = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
    }

    def ask(revision: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, f"hf:someone/hum@{revision}", str(files[0])],
            env=os.environ | home, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    prediction = ask(Hub.commit)
    assert prediction.stdout, prediction.stderr
    assert float(prediction.stdout) == pytest.approx(recognizer.predict(files[0]).confidence, abs=1e-5), (
        prediction.stderr
    )
    assert "ModelError" in ask("f" * 40).stderr
    server.shutdown()
    server.server_close()
    again = ask(Hub.commit)
    assert again.stdout == prediction.stdout, again.stderr


def test_a_damaged_model_is_refused(copied: Path, hum_run: Path, tmp_path: Path) -> None:
    content = bytearray((copied / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="checksum"):
        Recognizer(copied)
    (copied / "model.int8.onnx").unlink()
    with pytest.raises(ModelError, match=r"has no model\.int8\.onnx"):
        Recognizer(copied, int8=True)
    (copied / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="format None"):
        load_model(copied)
    with pytest.raises(ModelError, match="by a folder or a name, found int"):
        Recognizer(5)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="there is no model 'nowhere'"):
        load_model("nowhere")
    with pytest.raises(ModelError, match="is not a model"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="names no revision"):
        load_model("hf:someone/something")
    with pytest.raises(ModelError, match="exists"):
        export_model(hum_run, copied)


def test_a_run_of_an_earlier_version_is_not_exported(hum_run: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(hum_run, tmp_path / "old"))
    meta = json.loads((old / "meta.json").read_text(encoding="utf-8"))
    del meta["usual_seconds"]
    (old / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(RunError, match="did not note 'usual_seconds'"):
        export_model(old, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("part", ["", "model"])
def test_a_run_is_refused_with_the_command_that_exports_it(
    part: str,
    hum_run: Path,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = hum_run / part
    words = f"{folder} is a run, not a model. `emospec export {hum_run} --out MODEL` makes one of it"
    with pytest.raises(ModelError) as caught:
        Recognizer(folder)
    assert str(caught.value) == words
    for command in (["predict", files[0]], ["score", files[0].parent, "--out", hum_run / "no"], ["serve"]):
        if command[0] == "serve":
            pytest.importorskip("fastapi")
        printed = error_of(monkeypatch, capsys, *command, "--model", folder)
        assert printed == f"emospec: {words}"
    assert not (hum_run / "no").exists()
