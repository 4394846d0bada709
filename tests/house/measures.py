"""Measure the house: `python tests/house/measures.py [ROOT]` prints a Markdown table of a source tree.

Only the text of the tree is read, with `ast` and `tokenize`; nothing of emospec is imported. `test_house.py`
holds some of these measures to bounds.
"""

import ast
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

Function = ast.FunctionDef | ast.AsyncFunctionDef
Node = TypeVar("Node", bound=ast.AST)

LONGEST_ROOM = 450
MOST_POSITIONAL = 4
MOST_PARAMETERS = 5
WIDTH = 120

# Each reader of data/corpora is a module with the same few names, looked up by the registry: one protocol,
# not several meanings of a word. Among those modules, and for these names only, a name may stand twice.
READERS = Path("emospec/data/corpora")
PROTOCOL = {"NAME", "EMOTIONS", "FEMALE", "read", "CORPUS"}

# These take any number of values, which have no names.
VARIADIC = {"max", "min", "print", "zip", "chain", "product", "join", "joinpath", "pack", "save_for_backward"}

PRAGMA = re.compile(r"#\s*(noqa|type:|fmt:|mypy:|pragma:|ruff:|isort:|!|-\*-)")
QUESTION = re.compile(r"(What|How)\b")
WORDS = {
    "told, foretold": r"(fore)?told",
    "judge": r"judg(e|es|ed|ing|ements?)",
    "hear, heard": r"hear(s|d|ing)?",
    "Ear": r"ears?",
    "listen": r"listen(s|ed|ing)?",
    "stretch": r"stretch(es)?",
    "piece": r"pieces?",
    "moment": r"moments?",
    "door": r"doors?",
    "refuse": r"refus(e|es|ed|ing|als?)",
}
VAGUE_LOCALS = {"one", "own", "found", "some", "told", "meant"}


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file, and what stands there."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        """Return `file:line: text`, which editors can open."""
        return f"{self.file}:{self.line}: {self.text}"


def rooms(root: Path) -> list[Path]:
    """Return the Python files of the package."""
    return sorted((root / "emospec").rglob("*.py"))


@cache
def parsed(file: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def nodes(root: Path, *kinds: type[Node]) -> Iterator[tuple[Path, Node]]:
    """Yield the nodes of some kinds in the package, each with its file."""
    for file in rooms(root):
        yield from ((file, node) for node in ast.walk(parsed(file)) if isinstance(node, kinds))


def lines_of(file: Path) -> list[str]:
    """Return the lines of a file."""
    return file.read_text(encoding="utf-8").splitlines()


def name_of(file: Path, root: Path) -> str:
    """Return the dotted name of a module; a package's is that of its `__init__.py`."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def at(file: Path, root: Path, line: int, text: str) -> Place:
    """Return a place whose file is named from the root."""
    return Place(str(file.relative_to(root)), line, text)


# Docstrings, comments and lines of code


def docstrings(file: Path) -> Iterator[tuple[int, int, str]]:
    """Yield the docstrings of a module, its classes and functions, and the strings below attributes.

    Each is its first line's number, its last line's, and its text.
    """
    for node in ast.walk(parsed(file)):
        if not isinstance(node, ast.Module | ast.ClassDef | Function):
            continue
        for i, statement in enumerate(node.body):
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            text = statement.value.value
            after_name = i > 0 and isinstance(node.body[i - 1], ast.Assign | ast.AnnAssign)
            if isinstance(text, str) and (i == 0 or after_name):
                yield statement.lineno, statement.end_lineno or statement.lineno, text.strip()


def tokens(file: Path) -> list[tokenize.TokenInfo]:
    """Return the tokens of a file."""
    with tokenize.open(file) as source:
        return list(tokenize.generate_tokens(source.readline))


def code_lines(file: Path) -> int:
    """Count the lines with code: neither blank, nor a comment alone, nor a docstring's."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    silent |= {tokenize.ENDMARKER, tokenize.ENCODING}
    code = {
        n
        for token in tokens(file)
        if token.type not in silent
        for n in range(token.start[0], token.end[0] + 1)
    }
    silent_lines = {n for first, last, _ in docstrings(file) for n in range(first, last + 1)}
    return len(code - silent_lines)


def comments(file: Path) -> tuple[int, int]:
    """Count the comments on lines of their own, and those behind code; pragmas are neither."""
    kept = [t for t in tokens(file) if t.type == tokenize.COMMENT and not PRAGMA.match(t.string)]
    alone = sum(token.line.lstrip().startswith("#") for token in kept)
    return alone, len(kept) - alone


def questions(root: Path) -> list[Place]:
    """Return the docstrings that open with What or How."""
    return [
        at(file, root, line, text.splitlines()[0])
        for file in rooms(root)
        for line, _, text in docstrings(file)
        if QUESTION.match(text)
    ]


# Functions and calls


def length_of(function: Function) -> int:
    """Count the lines from `def` to the end, without the docstring: the signature and blank lines count."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    text = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (text.end_lineno or 0) - text.lineno + 1
    return lines


