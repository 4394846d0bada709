"""A model at work: what it says of a recording alone is what it says in any company, and what the network says."""

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
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from typer.testing import CliRunner

import emospec
from conftest import SHORT, tone
from emospec.audio.reader import read_audio
from emospec.audio.samples import from_samples
from emospec.cli import app
from emospec.data.pack import Pack
from emospec.errors import AudioError, EmospecError, ModelError, RunError, TimelineError
from emospec.evaluation.statistics import Interval
from emospec.evaluation.summary import summarise
from emospec.export.model_folder import export_model
from emospec.inference import model as module
from emospec.inference.model import Class, load_model
from emospec.inference.quality import quality_warnings
from emospec.inference.recognizer import Failure, Prediction, Recognizer
from emospec.inference.streaming import Timing
from emospec.learning.learner import Learner
from emospec.report import card
from emospec.report.words import percent
from emospec.runs.record import read_run
from fake_runs import changed


@pytest.fixture(scope="module")
def files(hum_pack: Pack) -> list[Path]:
    return [u.file for u in hum_pack.utterances]


def test_it_says_what_the_network_says(recognizer: Recognizer, hum_run: Path, files: list[Path]) -> None:
    learner = Learner.load(hum_run / "model")
    temperature = recognizer.model.temperature
    for file in files[:6]:
        waveform = torch.from_numpy(read_audio(file))
        z, probabilities = learner.listen(waveform[None], torch.tensor([len(waveform)]))
        expected = (probabilities[0].log() / temperature).softmax(0)
        said = recognizer.predict(file)
        np.testing.assert_allclose(list(said.probabilities.values()), expected, atol=1e-4)
        np.testing.assert_allclose(said.z, z[0], atol=1e-4)
        assert said.emotion == learner.classes[int(expected.argmax())]
        assert said.confidence == pytest.approx(float(expected.max()), abs=1e-4)
        assert said.span == (0.0, said.seconds)


def test_alone_in_a_list_and_shuffled_are_the_same(recognizer: Recognizer, files: list[Path]) -> None:
    alone = [recognizer.predict(file) for file in files[:12]]
    order = np.random.default_rng(0).permutation(12)
    together = recognizer.predict([files[i] for i in order])
    for place, found in zip(order, together, strict=True):
        assert isinstance(found, Prediction)
        assert found.recording == alone[place].recording
        np.testing.assert_allclose(found.z, alone[place].z, atol=1e-5)
        assert found.probabilities == pytest.approx(alone[place].probabilities, abs=1e-5)


