"""`NAME=ROOT` words -> a pack, and what is said of it: counts, labels, terms, doubts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emospec.errors import CorpusError

if TYPE_CHECKING:
    from emospec.data.pack import Pack
    from emospec.experiments.run import RunProgress


@dataclass(frozen=True)
class Prepared:
    """A pack that was asked for.

    Attributes:
        pack: the pack.
        made: whether it was made now.
        took_place: whether there was one before.
        summaries: each corpus's counts, in words.
        remarks: what of each corpus is not read, or not known, in words.
    """

    pack: "Pack"
    made: bool
    took_place: bool
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
    """Read corpora, each named as NAME=ROOT, and make their pack.

    Args:
        corpora: such as `emodb=~/emodb`, `csv:calls=calls.csv`, `folders=~/mine`.
        folder: of the pack.
        progress: called as a run's is.
        skip_bad, replace: as in `prepare`.
        licences: TEXT, or NAME=TEXT, for corpora of the user's own.

    Raises:
        EmospecError: a corpus cannot be read, or the pack not be made.
    """
    from emospec.data.corpora import compare, corpus_remarks, get_corpus, own_corpus, read_corpus
    from emospec.data.corpora.own import with_licences
    from emospec.data.pack import prepare

    roots = _roots(corpora)
    named = {spec: get_corpus(spec) for spec in roots}
    own = with_licences([own for spec in roots if (own := own_corpus(spec))], licences)
    pools = {spec: read_corpus(spec, root) for spec, root in roots.items()}
    existed = (folder / "index.json").exists()
    made, new = prepare(
        [u for pool in pools.values() for u in pool],
        folder,
        skip_bad=skip_bad,
        replace=replace,
        own=own,
        progress=lambda done, all_: progress("prepare", done, all_, ""),
    )
    return Prepared(
        pack=made,
        made=new,
        took_place=new and existed,
        summaries={named[spec].name: compare(named[spec], pool).summary for spec, pool in pools.items()},
        remarks={
            named[spec].name: [*corpus_remarks(spec, root), *_terms(made, named[spec].name)]
            for spec, root in roots.items()
        },
    )


def _roots(corpora: Sequence[str]) -> dict[str, str]:
    """Return the root of each corpus; no two of one name."""
    from emospec.data.corpora.own import READERS, split_name

    roots: dict[str, str] = {}
    names: set[str] = set()
    for spec, equals, root in (text.partition("=") for text in corpora):
        if not equals or not root:
            raise CorpusError(f"{spec!r} is not of the form NAME=ROOT, such as emodb=~/emodb")
        reader, name = split_name(spec)
        if name in names:
            to_do = f"Name each, as in {reader}:calls=ROOT" if reader in READERS else "Name each once"
            raise CorpusError(f"corpus {name!r} is named twice. {to_do}")
        names.add(name)
        roots[spec] = root
    return roots


def _terms(pack: "Pack", name: str) -> list[str]:
    """Return what is to be said of the terms of a corpus of the user's own."""
    from emospec.data.corpora import CORPORA
    from emospec.data.corpora.own import READERS

    if name not in pack.own:
        return []
    if licence := pack.own[name].licence:
        return [f"licence {licence}"]
    words = "licence not stated: --licence records it, for runs and the model's card"
    if name in CORPORA and name not in READERS:
        words += f". Of {name}, which emospec knows, nothing is taken over, for it is read as your own"
    return [words]


def print_prepared(found: Prepared, as_json: bool) -> None:
    """Print what a pack holds, of which corpora, and what was left out or is doubtful."""
    from rich.console import Console
    from rich.markup import escape

    from emospec.cli.tables import print_json
    from emospec.data.pack_report import doubts_of

    pack = found.pack
    if as_json:
        print_json(_facts(found))
        return
    console = Console(highlight=False)
    labels = _labels(pack)
    for name, summary in found.summaries.items():
        lines = [escape(text) for text in (summary, *labels.get(name, []), *found.remarks[name])]
        for line in lines:
            console.print(f"[bold]{escape(name)}[/bold]: {line}", soft_wrap=True)
    state = "was valid already"
    if found.made:
        state = "made anew" if found.took_place else "made"
    words = f"Pack {pack.folder} {state}: {len(pack)} utterances, {pack.seconds / 3600:.2f} hours"
    console.print(words, markup=False, soft_wrap=True)
    for skip in pack.skipped:
        console.print(f"left out {skip.id}: {skip.reason}", markup=False, soft_wrap=True)
    for doubt in doubts_of(pack):
        console.print(f"warning: {doubt.words}", markup=False, soft_wrap=True)


def _facts(found: Prepared) -> dict[str, Any]:
    from emospec.data.pack_report import doubts_of, labels_of

    pack = found.pack
    return {
        "pack": str(pack.folder),
        "made": found.made,
        "utterances": len(pack),
        "seconds": pack.seconds,
        "corpora": found.summaries,
        "remarks": {name: remarks for name, remarks in found.remarks.items() if remarks},
        "own": [asdict(own) for own in pack.own.values()],
        "labels": [asdict(label) | {"known": label.is_known} for label in labels_of(pack)],
        "skipped": [asdict(skip) for skip in pack.skipped],
        "warnings": [asdict(doubt) for doubt in doubts_of(pack)],
    }


def _labels(pack: "Pack") -> dict[str, list[str]]:
    """Return which labels of each corpus became which emotions, in words."""
    from emospec.data.pack_report import labels_of

    lines: dict[str, list[str]] = {}
    labels = labels_of(pack)
    for name in dict.fromkeys(label.corpus for label in labels):
        mine = [label for label in labels if label.corpus == name]
        known, others = (
            [
                _became(label.label, label.emotion, label.utterances)
                for label in mine
                if label.is_known is wanted
            ]
            for wanted in (True, False)
        )
        lines[name] = [", ".join(known)] * bool(known)
        if others:
            lines[name].append(f"no emotion that emospec knows, so classes of their own: {', '.join(others)}")
    return lines


def _became(label: str, emotion: str, utterances: int) -> str:
    return f"{label} {utterances}" if label == emotion else f"{label} -> {emotion} {utterances}"