def unnamed_arguments(root: Path) -> list[Place]:
    """Return the calls of more than four arguments that have no name; starred ones are not counted."""
    places = []
    for file, node in nodes(root, ast.Call):
        called = ast.unparse(node.func)
        given = sum(not isinstance(argument, ast.Starred) for argument in node.args)
        if given > MOST_POSITIONAL and called.rpartition(".")[2] not in VARIADIC:
            places.append(at(file, root, node.lineno, f"{called}() is given {given} without a name"))
    return places


def many_parameters(root: Path) -> list[Place]:
    """Return the functions that take more than five parameters by position, `self` and `cls` not counted."""
    places = []
    for file, function in nodes(root, ast.FunctionDef, ast.AsyncFunctionDef):
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > MOST_PARAMETERS:
            places.append(at(file, root, function.lineno, f"{function.name}() takes {count} by position"))
    return places


# Imports


def imports(file: Path, *, in_functions: bool = True, typing: bool = False) -> list[tuple[str, int]]:
    """Return the names that a module imports, `from a import b` as `a.b`, each with its line.

    Imports for the type checker alone (`if TYPE_CHECKING:`) are left out unless `typing`.
    """

    def below(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child
                continue
            of_function = isinstance(child, Function)
            of_types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            if (in_functions or not of_function) and (typing or not of_types):
                yield from below(child)

    names = []
    for node in below(parsed(file)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            names += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
        else:
            names += [(alias.name, node.lineno) for alias in node.names]
    return names


def import_graph(root: Path, *, in_functions: bool) -> dict[str, set[str]]:
    """Return for each module those that it imports by name.

    `from a import b` leads to the module `a.b` where there is one, else to `a`. That Python runs a package's
    `__init__.py` ahead of its modules is not an import that anybody wrote, and not counted.
    """
    names = {name_of(file, root) for file in rooms(root)}
    graph: dict[str, set[str]] = {}
    for file in rooms(root):
        name = name_of(file, root)
        targets = [target for target, _ in imports(file, in_functions=in_functions)]
        graph[name] = {t if t in names else t.rpartition(".")[0] for t in targets} & names - {name}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the sets of modules each of which reaches all the others: the strongly connected components."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        waiting, seen = [start], set[str]()
        while waiting:
            for target in graph[waiting.pop()] - seen:
                seen.add(target)
                waiting.append(target)
        reached[start] = seen
    tied = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph}
    return sorted(sorted(circle) for circle in tied if circle)


# Names and words


def public_names(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the functions, classes, constants and aliases that a module defines, without an underscore."""
    for node in parsed(file).body:
        names: list[str] = []
        if isinstance(node, ast.ClassDef | Function):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        yield from ((name, node.lineno) for name in names if not name.startswith("_"))


def repeated_names(root: Path) -> dict[str, list[Place]]:
    """Return the public names that more than one module defines, and where."""
    homes: dict[str, dict[Path, Place]] = defaultdict(dict)
    for file in rooms(root):
        is_reader = file.parent == root / READERS
        for name, line in public_names(file):
            home = root / READERS if is_reader and name in PROTOCOL else file
            homes[name].setdefault(home, at(file, root, line, name))
    return {name: sorted(homes[name].values()) for name in sorted(homes) if len(homes[name]) > 1}


def untyped_dicts(root: Path) -> list[Place]:
    """Return where `dict[str, Any]`, or a Mapping of the kind, is written as a type."""
    written = re.compile(r"(typing\.)?(dict|Dict|Mapping|MutableMapping)\[str, (typing\.)?Any\]")
    return [
        at(file, root, node.lineno, ast.unparse(node))
        for file, node in nodes(root, ast.Subscript)
        if written.fullmatch(ast.unparse(node))
    ]


def vague_locals(root: Path) -> list[Place]:
    """Return the parameters and assigned names that do not say what they hold."""
    places = []
    for file, node in nodes(root, ast.Name, ast.arg):
        name = node.arg if isinstance(node, ast.arg) else node.id
        is_read = isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)
        if name in VAGUE_LOCALS and not is_read:
            places.append(at(file, root, node.lineno, name))
    return places


def multiplied_texts(root: Path) -> list[Place]:
    """Return where a text or a list is multiplied by a condition, to stand or to vanish.

    A condition is a comparison, `and`, `or`, `not`, `bool(...)`, or a bare name behind a text with letters in it:
    `" " * indent` is a number's work, `" with --int8" * int8` is a condition's.
    """
    places = []
    for file, node in nodes(root, ast.BinOp):
        pairs = ((node.left, node.right), (node.right, node.left))
        if isinstance(node.op, ast.Mult) and any(vanishes(value, factor) for value, factor in pairs):
            places.append(at(file, root, node.lineno, ast.unparse(node)))
    return places


def vanishes(value: ast.expr, factor: ast.expr) -> bool:
    """Return whether a text, a list or a tuple is multiplied by a condition, as far as their forms tell."""
    text = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
    if not text and not isinstance(value, ast.JoinedStr | ast.List | ast.Tuple):
        return False
    if isinstance(factor, ast.Name | ast.Attribute):
        return re.search("[a-z]", text) is not None
    return isinstance(factor, ast.Compare | ast.BoolOp) or ast.unparse(factor).startswith(("not ", "bool("))


def counted_words(root: Path) -> dict[str, tuple[int, int]]:
    """Count each word that WORDS names as one not to use, in identifiers and in docstrings."""
    parts: Counter[str] = Counter()
    prose: list[str] = []
    for file in rooms(root):
        for token in tokens(file):
            if token.type == tokenize.NAME:
                parts.update(p.lower() for p in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", token.string))
        prose += [text for _, _, text in docstrings(file)]
    text = "\n".join(prose)
    return {
        word: (
            sum(n for part, n in parts.items() if re.fullmatch(pattern, part)),
            len(re.findall(rf"\b({pattern})\b", text, re.IGNORECASE)),
        )
        for word, pattern in WORDS.items()
    }


# Pages


def pages(root: Path) -> list[Path]:
    """Return the Markdown pages that people read: those at the top, and docs."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]


def wide_lines(root: Path) -> list[Place]:
    """Return the lines of the pages over 120 characters that are no table, no link and no code."""
    places = []
    for page in pages(root):
        fenced = False
        for number, line in enumerate(lines_of(page), start=1):
            if line.lstrip().startswith(("```", "~~~")):
                fenced = not fenced
            exempt = fenced or line.lstrip().startswith("|") or "](" in line or "://" in line
            if len(line) > WIDTH and not exempt:
                places.append(at(page, root, number, f"{len(line)} characters"))
    return places


# The table


def long_rooms(root: Path) -> list[Place]:
    """Return the rooms of more lines than a person reads in one go."""
    lengths = ((file, len(lines_of(file))) for file in rooms(root))
    return [at(file, root, 1, f"{n} lines") for file, n in lengths if n > LONGEST_ROOM]


def measures(root: Path) -> Iterator[tuple[str, str]]:
    """Yield what the table says, row by row: a measure and its value."""
    files = rooms(root)
    lines = sum(len(lines_of(file)) for file in files)
    yield "files of emospec", str(len(files))
    yield "lines, all", str(lines)
    yield "lines of code (no blanks, comments, docstrings)", str(sum(code_lines(file) for file in files))
    yield f"rooms over {LONGEST_ROOM} lines", listed(long_rooms(root))

    lengths = sorted(length_of(f) for _, f in nodes(root, ast.FunctionDef, ast.AsyncFunctionDef))
    yield "functions and methods", str(len(lengths))
    yield "their lines (def to end, no docstring): median", str(lengths[len(lengths) // 2])
    yield "their lines: 90th percentile, longest", f"{lengths[len(lengths) * 9 // 10]}, {lengths[-1]}"

    for in_functions, which in ((False, "at module level"), (True, "in functions too")):
        tied = circles(import_graph(root, in_functions=in_functions))
        members = "; ".join(", ".join(circle) for circle in tied)
        yield f"import circles, {which}", f"{len(tied)}" + (f" ({members})" if members else "")

    names = repeated_names(root)
    yield "public names of more than one module", f"{len(names)} ({', '.join(names)})"
    yield "`dict[str, Any]` or Mapping as a type", str(len(untyped_dicts(root)))
    texts = sum(1 for file in files for _ in docstrings(file))
    yield "docstrings that open with What or How", f"{len(questions(root))} of {texts}"
    alone, behind = (sum(counts) for counts in zip(*(comments(file) for file in files), strict=True))
    yield "comments on lines of their own", f"{alone} ({alone / lines:.1%} of all lines)"
    yield "comments behind code", f"{behind} ({behind / lines:.1%})"
    yield "calls of more than 4 arguments without names", str(len(unnamed_arguments(root)))
    yield "functions of more than 5 parameters by position", str(len(many_parameters(root)))
    vague = Counter(place.text for place in vague_locals(root))
    by_name = ", ".join(f"{name} {n}" for name, n in vague.most_common())
    yield "vague local names (rule 8)", f"{vague.total()} ({by_name})"
    yield "a text times a condition", str(len(multiplied_texts(root)))
    for word, (in_names, in_prose) in counted_words(root).items():
        yield f"word: {word}", f"{in_names} in identifiers, {in_prose} in docstrings"

    for page in ("README.md", "ARCHITECTURE.md"):
        yield f"lines of {page}", str(len(lines_of(root / page)))
    wide = Counter(place.file for place in wide_lines(root))
    yield f"Markdown lines over {WIDTH} characters", f"{wide.total()} in {len(wide)} pages"
    tests = sorted((root / "tests").rglob("*.py"))
    yield "files of tests", str(len(tests))
    yield "lines of tests", str(sum(len(lines_of(file)) for file in tests))


def listed(places: list[Place]) -> str:
    """Return how many places there are, and which."""
    return f"{len(places)}" + (f" ({', '.join(f'{p.file}: {p.text}' for p in places)})" if places else "")


def main() -> None:
    """Print the table of the tree that the command names, or of this one."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2]
    print("| measure | value |\n|---|---|")
    for measure, value in measures(root.resolve()):
        print(f"| {measure} | {value} |")


if __name__ == "__main__":
    main()
