"""All verbs alike: --json, help that names what can be named, examples that can be typed, completion, near hints."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from emospec.cli import app, run_command_line
from emospec.config import load_settings, preset_names
from emospec.data.corpora import CORPORA
from emospec.errors import ConfigError, did_you_mean
from emospec.inference.formats import FORMATS

WITHOUT_JSON = {"serve": "it answers in JSON itself"}


def verbs(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb and verb of a verb, by its words."""
    command = command or get_command(app)
    if name:
        yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from verbs(inner, f"{name} {word}".strip())


def test_every_verb_has_json() -> None:
    by_name = dict(verbs())
    assert {"presets", "corpora check", "embed", "timeline", "score", "listen"} <= set(by_name)
    lacking = {name for name, verb in by_name.items() if not any("--json" in p.opts for p in verb.params)}
    assert lacking == set(WITHOUT_JSON)


PANELS = {"Recordings", "Training", "Results", "Models"}


def test_every_verb_stands_in_one_of_four_panels() -> None:
    panels = {name: verb.rich_help_panel for name, verb in verbs() if " " not in name}
    assert set(panels.values()) == PANELS
    assert {name for name, panel in panels.items() if panel == "Results"} == {"evaluate", "compare", "report"}


def help_of(verb: str, parameter: str) -> str:
    return next(p.help for p in dict(verbs())[verb].params if p.name == parameter)


def test_help_names_what_can_be_named() -> None:
    for verb in ("train", "crossval", "sweep"):
        assert all(name in help_of(verb, "preset") for name in preset_names())
    for verb in ("predict", "timeline", "embed", "score", "listen", "serve"):
        assert "[default: base" in help_of(verb, "model")
    assert all(word in help_of("prepare", "corpora") for word in ("csv=", "folders=", "csv:NAME="))
    assert all(name in help_of("timeline", "forms") for name in FORMATS)