def test_bytes_and_samples_are_heard_as_their_file_is(recognizer: Recognizer, tmp_path: Path) -> None:
    stereo = (np.stack([tone(400, 1.0, 48_000), tone(900, 1.0, 48_000)], axis=1) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", stereo, 48_000)
    said = recognizer.predict(tmp_path / "a.wav")
    for other in (
        recognizer.predict((tmp_path / "a.wav").read_bytes()),
        recognizer.predict(stereo, 48_000),
        recognizer.predict(stereo / 32768, 48_000),
    ):
        assert other.probabilities == pytest.approx(said.probabilities, abs=1e-6)
    with pytest.raises(AudioError, match="sample_rate"):
        recognizer.predict(stereo)
    with pytest.raises(AudioError, match="complex64"):
        recognizer.predict(stereo.astype(np.complex64), 48_000)


def test_a_bad_recording_does_not_stop_the_others(
    recognizer: Recognizer, files: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not audio")
    first, second, third = recognizer.predict([files[0], bad, files[1]])
    assert isinstance(first, Prediction)
    assert isinstance(third, Prediction)
    assert isinstance(second, Failure)
    assert second.recording == str(bad)
    assert "cannot be decoded" in second.error
    assert np.isnan(recognizer.embed([files[0], bad])[1]).all()
    assert recognizer.embed([]).shape == (0, 64)
    with pytest.raises(AudioError, match="cannot be decoded"):
        recognizer.predict(bad)


@pytest.mark.parametrize("seconds", [20.0, 100.0])
def test_of_a_long_recording_the_central_part_is_judged(
    recognizer: Recognizer, seconds: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    waveform = rng.normal(0, 0.01, int(seconds * 16_000)).astype(np.float32)
    waveform[len(waveform) // 2 :][:32_000] += tone(500, 2.0)
    soundfile.write(tmp_path / "long.wav", waveform, 16_000, subtype="FLOAT")
    said = recognizer.predict(tmp_path / "long.wav")
    assert said.seconds == seconds
    assert said.span[1] - said.span[0] == pytest.approx(14.0)
    assert sum(said.span) / 2 == pytest.approx(seconds / 2, abs=0.02)
    assert any("central part" in words and "timeline" in words for words in said.warnings)
    whole, _ = recognizer.score([waveform])
    np.testing.assert_allclose(list(said.probabilities.values()), whole[0], atol=1e-5)
    assert recognizer.predict(waveform, 16_000).span == said.span


def test_abstaining(recognizer: Recognizer, files: list[Path]) -> None:
    file = min(files, key=lambda one: recognizer.predict(one).confidence)
    said = recognizer.predict(file)
    assert recognizer.predict(file, abstain_below=said.confidence + 1e-6).emotion is None
    assert recognizer.predict(file, abstain_below=said.confidence - 1e-6).emotion == said.emotion
    for beyond in (1.1, -0.1, float("nan")):
        for asked in (files[0], files[:2]):
            with pytest.raises(ModelError, match=f"abstain_below is {beyond:g}: choose 0"):
                recognizer.predict(asked, abstain_below=beyond)


def test_windows_too_short_to_split_speech_by(recognizer: Recognizer) -> None:
    heard = tone(300, 2.0)
    with pytest.raises(TimelineError, match=r"a window of 0\.1 s is too short to split long speech by"):
        recognizer.timeline(heard, 16_000, timing=Timing(0.1, 0.1), speech=True)
    recognizer.timeline(heard, 16_000, timing=Timing(0.2, 0.2), speech=True)


@pytest.mark.parametrize("verb", ["timeline", "embed"])
def test_a_recording_is_not_written_over(
    verb: str, files: list[Path], hum_model: Path, tmp_path: Path
) -> None:
    recording = tmp_path / "folder" / "a.wav"
    recording.parent.mkdir()
    recording.write_bytes(files[0].read_bytes())
    (tmp_path / "link.wav").symlink_to(recording)
    named = recording if verb == "timeline" else recording.parent
    asked = [verb, str(named), "--out", str(tmp_path / "link.wav"), "--model", str(hum_model)]
    with pytest.raises(EmospecError, match=r"link\.wav is the recording itself\. Name another file"):
        CliRunner().invoke(app, asked, catch_exceptions=False)
    assert recording.read_bytes() == files[0].read_bytes()


def test_typicality_is_the_share_of_dev_that_lies_farther(
    recognizer: Recognizer, hum_run: Path, files: list[Path]
) -> None:
    features = read_run(hum_run).features()
    for file in files[:6]:
        said = recognizer.predict(file)
        assert said.emotion is not None
        own = features["label"] == said.emotion
        center = features["z"][own & (features["part"] == "train")].mean(axis=0)
        dev = features["z"][own & (features["part"] == "dev")]
        farther = [np.linalg.norm(z - center) >= np.linalg.norm(said.z - center) - 1e-6 for z in dev]
        assert said.typicality == pytest.approx(np.mean(farther), abs=1.01 / len(dev))


def test_a_class_by_example(hum_model: Path, tmp_path: Path) -> None:
    recognizer = Recognizer(hum_model, threads=1)
    clips = [tone(hz, 0.7, level=0.2) for hz in (2900, 3000, 3100)]
    recognizer.enroll("whistling", clips, 16_000)
    said = recognizer.predict(tone(3050, 0.6), 16_000)
    centers = {c.name: c.center for c in recognizer.model.classes}
    nearest = min(centers, key=lambda name: np.linalg.norm(said.z - centers[name]))
    assert said.emotion == nearest == "whistling"
    assert sum(said.probabilities.values()) == pytest.approx(1.0)
    assert list(said.probabilities) == [*load_model(hum_model).names, "whistling"]

    recognizer.model.save(str(tmp_path / "more"))
    assert {p.name for p in tmp_path.iterdir()} == {"more"}
    with pytest.raises(ModelError, match="exists"):
        recognizer.model.save(tmp_path / "more")
    again = Recognizer(tmp_path / "more", threads=1)
    assert again.predict(tone(3050, 0.6), 16_000).probabilities == pytest.approx(said.probabilities)
    again.enroll("humming", [tone(700, 0.6)], 16_000)
    again.model.save(tmp_path / "more")
    assert load_model(tmp_path / "more").names == again.model.names
    assert again.predict(tone(700, 0.6), 16_000).typicality is None
    assert not load_model(hum_model).has_enrolled
    with pytest.raises(ModelError, match="was trained on"):
        recognizer.enroll("angry", clips, 16_000)
    with pytest.raises(ModelError, match="at least one recording"):
        recognizer.enroll("bored", [])


@pytest.mark.parametrize("speech", [False, True])
def test_a_class_that_is_added_meanwhile_waits(
    hum_model: Path, speech: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another thread of a server may add it, between the scores of a recording and their names."""
    recognizer = Recognizer(hum_model, threads=1)
    score = recognizer.score

    def enrolling(*arguments: Any) -> Any:
        scored = score(*arguments)
        added = Class("whistling", np.zeros(64), np.zeros(0), examples=1)
        recognizer.model = recognizer.model.with_class(added)
        return scored

    monkeypatch.setattr(recognizer, "score", enrolling)
    monkeypatch.setattr(
        "emospec.inference.recognizer.speech_stretches",
        lambda blocks: [(0.0, sum(map(len, blocks)) / 32_000)],
    )
    assert set(recognizer.predict(tone(300, 1.0), 16_000).probabilities) == {"angry", "sad"}
    recognizer.model = load_model(hum_model)
    assert recognizer.timeline(tone(300, 9.0), 16_000, speech=speech).classes == ("angry", "sad")


def test_int8_says_nearly_the_same(hum_model: Path, recognizer: Recognizer, files: list[Path]) -> None:
    rounded = Recognizer(hum_model, int8=True, threads=1)
    for file in files[:6]:
        assert rounded.predict(file).probabilities == pytest.approx(
            recognizer.predict(file).probabilities, abs=0.1
        )


def warned(waveform: np.ndarray[tuple[int], np.dtype[np.float32]], usual: float = 5.0) -> str:
    seconds = len(waveform) / 16_000
    return "; ".join(quality_warnings(waveform, seconds, (0.0, seconds), usual))


def test_warnings() -> None:
    speechlike = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    assert warned(speechlike) == ""
    assert "nearly silent: its peak is -200 dB" in warned(np.zeros(16_000, np.float32))
    assert "clipped" in warned(np.clip(20 * speechlike, -1, 1))
    loud = np.clip(np.random.default_rng(0).normal(0, 1, 88_200), -1, 1)
    assert "clipped" in warned(from_samples(loud, 44_100))
    assert "telephone" in warned(tone(1000, 1.0))
    assert "too short: 0.30 s" in warned(speechlike[:4800])
    assert "far longer than training: 12.0 s" in warned(np.tile(speechlike, 6), usual=4.0)


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
def test_exported_in_16_bits_it_says_nearly_the_same(
    hum_model: Path, recognizer: Recognizer, hum_run: Path, hum_pack: Pack, files: list[Path], tmp_path: Path
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("Fails on ferries.\n", encoding="utf-8")
    asked = ["export", hum_run, "--out", tmp_path / "half", "--int8", hum_pack.folder, "--float16"]
    asked += ["--notes", notes]
    told = CliRunner().invoke(app, [*map(str, asked)], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert "float16: probabilities of noise move by at most" in told.output
    assert "Fails on ferries." in (tmp_path / "half" / "README.md").read_text(encoding="utf-8")
    for graph, exact in (("model.onnx", recognizer), ("model.int8.onnx", Recognizer(hum_model, int8=True))):
        assert (tmp_path / "half" / graph).stat().st_size < 0.7 * (hum_model / graph).stat().st_size
        half = Recognizer(tmp_path / "half", int8="int8" in graph, threads=1)
        for file in files[:6]:
            expected, said = exact.predict(file), half.predict(file)
            assert said.emotion == expected.emotion
            np.testing.assert_allclose(
                list(said.probabilities.values()), list(expected.probabilities.values()), atol=2e-3
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
    judged = facts["model-index"][0]["results"][0]
    assert "speaker-independent" in judged["dataset"]["name"]
    assert [m["type"] for m in judged["metrics"]] == ["recall", "accuracy"]
    assert "must not be used to judge" in text


@pytest.mark.full
def test_the_card_tells_a_cross_validation_of_its_recipe(
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
    assert f"runs, speaker-independent | {percent(whole.ua)} (no interval: " in text
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


def test_the_card_tells_intervals_in_percent() -> None:
    told = card._row("x", {"UA": Interval(0.5, 0.25, 0.75, 4, "speakers")})
    assert told == "| x | 50.0\u00a0% [25.0, 75.0] |  |"


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
    said = [
        CliRunner().invoke(app, ["predict", str(files[0]), "--json", *named], catch_exceptions=False)
        for named in ([], ["--model", "all"])
    ]
    assert said[0].stdout == said[1].stdout
    assert said[1].stderr == ""
    assert said[0].stderr == (
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

    said = ask(Hub.commit)
    assert said.stdout, said.stderr
    assert float(said.stdout) == pytest.approx(recognizer.predict(files[0]).confidence, abs=1e-5), said.stderr
    assert "ModelError" in ask("f" * 40).stderr
    server.shutdown()
    server.server_close()
    again = ask(Hub.commit)
    assert again.stdout == said.stdout, again.stderr


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
    with pytest.raises(ModelError, match="is a run"):
        load_model(hum_run)
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


def test_the_command_line_says_the_same(
    hum_model: Path, recognizer: Recognizer, files: list[Path], tmp_path: Path
) -> None:
    for file in files[:3]:
        shutil.copy(file, tmp_path)
    expected = {str(tmp_path / f.name): recognizer.predict(f) for f in files[:3]}
    told = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(hum_model), "--json"])
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)
    assert [row["recording"] for row in rows] == sorted(expected)
    for row in rows:
        assert row["probabilities"] == pytest.approx(expected[row["recording"]].probabilities, abs=1e-5)

    (tmp_path / "bad.wav").write_bytes(b"no")
    told = CliRunner().invoke(app, ["predict", str(tmp_path), "--model", str(hum_model), "--csv"])
    assert told.exit_code == 1
    head, *lines = told.stdout.splitlines()
    assert head == "recording,emotion,confidence,typicality,seconds,start,end,p_angry,p_sad,warnings,error"
    assert len(lines) == 4
    assert "bad.wav: cannot be decoded" in told.stderr

    content = files[0].read_bytes()
    told = CliRunner().invoke(app, ["predict", "-", "--model", str(hum_model)], input=content)
    assert told.exit_code == 0
    assert "stdin" in told.stdout
    told = CliRunner().invoke(app, ["predict", str(tmp_path / "bad.wav"), "--model", str(hum_model)])
    assert told.exit_code == 2

    out = tmp_path / "z.npz"
    told = CliRunner().invoke(app, ["embed", str(files[0]), "--out", str(out), "--model", str(hum_model)])
    assert told.exit_code == 0
    with np.load(out, allow_pickle=False) as stored:
        np.testing.assert_allclose(stored["z"][0], recognizer.predict(files[0]).z, atol=1e-5)
