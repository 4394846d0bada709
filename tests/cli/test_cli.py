"""The verbs from end to end on a tiny corpus: what they print, write and refuse."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from typer.testing import CliRunner

import emospec
from conftest import SHORT, error_of
from emospec.cli import app, run_command_line
from emospec.config import explain_preset, preset_names
from emospec.data.pack import Pack, prepare
from emospec.data.utterances import Utterance
from emospec.errors import EmospecError, WorkersError
from emospec.evaluation.metrics import unweighted_accuracy
from emospec.runs.record import read_run

SETS = [part for override in SHORT for part in ("--set", override)]
RUN_FILES = (
    "config.toml",
    "meta.json",
    "folds.csv",
    "history.csv",
    "predictions.csv",
    "features.npz",
    "scores.json",
)


def run(*arguments: object) -> dict[str, object] | list[dict[str, object]]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def two_runs(hum_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    run("train", hum_pack.folder, "--out", out / "center", *SETS)
    run("train", hum_pack.folder, "--out", out / "plain", *SETS, "--set", "loss.center_weight=0")
    return out


def test_presets_are_listed_and_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = CliRunner().invoke(app, ["presets"], catch_exceptions=False)
    assert listed.stdout.split() == preset_names()
    explained = CliRunner().invoke(app, ["presets", "dai2019-stft"], catch_exceptions=False)
    assert explained.stdout == explain_preset("dai2019-stft")
    assert "did you mean 'dai2019-mel'" in error_of(monkeypatch, capsys, "presets", "dai2019-ml")


def test_a_run_folder_is_whole_and_readable(two_runs: Path, hum_pack: Pack) -> None:
    folder = two_runs / "center"
    for name in (*RUN_FILES, "model/config.json", "model/model.safetensors", "checkpoint/state.safetensors"):
        assert (folder / name).is_file(), name
    record = read_run(folder)
    assert record.meta.protocol.name == "groups:3"
    assert record.meta.protocol.speaker_overlap is False
    assert record.meta.counts == {part: {"angry": 6, "sad": 6} for part in ("train", "dev", "test")}
    table = record.predictions()
    test = table[table["part"] == "test"]
    confusion = pd.crosstab(test["target"], test["predicted"]).reindex(
        index=record.classes, columns=record.classes, fill_value=0
    )
    assert record.scores.test.confusion == confusion.to_numpy().tolist()
    assert record.scores.test.ua == pytest.approx(unweighted_accuracy(confusion.to_numpy()))
    np.testing.assert_allclose(table[["p_angry", "p_sad"]].sum(axis=1), 1.0, atol=1e-5)
    features = record.features()
    assert features["z"].shape == (36, 64)
    assert sorted(features["utterance"]) == sorted(u.id for u in hum_pack.utterances)
    folds = pd.read_csv(folder / "folds.csv")
    assert set(folds[(folds["fold"] == 1) & (folds["part"] == "test")]["utterance"]) == set(test["utterance"])


def test_train_again_needs_resume_and_then_keeps_the_run(two_runs: Path, hum_pack: Pack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    before = (two_runs / "center" / "scores.json").stat().st_mtime_ns
    again = ("train", hum_pack.folder, "--out", two_runs / "center", *SETS)
    assert "--resume" in error_of(monkeypatch, capsys, *again)
    run(*again, "--resume")
    assert (two_runs / "center" / "scores.json").stat().st_mtime_ns == before
    assert "other settings" in error_of(
        monkeypatch, capsys, *again, "--resume", "--set", "loss.center_weight=3"
    )


@pytest.mark.full
def test_crossval_evaluate_and_report(hum_pack: Pack, tmp_path: Path) -> None:
    printed = run("crossval", hum_pack.folder, "--out", tmp_path / "cv", *SETS, "--jobs", 1)
    assert [path.name for path in sorted((tmp_path / "cv").iterdir())] == ["r0-f1", "r0-f2", "r0-f3"]
    setting = printed["settings"][0]
    confusion = sum(np.array(r.scores.test.confusion) for r in map(read_run, (tmp_path / "cv").iterdir()))
    assert setting["UA"] == pytest.approx(unweighted_accuracy(confusion))
    assert run("evaluate", tmp_path / "cv")["settings"] == printed["settings"]
    report = Path(str(run("report", tmp_path / "cv", "--out", tmp_path / "report")["report"]))
    assert f"{100 * setting['UA']:.1f}" in report.read_text(encoding="utf-8")


def test_python_and_the_command_line_give_the_same_numbers(
    two_runs: Path, hum_pack: Pack, tmp_path: Path
) -> None:
    trained = emospec.train(hum_pack.folder, tmp_path / "own", "dai2019-mel", SHORT)
    assert trained.scores == read_run(two_runs / "center").scores
    shown = run("evaluate", two_runs / "center")["settings"][0]
    assert shown["UA"] == trained.scores.test.ua


def test_both_spectrograms_train(hum_pack: Pack, tmp_path: Path) -> None:
    run("train", hum_pack.folder, "--out", tmp_path / "stft", "--preset", "dai2019-stft", *SETS)
    stft = read_run(tmp_path / "stft")
    assert stft.meta.parameters == 2_473_810
    assert stft.setting.startswith("dai2019-stft, λ 0.3, α 0.5, ")
    assert "training.batch_size=8" in stft.setting


@pytest.mark.full
def test_sweep_and_reproduce_share_runs_and_resume(hum_pack: Pack, tmp_path: Path) -> None:
    few = [*SETS, "--folds", 1, "--jobs", 1]
    printed = run(
        "sweep",
        hum_pack.folder,
        "--out",
        tmp_path / "s",
        "--key",
        "loss.center_weight",
        "--values",
        "0,3",
        *few,
    )
    assert [path.name for path in sorted((tmp_path / "s").iterdir())] == [
        "loss.center_weight=0",
        "loss.center_weight=3",
    ]
    assert [s["setting"].split(", training")[0].split(", loss")[0] for s in printed["settings"]] == [
        "dai2019-mel, λ 0",
        "dai2019-mel, λ 3, α 0.5",
    ]
    verb = ("reproduce", hum_pack.folder, "--out", tmp_path / "p", "--part", "mel", "--part", "lambda", *few)
    paper = run(*verb)
    assert len(paper["settings"]) == 5
    [choice] = paper["sweeps"]
    assert (choice["key"], choice["values"]) == ("loss.center_weight", ["0", "0.003", "0.03", "0.3", "3"])
    dev = dict(zip(choice["values"], choice["dev_UA"], strict=True))
    assert dev[choice["chosen"]] == max(choice["dev_UA"])
    assert choice["by_dev"]["runs"] == 1
    shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / "p")]).stdout
    assert f"sweep of λ on hum, groups:3: dev chooses {choice['chosen']} (dev UA %: 0 " in shown
    report = Path(str(paper["report"])).read_text(encoding="utf-8")
    assert "UA and WA over λ" in report
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("scores.json")}
    assert len(times) == 5
    assert run(*verb, "--resume")["settings"] == paper["settings"]
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("scores.json")}


def test_compare_two_runs(two_runs: Path) -> None:
    compared = run("compare", two_runs / "center", two_runs / "plain")
    center, plain = (read_run(two_runs / name).scores.test for name in ("center", "plain"))
    assert compared["UA"]["difference"] == pytest.approx(center.ua - plain.ua)
    assert (compared["UA"]["clusters"], compared["UA"]["p"]) == (2, None)
    assert "below 6 speakers no p can reach 0.05" in compared["UA"]["reason"]
    shown = CliRunner().invoke(app, ["compare", str(two_runs / "center"), str(two_runs / "plain")])
    assert "groups:3, speaker-independent" in shown.stdout
    assert f"{100 * (center.ua - plain.ua):+.1f}" in shown.stdout


def test_a_leak_is_shown_with_the_table(hum_pack: Pack, tmp_path: Path) -> None:
    sets = [*SETS[:-2], "--set", "data.protocol=dai2019"]
    other = ["--set", "loss.center_weight=0"]
    run("train", hum_pack.folder, "--out", tmp_path / "p", *sets, *other)
    result = CliRunner().invoke(
        app, ["train", str(hum_pack.folder), "--out", str(tmp_path / "r"), *sets], catch_exceptions=False
    )
    assert "speaker-DEPENDENT" in result.stdout
    [setting] = run("evaluate", tmp_path / "r")["settings"]
    [words] = setting["audit"]
    compared = run("compare", tmp_path / "r", tmp_path / "p")
    assert (compared["audit"], compared["speaker_overlap"]) == ([words], True)
    shown = CliRunner().invoke(app, ["compare", str(tmp_path / "r"), str(tmp_path / "p")])
    assert words.replace("audit: 1 leak: ", "leak: ") in shown.stdout
    shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / "r"), "--on", str(hum_pack.folder)])
    assert "speaker-DEPENDENT" in shown.stdout
    assert re.fullmatch(
        r"audit: 1 leak: speakers: (\d) of \1 test speakers are also in training.*by design of dai2019\)",
        words,
    )
    assert words.replace("audit: 1 leak: ", "leak: ") in result.stdout
    assert "all runs: loss.warmup_steps=4, training.batch_size=8" in result.stdout


def test_evaluate_on_another_pack(two_runs: Path, hum_pack: Pack, tmp_path: Path) -> None:
    scores = run("evaluate", two_runs / "center", "--on", hum_pack.folder, "--out", tmp_path / "p.csv")
    run_itself = read_run(two_runs / "center")
    # Its own pack holds what trained and selected it: only its own test set is new to it.
    assert (scores["utterances"], scores["left_out"]) == (12, 24)
    assert scores["UA"] == run_itself.scores.test.ua
    at_home = run_itself.predictions().set_index("utterance")
    there = pd.read_csv(tmp_path / "p.csv").set_index("utterance")
    assert len(there) == len(hum_pack)
    there = there.loc[at_home.index]
    assert there["part"].tolist() == at_home["part"].tolist()
    np.testing.assert_allclose(there["p_sad"], at_home["p_sad"], atol=1e-5)


def test_evaluate_on_a_pack_of_other_emotions_too(two_runs: Path, hum_pack: Pack, tmp_path: Path) -> None:
    new = set(
        read_run(two_runs / "center").predictions().query("part == 'test' and target == 'sad'")["utterance"]
    )
    renamed = [replace(u, emotion="bored") if u.id in new else u for u in hum_pack.utterances]
    prepare(renamed, tmp_path / "pack")
    verb = ["evaluate", str(two_runs / "center"), "--on", str(tmp_path / "pack")]
    scores = run(*verb)
    assert (scores["utterances"], scores["other_emotions"]) == (6, {"bored": 6})
    assert "as the model does not know them: bored 6" in CliRunner().invoke(app, verb).stdout


def test_prepare_own_csv_and_a_broken_file(tmp_path: Path, make_utterances: Callable[[Path], list[Utterance]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    rows = ["file,speaker,emotion"]
    rows += [f"audio/{u.file.name},{u.speaker},{u.label}" for u in make_utterances(tmp_path / "audio")]
    (tmp_path / "audio" / "broken.wav").write_text("no audio")
    (tmp_path / "own.csv").write_text("\n".join([*rows, "audio/broken.wav,s9,sad"]))
    verb = ("prepare", f"csv={tmp_path / 'own.csv'}", "--pack", tmp_path / "pack")
    message = error_of(monkeypatch, capsys, *verb)
    assert "1 of 37 recordings cannot be used" in message
    assert "broken.wav" in message
    assert not (tmp_path / "pack").exists()
    made = run(*verb, "--skip-bad")
    assert (made["made"], made["utterances"]) == (True, 36)
    assert "broken.wav" in made["skipped"][0]["reason"]
    assert run(*verb, "--skip-bad")["made"] is False


def test_corpora(tmp_path: Path) -> None:
    assert {"iemocap", "emodb", "ravdess", "crema_d", "nemo", "tess", "savee", "emovo", "csv", "folders"} <= {
        row["name"] for row in run("corpora")
    }
    (tmp_path / "wav").mkdir()
    soundfile.write(tmp_path / "wav" / "03a01Fa.wav", np.zeros(100), 16_000)
    result = CliRunner().invoke(app, ["corpora", "check", "emodb", str(tmp_path)])
    assert result.exit_code == 1
    assert "1 of 535 utterances" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "nowhere", "--out", "x"), "nowhere is not a pack"),
        (("train", "nowhere", "--out", "x", "--preset", "dai2019-mell"), "did you mean 'dai2019-mel'"),
        (
            ("train", "nowhere", "--out", "x", "--set", "loss.center_wieght=1"),
            "did you mean 'loss.center_weight'",
        ),
        (("prepare", "emodb", "--pack", "x"), "NAME=ROOT"),
        (("prepare", "emodbb=/", "--pack", "x"), "did you mean 'emodb'"),
        (("prepare", "emodb=/nowhere", "--pack", "x"), "/nowhere does not exist"),
        (("reproduce", "x", "--corpus", "emodb=/nowhere", "--out", "x"), "/nowhere does not exist"),
        (("reproduce", "nowhere", "--out", "x", "--part", "lamda"), "did you mean 'lambda'"),
        (("sweep", "nowhere", "--out", "x", "--key", "loss.center_weight", "--values", "1:0:1"), "is empty"),
        (("compare", "nowhere", "elsewhere"), "holds no finished run"),
        (("evaluate", "nowhere"), "holds no finished run"),
        (("predict",), "Missing argument 'FILE|FOLDER|-...'. `emospec predict --help` tells more"),
        (("predikt", "a.wav"), "No such command 'predikt'"),
        (("predict", "a.wav", "--abstain-below", "2"), "'--abstain-below': 2.0 is not in the range"),
        (("predict", "a.wav", "--abstain-below", "nan"), "nan is no number that can be used"),
        (("serve", "--max-seconds", "inf"), "inf is no number that can be used"),
        (("train", "nowhere", "--otu", "x"), "No such option: --otu"),
        (("evaluate", "nowhere", "--out", "x.csv"), "name it by --on PACK"),
        (("report", "nowhere", "--out", "x"), "holds no finished run"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert words in error_of(monkeypatch, capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_without_a_verb_the_help_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["emospec"])
    with pytest.raises(SystemExit) as stop:
        run_command_line()
    assert stop.value.code == 2
    shown = capsys.readouterr()
    assert "predict" in shown.out + shown.err


def test_a_fold_that_is_not_there(hum_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert "folds 1 to 3" in error_of(
        monkeypatch, capsys, "train", hum_pack.folder, "--out", tmp_path / "x", *SETS, "--fold", 4
    )
    assert not (tmp_path / "x").exists()


def test_failed_runs_are_named_and_the_others_go_on(hum_pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "r0-f2").mkdir()
    (tmp_path / "r0-f2" / "checkpoint").mkdir()
    (tmp_path / "r0-f2" / "checkpoint" / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(
        EmospecError, match=r"1 of 3 runs failed; --resume repeats them. The first, .*r0-f2: .* damaged"
    ):
        emospec.crossval(hum_pack.folder, tmp_path, "dai2019-mel", SHORT, jobs=1, resume=True)
    assert (tmp_path / "r0-f3" / "scores.json").is_file()


def test_output_that_finds_no_room_is_one_line() -> None:
    for verb in (["corpora"], ["presets", "demo"], ["corpora", "--json"]):
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-m", "emospec", *verb]
            ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert (ended.returncode, ended.stderr) == (2, "emospec: the output: No space left on device\n")


def test_help_has_an_example_for_every_verb() -> None:
    for verb in (
        "demo",
        "corpora",
        "prepare",
        "train",
        "crossval",
        "sweep",
        "reproduce",
        "evaluate",
        "compare",
        "report",
    ):
        result = CliRunner().invoke(app, [verb, "--help"])
        assert result.exit_code == 0
        assert f"Example: emospec {verb}" in result.stdout


def test_prepare_needs_no_training_extra(
    tmp_path: Path, make_utterances: Callable[[Path], list[Utterance]]
) -> None:
    rows = [f"audio/{u.file.name},{u.speaker},{u.label}" for u in make_utterances(tmp_path / "audio")]
    (tmp_path / "own.csv").write_text("\n".join(["file,speaker,emotion", *rows]))
    program = (
        "import sys\n"
        "for name in ('torch', 'pandas', 'joblib', 'scipy'): sys.modules[name] = None\n"
        f"sys.argv = ['emospec', 'prepare', 'csv={tmp_path / 'own.csv'}', '--pack', {str(tmp_path / 'pack')!r}]\n"
        "from emospec.cli import run_command_line; run_command_line()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert len(Pack(tmp_path / "pack")) == 36


def test_models_are_listed_without_the_training_extra() -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'pandas', 'joblib', 'scipy', 'markupsafe'): sys.modules[name] = None\n"
        "sys.argv = ['emospec', 'models']\n"
        "from emospec.cli import run_command_line; run_command_line()"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "learned from" in ended.stdout


def test_without_the_training_extra_the_verbs_say_how_to_get_it(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'pandas', 'joblib'): sys.modules[name] = None\n"
        f"sys.argv = ['emospec', 'evaluate', {str(tmp_path)!r}]\n"
        "from emospec.cli import run_command_line; run_command_line()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install '.[train]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "verb",
    [["crossval"], ["sweep", "--key", "loss.center_weight", "--values", "0,1"], ["reproduce"]],
    ids=str,
)
def test_a_cluster_that_is_not_there_is_refused_before_anything_is_trained(
    verb: list[str], hum_pack: Pack, tmp_path: Path
) -> None:
    asked = [verb[0], str(hum_pack.folder), "--out", str(tmp_path / "out"), *verb[1:], *SETS]
    refused = CliRunner().invoke(app, [*asked, "--cluster", "nonsense://127.0.0.1:1"])
    assert isinstance(refused.exception, WorkersError)
    assert "is not the address of a Dask scheduler" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    both = CliRunner().invoke(app, [*asked, "--cluster", "tcp://127.0.0.1:1", "--jobs", "2"])
    assert isinstance(both.exception, WorkersError)
    assert "Name one" in str(both.exception)
