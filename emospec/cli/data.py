"""The verbs of data: `corpora`, `corpora check` and `prepare`, with the tables that they print."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from emospec.cli.options import AsJson, needs
from emospec.cli.streams import print_json
from emospec.cli.verbs import Panel
from emospec.errors import CorpusError

if TYPE_CHECKING:
    from emospec.data.corpora.check import CorpusCheck
    from emospec.data.pack import Pack
    from emospec.experiments.progress import RunProgress

_CORPUS_FACTS = (
    "name",
    "title",
    "language",
    "classes",
    "protocol",
    "licence",
    "source",
    "citation",
    "layout",
    "note",
)

data_verbs = Panel("Training")
_corpora_verbs = typer.Typer(invoke_without_command=True)
data_verbs.add_typer(
    _corpora_verbs,
    name="corpora",
    help="List the corpora that emospec reads, or check a copy of one.",
    rich_help_panel="Training",
    epilog="Example: emospec corpora check emodb ~/emodb",
)


@_corpora_verbs.callback()
def _corpora(context: typer.Context, as_json: AsJson = False) -> None:
    """List the corpora that emospec reads."""
    if context.invoked_subcommand:
        return
    from emospec.data.corpora import CORPORA

    rows: list[dict[str, Any]] = []
    for corpus in CORPORA.values():
        facts = {name: getattr(corpus, name) for name in _CORPUS_FACTS}
        # Speakers are listed by name where the corpus states their sex, else only counted.
        cast = corpus.speakers
        counts = {"utterances": corpus.expected, "speakers": len(cast) if isinstance(cast, dict) else cast}
        rows.append({name: facts.pop(name) for name in ("name", "title", "language")} | counts | facts)
    if as_json:
        print_json(rows)
    else:
        _print_corpora(rows)


@_corpora_verbs.command("check", epilog="Example: emospec corpora check emodb ~/emodb")
def _check(
    name: Annotated[str, Argument(help="A corpus of `emospec corpora`, such as emodb, csv or folders.")],
    root: Annotated[Path, Argument(help="Its folder.")],
    as_json: AsJson = False,
) -> None:
    """Compare a copy of a corpus with what the whole corpus holds; exit 1 where it differs."""
    from emospec.data.corpora import check_corpus, corpus_remarks

    check = check_corpus(name, root)
    remarks = [remark for remark in corpus_remarks(name, root) if remark not in check.differences]
    if as_json:
        facts = asdict(check) | {"complete": check.complete, "remarks": remarks}
        print_json({name: fact for name, fact in facts.items() if name != "summary"})
    else:
        _print_check(check)
        for remark in remarks:
            print(remark)
    if not check.complete:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Choices:
    skip_bad: bool = Option(False, "--skip-bad", help="Leave out recordings that cannot be used; record why.")
    replace: bool = Option(False, "--replace", help="Take the place of a pack of other utterances.")
    licences: list[str] = Option(
        [],
        "--licence",
        metavar="[NAME=]TEXT",
        help="Terms of use of your own corpus, for runs and model cards; may be repeated.",
    )


@data_verbs.verb("prepare", "emospec prepare emodb=~/emodb ravdess=~/ravdess --pack packs/both")
def _prepare(
    corpora: Annotated[
        list[str],
        Argument(
            metavar="NAME=ROOT...",
            help="One corpus of `emospec corpora` or several, pooled; your own as csv=FILE or folders=ROOT, "
            "or under a name as csv:NAME=FILE.",
        ),
    ],
    pack: Annotated[Path, Option(help="The folder to make.")],
    choices: _Choices,
    as_json: AsJson = False,
) -> None:
    """Decode corpora once into a memory-mapped pack; a valid one is left as it is.

    Your own recordings: csv=FILE (columns file, speaker, emotion) or folders=ROOT (CLASS/SPEAKER/); csv:NAME=FILE and
    folders:NAME=ROOT give them a name.
    """
    from emospec.cli.progress import run_progress

    with needs("train"), run_progress(as_json) as progress:
        prepared = prepare_corpora(corpora, pack, progress, **vars(choices))
    if as_json:
        print_json(_prepared_facts(prepared))
    else:
        print_prepared(prepared)


@dataclass(frozen=True)
class Prepared:
    """A pack, whether it was made now and replaced an older one, and in words each corpus's counts and remarks."""

    pack: "Pack"
    made: bool
    replaced: bool
    summaries: dict[str, str]
    remarks: dict[str, list[str]]


def prepare_corpora(
    corpora: Sequence[str],
    folder: Path,
    progress: "RunProgress",
    *,
    skip_bad: bool = False,
    replace: bool = False,
    licences: Sequence[str] = (),
) -> Prepared:
    """Read corpora, NAME=ROOT each, and make their pack; licences are TEXT, or NAME=TEXT."""
    from emospec.data.corpora import corpus_remarks, get_corpus, read_corpus, user_corpus
    from emospec.data.corpora.check import check_counts
    from emospec.data.corpora.user import with_licences
    from emospec.data.pack import prepare

    # Every corpus is read, and its mistakes reported, before the first recording is decoded.
    roots = _roots(corpora)
    readers = {spec: get_corpus(spec) for spec in roots}
    own_corpora = with_licences([corpus for spec in roots if (corpus := user_corpus(spec))], licences)
    pools = {spec: read_corpus(spec, root) for spec, root in roots.items()}
    existed = (folder / "index.json").exists()
    pack, made = prepare(
        [utterance for pool in pools.values() for utterance in pool],
        folder,
        skip_bad=skip_bad,
        replace=replace,
        user_corpora=own_corpora,
        progress=lambda done, total: progress("prepare", done, total, ""),
    )
    summaries, remarks = {}, {}
    for spec, reader in readers.items():
        summaries[reader.name] = check_counts(reader, pools[spec]).summary
        remarks[reader.name] = [*corpus_remarks(spec, roots[spec]), *_terms(pack, reader.name)]
    return Prepared(pack, made, replaced=made and existed, summaries=summaries, remarks=remarks)


