"""Corpora of the user's own, named in `csv:NAME` and `folders:NAME`: their names, and their terms of use.

A pack keeps them in `corpora.json`. `manifest` and `folders` read their recordings.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from emospec.errors import CorpusError, PackError, did_you_mean
from emospec.files import write_json

USER_CORPORA_FILE = "corpora.json"
# Readers of anybody's recordings; a corpus without a name of its own is called as its reader.
USER_READERS = ("csv", "folders")
_NAME = re.compile(r"\w[\w.-]{0,63}")


@dataclass(frozen=True, slots=True)
class UserCorpus:
    """A corpus of the user's own, read by one of `USER_READERS`; its licence, in words, is empty where unknown."""

    name: str
    reader: str
    licence: str = ""


def split_name(corpus: str) -> tuple[str, str]:
    """Return the reader and the name of a corpus; CorpusError where it has a name that it cannot have.

    >>> split_name("csv:calls"), split_name("emodb")
    (('csv', 'calls'), ('emodb', 'emodb'))
    """
    reader, colon, name = corpus.partition(":")
    if not colon:
        return corpus, corpus
    if reader not in USER_READERS:
        readers = " and ".join(USER_READERS)
        raise CorpusError(f"{corpus!r}: only {readers} take a name of your own, such as csv:calls=calls.csv")
    if not _NAME.fullmatch(name) or name in USER_READERS:
        taken = " and is no reader's" if name in USER_READERS else ""
        rule = f"A name is up to 64 letters, digits, '.', '-' and '_'{taken}, such as csv:calls"
        raise CorpusError(f"{corpus!r}: a corpus cannot be called {name!r}. {rule}")
    return reader, name


def with_licences(corpora: Sequence[UserCorpus], licences: Sequence[str]) -> list[UserCorpus]:
    """Return the corpora with their terms: TEXT is for the only one, NAME=TEXT for the one of that name."""
    terms: dict[str, str] = {}
    names = [corpus.name for corpus in corpora]
    for licence in licences:
        option = f"--licence {licence!r}"
        if not names:
            raise CorpusError(f"{option}: only csv and folders take one. Other corpora have their own")
        name, equals, text = licence.partition("=")
        # Terms may hold a "=" themselves, behind what is no name.
        if not (equals and _NAME.fullmatch(name)):
            name, text = "", licence
        elif name not in names:
            unknown = f"no corpus of your own is called {name!r}{did_you_mean(name, names) or '.'}"
            raise CorpusError(f"{option}: {unknown} Named: {', '.join(names)}")
        if not (text := " ".join(text.split())):
            raise CorpusError(f"{option} is blank. Say the terms of use, such as 'CC BY 4.0'")
        if not name and len(names) > 1:
            raise CorpusError(f"{option}: say of which of {', '.join(names)}, as in {names[0]}={text}")
        name = name or names[0]
        if name in terms:
            raise CorpusError(f"--licence: {name} has two. Give one")
        terms[name] = text
    return [replace(corpus, licence=terms.get(corpus.name, "")) for corpus in corpora]


def read_user_corpora(folder: Path) -> dict[str, UserCorpus]:
    """Return a pack's corpora of the user's own, by name; PackError where their file is damaged."""
    path = folder / USER_CORPORA_FILE
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["corpora"]
        return {row["name"]: UserCorpus(**row) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PackError(f"{path} is damaged ({error!r}). Delete the pack and prepare again") from error


def write_user_corpora(folder: Path, corpora: Iterable[UserCorpus]) -> None:
    """Write corpora so that `read_user_corpora` reads them; OutputError where that fails."""
    write_json(folder / USER_CORPORA_FILE, {"corpora": [asdict(corpus) for corpus in corpora]})


def merge_user_corpora(earlier: Mapping[str, UserCorpus], now: Iterable[UserCorpus]) -> dict[str, UserCorpus]:
    """Return the corpora as they are named now; terms that are not stated again stay."""
    merged = dict(earlier)
    for corpus in now:
        if corpus.licence or corpus.name not in merged:
            merged[corpus.name] = corpus
    return merged
