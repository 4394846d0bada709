"""The house's own promises: import floors, no heavy import at start, version = changelog."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import emospec

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "emospec"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
FLOORS = re.search(r"^Import floors.*?: `(.+?)`", ARCHITECTURE, re.MULTILINE)
assert FLOORS is not None
ORDER = [floor.strip() for floor in FLOORS[1].split(">")]
TORCH_ROOMS = {"experiment", "run", "learning"}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE or not p.name.startswith("__"))


def floor_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_only(module: Path) -> None:
    own = ORDER.index(floor_of(module))
    for name in imported(module):
        parts = name.split(".")
        if parts[0] == "emospec" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) >= own, f"{floor_of(module)} imports {name}, which is above it"
        if parts[0] in ("torch", "accelerate", "safetensors", "onnx", "onnxscript"):
            assert floor_of(module) in TORCH_ROOMS, f"{floor_of(module)} imports {name}"


def test_use_needs_nothing_of_the_training_extra() -> None:
    extra = {"pandas", "scipy", "sklearn", "joblib", "jinja2", "matplotlib", "accelerate"}
    for module in MODULES:
        if floor_of(module) in ("inference", "serving") and module.name not in ("picture.py", "bulk.py"):
            assert not {name.split(".")[0] for name in imported(module)} & extra, module


def test_every_room_has_a_floor() -> None:
    assert {floor_of(module) for module in MODULES} == set(ORDER)


def rooms_in_the_plan() -> set[str]:
    """Paths of the Python files in the tree at the top of ARCHITECTURE.md: a wing's rooms are indented below it."""
    tree = ARCHITECTURE.partition("```\nemospec/\n")[2].partition("```")[0]
    rooms, wing = set(), ""
    for indent, name in re.findall(r"^( +)([\w./]+)", tree, re.MULTILINE):
        if len(indent) == 2:
            wing = name if name.endswith("/") else ""
        rooms.add(name if len(indent) == 2 else wing + name)
    return {room for room in rooms if room.endswith(".py") and not room.startswith("__")}


def test_the_plan_has_the_rooms_that_are_there() -> None:
    rooms = {str(m.relative_to(PACKAGE)) for m in MODULES if m.name != "__init__.py"}
    assert rooms_in_the_plan() == {room for room in rooms if not room.startswith("data/corpora/")}


@pytest.mark.parametrize(
    "code",
    [
        "import emospec",
        "import sys; sys.argv[1:] = ['--help']; from emospec.cli import app; app(standalone_mode=False)",
    ],
)
def test_the_start_is_light(code: str) -> None:
    heavy = "{'torch', 'accelerate', 'pandas', 'matplotlib', 'sklearn', 'joblib'}"
    program = f"{code}\nimport sys; print('HEAVY', sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("HEAVY []")


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
