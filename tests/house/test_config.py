"""Presets are the paper's numbers; every mistake in the settings is reported, with the nearest right key."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emospec.config import (
    Settings,
    Training,
    explain_preset,
    load_settings,
    parse_settings,
    preset_names,
    to_toml,
)
from emospec.errors import ConfigError

FORMER = {
    "dai2019-mel": {"steps": 3520, "select_after": 200, "steps_for": 4425, "min_steps": 1000},
    "dai2019-stft": {"steps": 2920, "select_after": 400, "steps_for": 4425, "min_steps": 800},
    "best": {"steps": 2500, "select_after": 250, "steps_for": 4000, "min_steps": 600},
    "demo": {"steps": 400, "select_after": 200},
}
"""How long presets trained, in the keys of versions before December 2026."""
MEL = ("dai2019-mel", "log-mel", 3520, 200, 1000)
STFT = ("dai2019-stft", "log-stft", 2920, 400, 800)


def error(preset: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(preset, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("name", "kind", "steps", "select_after", "min_steps"), [MEL, STFT])
def test_presets_are_the_numbers_of_the_paper(
    name: str, kind: str, steps: int, select_after: int, min_steps: int
) -> None:
    assert load_settings(name).model_dump() == {
        "name": name,
        "data": {"classes": "default", "protocol": "default"},
        "frontend": {"kind": kind, "max_frames": 1400, "own_mean": False},
        "network": {"channels": [48, 64, 80, 96], "normalise": False, "pooling": "last"},
        "augmentation": {
            "speed": 0.0,
            "pitch": 0.0,
            "gain_db": 0.0,
            "noise": 0.0,
            "telephone": 0.0,
            "reverberation": 0.0,
            "masks": 0,
        },
        "loss": {
            "center_weight": 0.3,
            "center_rate": 0.5,
            "warmup_steps": 20,
            "weights": "pool",
            "label_smoothing": 0.0,
            "teacher": "",
            "teacher_weight": 1.0,
        },
        "training": {
            "epochs": pytest.approx(32 * steps / 4425, rel=1e-15),
            "min_steps": min_steps,
            "steps": 0,
            "selection_start": pytest.approx(select_after / steps, rel=1e-15),
            "evaluate_every": 11,
            "batch_size": 32,
            "learning_rate": 3e-4,
            "schedule": "constant",
            "weight_decay": 0.0,
            "averaging": 0.0,
            "window_gb": 0.0,
            "start_from": "",
            "precision": "auto",
            "checkpoint_seconds": 30.0,
        },
    }


@pytest.mark.parametrize(
    ("preset", "utterances", "plan"),
    [
        *(("dai2019-mel", n, (3520, 200)) for n in (4424, 4425, 4426)),
        *(("dai2019-stft", n, (2920, 400)) for n in (4424, 4425, 4426)),
        ("dai2019-mel", 428, (1000, 57)),
        ("dai2019-stft", 428, (800, 110)),
        ("dai2019-mel", 8850, (7040, 400)),
        ("dai2019-stft", 8850, (5840, 800)),
    ],
)
def test_other_corpora_get_as_many_epochs_but_not_too_few_steps(
    preset: str, utterances: int, plan: tuple[int, int]
) -> None:
    assert load_settings(preset).training.plan(utterances) == plan


@pytest.mark.parametrize("preset", preset_names())
def test_presets_train_as_long_on_every_corpus_as_before_they_counted_epochs(preset: str) -> None:
    former, training = FORMER[preset], load_settings(preset).training
    for utterances in (*range(1, 12_000), *range(12_000, 2_000_000, 4_999)):
        steps = former["steps"]
        if per := former.get("steps_for"):
            steps = max(former["min_steps"], round(steps * utterances / per / 10) * 10)
        expected = steps, round(steps * former["select_after"] / former["steps"])
        assert training.plan(utterances) == expected, utterances


@pytest.mark.parametrize("preset", preset_names())
def test_a_file_of_an_earlier_version_is_read_as_what_it_meant(preset: str, tmp_path: Path) -> None:
    settings = load_settings(preset)
    values = tomllib.loads(to_toml(settings))
    for key in ("epochs", "min_steps", "steps", "selection_start"):
        del values["training"][key]
    values["training"] |= FORMER[preset]
    assert parse_settings(values) == settings
    # The same as overrides, and in a file that names some of the keys alone.
    for keys in (["select_after"], ["steps_for"], ["steps_for", "select_after"], [*FORMER[preset]]):
        assignments = [f"{key} = {FORMER[preset][key]}" for key in keys if key in FORMER[preset]]
        assert load_settings(preset, [f"training.{line}" for line in assignments]) == settings
        text = "\n".join([f'extends = "{preset}"', f'name = "{preset}"', "[training]", *assignments])
        assert load_settings(write(tmp_path, "mine.toml", text)) == settings


def test_former_keys_scale_and_count_as_they_did() -> None:
    half = load_settings(
        "best", ["training.select_after=500", "training.steps_for=8000", "training.batch_size=16"]
    )
    assert (half.training.epochs, half.training.selection_start) == (5.0, 0.2)
    fixed = load_settings("dai2019-mel", ["training.steps_for=0"]).training
    assert fixed.plan(7) == fixed.plan(70_000) == (3520, 200)
    assert "'training.select_after' is of an earlier version" in error(
        "dai2019-mel", "training.epochs=3", "training.select_after=10"
    )
    assert "setting 'training.select_after' is not known" in error("dai2019-mel", "training.select_after=x")


def test_steps_are_exact_whatever_the_corpus() -> None:
    training = Training(epochs=3, steps=100, selection_start=0.5, min_steps=1000)
    assert training.plan(7) == training.plan(7000) == (100, 50)
    with pytest.raises(ConfigError, match=r"set training\.epochs or training\.steps"):
        Training().plan(7)


@pytest.mark.parametrize(
    ("every", "select_after"),
    [(11, 50), (50, 50), (51, 50), (100, 99), (11, 98), (1, 99), (101, 0), (11, 99)],
)
def test_a_plan_that_could_choose_no_model_is_refused(every: int, select_after: int) -> None:
    training = Training(steps=100, selection_start=select_after / 100, evaluate_every=every)
    if [step for step in range(every, 101, every) if step > select_after]:
        assert training.plan(1) == (100, select_after)
    else:
        with pytest.raises(ConfigError, match=r"no model could be chosen.*Lower training\.evaluate_every"):
            training.plan(1)


@pytest.mark.parametrize("preset", preset_names())
def test_every_key_of_every_preset_is_known_and_survives(preset: str) -> None:
    text = (resources.files("emospec") / "presets" / f"{preset}.toml").read_text(encoding="utf-8")
    resolved = load_settings(preset).model_dump()
    assert resolved["name"] == preset
    for table, content in tomllib.loads(text).items():
        for key, value in content.items():
            assert resolved[table][key] == value


def test_overrides_are_toml_values_or_bare_words() -> None:
    overrides = [
        "loss.center_weight=0",
        " training.steps = 50 ",
        "training.learning_rate=1e-3",
        "training.precision=float32",
        'data.classes=["angry", "sad"]',
        "data.protocol=folds:a=b.csv",
        "name=mine",
    ]
    chosen = load_settings("dai2019-mel", overrides)
    assert chosen.loss.center_weight == 0.0
    assert chosen.training.steps == 50
    assert chosen.training.learning_rate == 1e-3
    assert chosen.training.precision == "float32"
    assert chosen.data.classes == ["angry", "sad"]
    assert chosen.data.protocol == "folds:a=b.csv"
    assert chosen.name == "mine"
    untouched = load_settings("dai2019-mel")
    assert chosen.frontend == untouched.frontend
    assert untouched.loss.center_weight == 0.3


def test_the_last_of_two_overrides_holds() -> None:
    chosen = load_settings("dai2019-mel", ["loss.center_weight=1", "loss.center_weight=2"])
    assert chosen.loss.center_weight == 2.0


def test_all_mistakes_are_reported_at_once_with_the_nearest_key() -> None:
    message = error(
        "dai2019-mel",
        "loss.center_wieght=1",
        "traning.steps=5",
        "loss.center_rate=1.5",
        "frontend.kind=mel",
        "training.steps=-1",
    )
    assert len(message.split("; ")) == 5
    for words in (
        "setting 'loss.center_wieght' is not known, did you mean 'loss.center_weight'?",
        "setting 'traning' is not known, did you mean 'training'?",
        "setting 'loss.center_rate' is 1.5: input should be less than or equal to 1",
        "setting 'frontend.kind' is 'mel': input should be 'log-mel' or 'log-stft'",
        "setting 'training.steps' is -1: input should be greater than or equal to 0",
    ):
        assert words in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.steps=many", "setting 'training.steps' is 'many': input should be a valid integer"),
        ("training.steps=3.5", "setting 'training.steps' is 3.5: input should be a valid integer"),
        ("training.steps=true", "setting 'training.steps' is True: input should be a valid integer"),
        ('training.steps="5"', "setting 'training.steps' is '5': input should be a valid integer"),
        (
            "training.selection_start=1",
            "setting 'training.selection_start' is 1: input should be less than 1",
        ),
        ("training.learning_rate=0", "input should be greater than 0"),
        ("training.learning_rate=inf", "input should be a finite number"),
        ("loss.center_weight=nan", "input should be a finite number"),
        ("loss.center_weight=-0.1", "input should be greater than or equal to 0"),
        ("frontend.max_frames=-1", "input should be greater than or equal to 0"),
        ("data.classes=3", "setting 'data.classes' is 3: input should be a string or a list of strings"),
        ('data.classes=["sad", 3]', "setting 'data.classes' is"),
        ("loss=3", "setting 'loss' is 3: it is a table of settings"),
        ("xyz.abc=3", "setting 'xyz' is not known"),
        ("loss", "--set 'loss' is not of the form table.key=value, such as loss.center_weight=0.3"),
        ("=3", "is not of the form table.key=value"),
        ("loss..rate=3", "is not of the form table.key=value"),
        ("loss.center_rate.x=3", "'center_rate' is a value, not a table"),
    ],
)
def test_a_wrong_override_is_refused_by_name(override: str, words: str) -> None:
    message = error("dai2019-mel", override)
    assert words in message
    assert "; " not in message


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    file.write_text(
        '[frontend]\nkind = "log-mel"\n[loss]\ncenter_weight = 1\n[training]\nsteps = 10\n',
        encoding="utf-8-sig",  # as Windows' editors write it
    )
    chosen = load_settings(str(file), ["training.steps=20"])
    assert chosen.name == "short"
    assert (chosen.training.steps, chosen.loss.center_weight, chosen.loss.warmup_steps) == (20, 1.0, 20)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"steps = = 3", "is not TOML ("),
        (b"name = 'J\xfcrgen'", "cannot be read ("),
        (b"", "setting 'frontend' is missing; setting 'loss' is missing; setting 'training' is missing"),
        (b"[frontend]\n", "setting 'frontend.kind' is missing"),
    ],
)
def test_a_bad_preset_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    assert words in error(str(file))


def test_an_unknown_preset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    assert "preset 'dai2019-mle' is not known, did you mean 'dai2019-mel'? Known: " in error("dai2019-mle")
    message = error("xyz")
    assert "preset 'xyz' is not known. Known: " in message
    assert "dai2019-mel, dai2019-stft" in message
    assert message.endswith("or the path of a .toml file")
    assert "cannot be read (No such file or directory)" in error(str(tmp_path / "no.toml"))
    assert "cannot be read (Is a directory)" in error(str(folder_named(tmp_path / "folder.toml")))


def folder_named(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("preset", preset_names())
def test_settings_survive_toml(preset: str, tmp_path: Path) -> None:
    overrides = ['data.classes=["angry", "sad"]', "training.learning_rate=1e-5", "name=mine"]
    for chosen in (load_settings(preset), load_settings(preset, overrides)):
        (tmp_path / "config.toml").write_text(to_toml(chosen), encoding="utf-8")
        assert load_settings(str(tmp_path / "config.toml")) == chosen


text = st.text(st.characters(exclude_categories=["Cs"]))
positive = st.floats(0, allow_nan=False, allow_infinity=False, exclude_min=True)


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(name=text, classes=st.one_of(text, st.lists(text)), weight=positive, rate=positive)
def test_any_settings_survive_toml(name: str, classes: str | list[str], weight: float, rate: float) -> None:
    values: dict[str, Any] = load_settings("dai2019-mel").model_dump()
    values |= {"name": name, "data": {"classes": classes, "protocol": name}}
    values["loss"]["center_weight"] = weight
    values["training"]["learning_rate"] = rate
    chosen = parse_settings(values)
    assert Settings.model_validate(tomllib.loads(to_toml(chosen))) == chosen


@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_explained_is_the_preset(preset: str, tmp_path: Path) -> None:
    text = explain_preset(preset)
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    mine = load_settings(str(tmp_path / "mine.toml"))
    assert mine.name == "mine"
    assert mine.model_copy(update={"name": preset}) == load_settings(preset)
    assignments = [line for line in text.splitlines() if " = " in line and not line.startswith("#")]
    assert len(assignments) == sum(
        len(table) for table in mine.model_dump().values() if isinstance(table, dict)
    )
    assert "center_weight = 0.3         # lambda" in assignments


def test_a_list_with_a_mistake_says_which() -> None:
    assert "'network.channels' is -2: input should be greater" in error(
        "dai2019-mel", "network.channels=[1,-2,3,4]"
    )
    assert "at least 4 items" in error("dai2019-mel", "network.channels=[1,2,3]")


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_users_preset_extends_another(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "mine.toml",
        'extends = "dai2019-mel"\n[training]\nsteps = 60\n[data]\nclasses = ["a", "b"]\n',
    )
    theirs, mine = load_settings("dai2019-mel"), load_settings(file, ["loss.center_weight=0"])
    assert (mine.name, mine.training.steps, mine.data.classes) == ("mine", 60, ["a", "b"])
    assert mine.loss == theirs.loss.model_copy(update={"center_weight": 0})
    assert mine.training == theirs.training.model_copy(update={"steps": 60})
    assert "extends" not in to_toml(mine)  # what is recorded is resolved
    write(tmp_path, "mine2.toml", to_toml(mine))
    assert load_settings(str(tmp_path / "mine2.toml")) == mine


def test_files_extend_files_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "first.toml", 'extends = "best"\nname = "theirs"\n[training]\nsteps = 60\n')
    write(tmp_path / "base", "second.toml", 'extends = "first.toml"\n[training]\nbatch_size = 8\n')
    third = write(tmp_path, "third.toml", 'extends = "base/second.toml"\n')
    for name in (third, "third.toml"):
        mine = load_settings(name)
        assert (mine.name, mine.training.steps, mine.training.batch_size) == ("third", 60, 8)
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "own.toml"', "own.toml: extends itself (own.toml -> own.toml)"),
        ('extends = "other.toml"', "extends itself (own.toml -> other.toml -> own.toml)"),
        ('extends = "dai2019-mell"', "own.toml extends a preset that cannot be had: preset 'dai2019-mell' is not known, did you mean"),
        ('extends = "none.toml"', "own.toml extends a preset that cannot be had: preset file"),
        ('extends = ["dai2019-mel"]', "extends is ['dai2019-mel']: it names one preset or .toml file"),
        ('extends = ""', "extends is ''"),
        ('extends = "dai2019-mel"\n[training]\nstep = 3', "setting 'training.step' is not known, did you mean 'training.steps'?"),
        ('extends = "dai2019-mel"\ntraining = 3', "setting 'training' is 3: it is a table of settings"),
        ('extend = "dai2019-mel"', "setting 'extend' is not known, did you mean 'extends'?"),
    ],
)  # fmt: skip
def test_mistakes_of_extends(text: str, words: str, tmp_path: Path) -> None:
    write(tmp_path, "other.toml", 'extends = "own.toml"')
    assert words in error(write(tmp_path, "own.toml", text))
