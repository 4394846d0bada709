"""The house's own promises: where imports may go, and how its rooms, names, docstrings and pages are written.

`measures.py`, beside this file, takes the measures; `ARCHITECTURE.md` says the floors and the rooms.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import measures
import pytest
from measures import Place

import emospec

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "emospec"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
FLOORS = re.search(r"^Import floors.*?: `([^`]+)`", ARCHITECTURE, re.MULTILINE | re.DOTALL)
assert FLOORS is not None
ORDER = [floor.strip() for floor in FLOORS[1].split(">")]
TORCH = re.search(r"^Only (.+?) may import torch", ARCHITECTURE, re.MULTILINE)
assert TORCH is not None
TORCH_FLOORS = set(re.findall(r"`(\w+)`", TORCH[1]))
TORCH_LIBRARIES = {"torch", "safetensors", "onnx", "onnxscript"}
MODULES = [p for p in measures.rooms(ROOT) if p.parent != PACKAGE or not p.name.startswith("__")]
GROUND = {p.stem for p in MODULES if p.parent == PACKAGE}

LEAST_COMMENTS, MOST_COMMENTS = 0.02, 0.08


def floor_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def of_floor(floor: str) -> list[Path]:
    modules = [module for module in MODULES if floor_of(module) == floor]
    assert modules, f"the house has no {floor}"
    return modules


def floors_imported(module: Path) -> list[tuple[str, Place]]:
    """Floors of emospec that a module imports, whether at its top, in a function or for its types."""
    floors = []
    for name, line in measures.imports(module, typing=True):
        parts = name.split(".")
        if parts[0] == "emospec" and len(parts) > 1 and parts[1] in ORDER:
            floors.append((parts[1], place(module, line, f"imports {name}")))
    return floors


def place(module: Path, line: int, text: str) -> Place:
    return measures.at(module, ROOT, line, text)


def assert_none(places: Iterable[Place], what: str) -> None:
    """Fail with a line for each place, so that a person can go there and mend it."""
    listed = sorted(places)
    if listed:
        pytest.fail(f"{len(listed)} {what}:\n" + "\n".join(map(str, listed)), pytrace=False)


# Imports


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(module: Path) -> None:
    height = ORDER.index(floor_of(module))
    up = (at for floor, at in floors_imported(module) if ORDER.index(floor) < height)
    assert_none(up, f"imports of {floor_of(module)} go up")


def test_no_room_imports_itself_by_way_of_others() -> None:
    tied = measures.circles(measures.import_graph(ROOT, in_functions=True))
    assert not tied, "\n".join(" <-> ".join(circle) for circle in tied)


def test_torch_is_for_the_floors_that_train() -> None:
    assert not TORCH_FLOORS & {"audio", "data", "evaluation", "inference", "serving", "report", *GROUND}
    assert_none(
        (
            place(module, line, f"imports {name}")
            for module in MODULES
            for name, line in measures.imports(module, typing=True)
            if name.split(".")[0] in TORCH_LIBRARIES and floor_of(module) not in TORCH_FLOORS
        ),
        "imports of torch where nothing trains",
    )


def test_the_ground_knows_no_wing() -> None:
    assert_none(
        (
            at
            for name in GROUND
            for module in of_floor(name)
            for floor, at in floors_imported(module)
            if floor not in GROUND
        ),
        "imports of the ground go to wings",
    )


def test_inference_needs_audio_and_the_ground_only() -> None:
    allowed = {"inference", "audio"} | GROUND
    assert_none(
        (
            at
            for module in of_floor("inference")
            for floor, at in floors_imported(module)
            if floor not in allowed
        ),
        "imports of inference beside audio and the ground",
    )


def test_audio_knows_no_label() -> None:
    allowed = {"audio"} | GROUND
    assert_none(
        (at for module in of_floor("audio") for floor, at in floors_imported(module) if floor not in allowed),
        "imports of audio beside the ground",
    )


def test_use_needs_nothing_of_the_training_extra() -> None:
    extra = {"pandas", "scipy", "sklearn", "joblib", "jinja2", "matplotlib"}
    assert_none(
        (
            place(module, line, f"imports {name}")
            for floor in ("inference", "serving")
            for module in of_floor(floor)
            for name, line in measures.imports(module, typing=True)
            if name.split(".")[0] in extra and module.name not in ("picture.py", "plot.py", "bulk.py")
        ),
        "imports of the extra `train` where a model is used",
    )


@pytest.mark.parametrize(
    "code",
    [
        "import emospec",
        "import sys; sys.argv[1:] = ['--help']; from emospec.cli import app; app(standalone_mode=False)",
    ],
)
def test_the_start_is_light(code: str) -> None:
    heavy = "{'torch', 'pandas', 'matplotlib', 'sklearn', 'joblib'}"
    program = f"{code}\nimport sys; print('HEAVY', sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("HEAVY []")


# The plan


def test_every_room_has_a_floor() -> None:
    assert {floor_of(module) for module in MODULES} == set(ORDER)


def rooms_in_the_plan() -> set[str]:
    """Return the modules named in the tree of ARCHITECTURE.md: before two spaces, those of a wing indented below it."""
    tree = ARCHITECTURE.partition("```\nemospec/\n")[2].partition("```")[0]
    rooms, wing = set(), ""
    for indent, names in re.findall(r"^( +)([\w/]+(?:, [\w/]+)*) ", tree, re.MULTILINE):
        listed = names.split(", ")
        if len(indent) == 2:
            wing = names if names.endswith("/") else ""
        rooms |= {
            (name if len(indent) == 2 else wing + name) + ".py" for name in listed if not name.endswith("/")
        }
    return rooms


def test_the_plan_has_the_rooms_that_are_there() -> None:
    rooms = {str(m.relative_to(PACKAGE)) for m in MODULES if m.name != "__init__.py"}
    assert rooms_in_the_plan() == {room for room in rooms if not room.startswith("data/corpora/")}


def test_a_room_is_read_in_one_go() -> None:
    assert_none(measures.long_rooms(ROOT), f"rooms of more than {measures.LONGEST_ROOM} lines")


# Names, docstrings, comments and calls


def test_a_public_name_is_defined_once() -> None:
    names = measures.repeated_names(ROOT)
    assert_none((p for homes in names.values() for p in homes), f"homes have {len(names)} public names")


def test_a_docstring_opens_with_a_verb_or_a_noun() -> None:
    assert_none(measures.questions(ROOT), "docstrings open with What or How")


def test_comments_are_there_and_do_not_crowd() -> None:
    lines = sum(len(measures.lines_of(file)) for file in measures.rooms(ROOT))
    alone = sum(measures.comments(file)[0] for file in measures.rooms(ROOT))
    assert LEAST_COMMENTS <= alone / lines <= MOST_COMMENTS, f"{alone} of {lines} lines are comments"


def test_a_call_of_many_arguments_names_them() -> None:
    assert_none(measures.unnamed_arguments(ROOT), f"calls of more than {measures.MOST_POSITIONAL} arguments")


# Pages


def test_markdown_is_wrapped() -> None:
    assert_none(measures.wide_lines(ROOT), f"Markdown lines of more than {measures.WIDTH} characters")


def test_version_is_the_changelogs_and_the_citations() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## (\S+)", changelog, re.MULTILINE)
    assert latest is not None
    assert latest[1] == emospec.__version__
    assert f"version: {emospec.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_public_names_are_there() -> None:
    for name in emospec.__all__:
        assert getattr(emospec, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'recogniser'"):
        _ = emospec.recogniser