@pytest.mark.parametrize(
    ("name", "verb"), list(verbs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_example_of_a_verb_can_be_typed(name: str, verb: Any) -> None:
    example = re.fullmatch(r"Example: (?:\w+=\S* )?(emospec .+)", verb.epilog or "")
    assert example, f"{name} has no example"
    words = shlex.split(example[1].split(" > ")[0])[1:]
    # A fresh install has no model but its own.
    assert "--model" not in words
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    if not getattr(command, "commands", {}):
        command.make_context(name, words)  # raises where an option is not known or a value is out of range


def test_the_shell_completes_verbs() -> None:
    environment = os.environ | {
        "_EMOSPEC_COMPLETE": "complete_bash",
        "COMP_WORDS": "emospec tr",
        "COMP_CWORD": "1",
    }
    program = "import sys; sys.argv = ['emospec']; from emospec.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["train"]
    assert any("--install-completion" in p.opts for p in get_command(app).params)


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("praat", FORMATS, "textgrid"),
        ("eaf", FORMATS, "elan"),
        ("WebVTT", FORMATS, "vtt"),
        ("subtitles", FORMATS, "srt"),
        ("cvs", FORMATS, "csv"),
        ("TextGrid", FORMATS, "textgrid"),
        ("pdf", FORMATS, ""),
        ("html", FORMATS, ""),
        ("xml", FORMATS, ""),
        ("praat", ("srt", "csv"), ""),
        ("gender", ("file", "speaker", "emotion", "sex"), "sex"),
        ("crema-d", CORPORA, "crema_d"),
        ("IEMOCAP", CORPORA, "iemocap"),
        ("meld", CORPORA, ""),
        ("loso", ("dai2019", "one-speaker-out"), "one-speaker-out"),
        ("happiness", ("neutral", "happy"), "happy"),
        ("lamda", ("mel", "stft", "lambda", "alpha"), "lambda"),
        ("", FORMATS, ""),
    ],
)  # fmt: skip
def test_hints_name_near_or_usual_words_only(word: str, known: Any, hint: str) -> None:
    assert did_you_mean(word, tuple(known)) == (f", did you mean {hint!r}?" if hint else "")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("loss.lambda", "loss.center_weight"),
        ("lambda", "loss.center_weight"),
        ("loss.alpha", "loss.center_rate"),
        ("training.lr", "training.learning_rate"),
        ("training.max_epochs", "training.epochs"),
        ("training.max_steps", "training.steps"),
        ("training.batch", "training.batch_size"),
        ("center_weight", "loss.center_weight"),
        ("loss.centre_weight", "loss.center_weight"),
        ("loss.learning_rate", "training.learning_rate"),
        ("data.split", "data.protocol"),
        ("training.seed", ""),
        ("loss.gamma", ""),
    ],
)
def test_hints_for_settings_look_at_their_last_part(key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings("dai2019-mel", [f"{key}=1"])
    message = str(caught.value)
    assert (
        f"did you mean {hint!r}?" in message if hint else "`emospec presets dai2019-mel` lists all" in message
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train x --out y --lambda 3", "--set loss.center_weight=VALUE changes that setting"),
        ("train x --out y --learning-rate 1", "--set training.learning_rate=VALUE changes that setting"),
        ("crossval x --out y --epochs 3", "--set training.epochs=VALUE changes that setting"),
        ("crossval x --out y --max-steps 3", "did you mean '--steps'?"),
        ("sweep x --out y --key lambda --values 0,1", "did you mean 'loss.center_weight'"),
        ("sweep x --out y --key training.momentum --values 0,1", "`emospec presets dai2019-mel` lists all"),
        ("presets dai2019", "did you mean 'dai2019-mel'"),
        ("train x --out y --preset nosuch", "Known: best, dai2019-mel, dai2019-stft, demo, or the path of a .toml"),
        ("timeline a.wav --hop 5", "found a hop of 5 s and a window of 3 s. Change the hop (--hop) or the window"),
        ("timeline a.wav --format praat", "did you mean 'textgrid'"),
        ("predict a.wav --model bse", "did you mean 'base'? Name a model folder, or one that comes with emospec: base"),
        ("predict a.wav --model nosuch", "'nosuch'. Name a model folder, or one that comes with emospec: base"),
        ("evaluate nosuch", "nosuch holds no finished run: there is no such folder"),
        ("export nosuch --out y", "nosuch is not a run folder: it has no meta.json. There is no such folder"),
        ("train x --lr 1 --out y", "No such option: --lr. --set training.learning_rate=VALUE changes that"),
        ("train x --step 3 --out y", "No such option: --step, did you mean '--steps'? `emospec train"),
        ("predict x --jsn", "No such option: --jsn, did you mean '--json'? `emospec predict --help`"),
        ("predct x", "No such command 'predct', did you mean 'predict'? `emospec --help`"),
        ("corpora chek emodb x", "No such command 'chek', did you mean 'check'? `emospec corpora --help`"),
        ("predict --json=3 x", "Option '--json' does not take a value. `emospec"),
        ("export cv --out y", "It holds runs: name one, such as cv/r0-f1"),
        ("predict a.wav --model cv/r0-f1", "`emospec export cv/r0-f1 --out MODEL` makes one of it"),
        ("predict a.wav --model cv", "`emospec export RUN --out MODEL` makes one of a finished run"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_say_what_to_do(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cv" / "r0-f1").mkdir(parents=True)
    for name in ("meta.json", "scores.json"):
        (tmp_path / "cv" / "r0-f1" / name).write_text("{}")
    monkeypatch.setattr(sys, "argv", ["emospec", *words.split()])
    with pytest.raises(SystemExit) as stop:
        run_command_line()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["cv"]


def test_settings_and_names_of_presets_are_there_for_machines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    for words, expected in (
        (["presets"], preset_names()),
        (["presets", "demo"], load_settings("demo").model_dump()),
    ):
        monkeypatch.setattr(sys, "argv", ["emospec", *words, "--json"])
        with pytest.raises(SystemExit):
            run_command_line()
        assert json.loads(capsys.readouterr().out) == expected