def _roots(corpora: Sequence[str]) -> dict[str, str]:
    from emospec.data.corpora.user import USER_READERS, split_name

    roots: dict[str, str] = {}
    names: set[str] = set()
    for spec, equals, root in (text.partition("=") for text in corpora):
        if not equals or not root:
            raise CorpusError(f"{spec!r} is not of the form NAME=ROOT, such as emodb=~/emodb")
        reader, name = split_name(spec)
        if name in names:
            to_do = f"Name each, as in {reader}:calls=ROOT" if reader in USER_READERS else "Name each once"
            raise CorpusError(f"corpus {name!r} is named twice. {to_do}")
        names.add(name)
        roots[spec] = root
    return roots


def _terms(pack: "Pack", name: str) -> list[str]:
    from emospec.data.corpora import CORPORA
    from emospec.data.corpora.user import USER_READERS

    if name not in pack.user_corpora:
        return []
    if licence := pack.user_corpora[name].licence:
        return [f"licence {licence}"]
    remark = "licence not stated: --licence records it, for runs and the model's card"
    # A user may give a corpus of their own the name of one that emospec reads, such as csv:emodb.
    if name in CORPORA and name not in USER_READERS:
        remark += f". Of {name}, which emospec knows, nothing is taken over, for it is read as your own"
    return [remark]


def print_prepared(prepared: Prepared) -> None:
    """Print what a pack holds, of which corpora, and what was left out or is doubtful."""
    from rich.console import Console
    from rich.markup import escape

    from emospec.data.pack_report import pack_warnings

    pack = prepared.pack
    console = Console(highlight=False, soft_wrap=True)
    labels = _label_lines(pack)
    for name, summary in prepared.summaries.items():
        for line in (summary, *labels.get(name, []), *prepared.remarks[name]):
            console.print(f"[bold]{escape(name)}[/bold]: {escape(line)}")
    state = "was valid already"
    if prepared.made:
        state = "made anew" if prepared.replaced else "made"
    size = f"{len(pack)} utterances, {pack.seconds / 3600:.2f} hours"
    console.print(f"Pack {pack.folder} {state}: {size}", markup=False)
    for skip in pack.skipped:
        console.print(f"left out {skip.id}: {skip.reason}", markup=False)
    for warning in pack_warnings(pack):
        console.print(f"warning: {warning.words}", markup=False)


def _prepared_facts(prepared: Prepared) -> dict[str, Any]:
    from emospec.data.pack_report import label_counts, pack_warnings

    pack = prepared.pack
    return {
        "pack": str(pack.folder),
        "made": prepared.made,
        "utterances": len(pack),
        "seconds": pack.seconds,
        "corpora": prepared.summaries,
        "remarks": {name: remarks for name, remarks in prepared.remarks.items() if remarks},
        "own": [asdict(corpus) for corpus in pack.user_corpora.values()],
        "labels": [asdict(label) | {"known": label.is_known} for label in label_counts(pack)],
        "skipped": [asdict(skip) for skip in pack.skipped],
        "warnings": [asdict(warning) for warning in pack_warnings(pack)],
    }


def _label_lines(pack: "Pack") -> dict[str, list[str]]:
    # Which labels became which emotions: classes outside the vocabulary have a line of their own.
    from emospec.data.pack_report import label_counts

    known: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for label in label_counts(pack):
        became = label.label if label.label == label.emotion else f"{label.label} -> {label.emotion}"
        lists = known if label.is_known else others
        lists.setdefault(label.corpus, []).append(f"{became} {label.utterances}")
    lines = {corpus: [", ".join(labels)] for corpus, labels in known.items()}
    for corpus, labels in others.items():
        words = f"no emotion that emospec knows, so classes of their own: {', '.join(labels)}"
        lines.setdefault(corpus, []).append(words)
    return lines


def _print_corpora(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    console = Console(highlight=False)
    for row in rows:
        size = "any size"
        if row["utterances"]:
            size = f"{row['utterances']} utterances, {row['speakers']} speakers"
        language = f" ({row['language']})" if row["language"] else ""
        name = f"[bold]{row['name']}[/bold]  {row['title']}{language}"
        console.print(f"{name}: {size}; default split {row['protocol']}")
        lines = {
            "classes": ", ".join(f"{emotion} {count}" for emotion, count in row["classes"].items()),
            "files": row["layout"],
            "licence": row["licence"],
            "get it": row["source"],
            "cite": row["citation"],
            "note": row["note"],
        }
        for key, words in lines.items():
            if words:
                console.print(Padding(f"[dim]{key}:[/dim] {escape(words)}", (0, 0, 0, 4)))


def _print_check(check: "CorpusCheck") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{check.corpus}[/bold]: {escape(check.summary)}", highlight=False)
    table = Table("emotion", "found", "expected")
    for emotion, (count, expected) in check.classes.items():
        table.add_row(escape(emotion), str(count), "any" if expected is None else str(expected))
    console.print(table)
    for difference in check.differences:
        console.print(f"differs: {difference}", highlight=False, markup=False)
    console.print("The copy is complete." if check.complete else "The copy is not the whole corpus.")
