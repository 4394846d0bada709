"""The entry of a corpus, and the finding of recordings by their names, which all readers share.

A reader turns names into utterances. Nothing here opens audio or knows a single corpus.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emospec.audio.discovery import find_files
from emospec.data.utterances import Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The entry of one corpus: where it comes from, what it holds when whole, and how it is read.

    Attributes:
        title, citation: the name that its authors gave it, and the paper to cite.
        source: where to get it; empty for your own data, as are licence and citation.
        language: ISO 639-1 code; empty where the data says.
        protocol: the default one, as in `emospec.data.splits`.
        layout: the files that the reader looks for, in words.
        read: a root folder -> utterances, in any order; an empty list where nothing is found.
        expected: utterances of the whole corpus in `classes`; None where there is no whole.
        classes: utterances by emotion; emotions that are not listed are read, and not expected.
        speakers: utterances by speaker where known, else the number of speakers, 0 where unknown.
        sessions: utterances by recording session; empty where the corpus has none.
        preferred: folders to prefer when one recording lies in several.
        folds: speaker -> test fold, for the protocol `folds`.
        speech: the source of the emotions: `acted`, `synthetic` ...; empty where the data says.
        note: what a user of this corpus must know.
    """

    name: str
    title: str
    licence: str = ""
    citation: str = ""
    source: str = ""
    language: str = ""
    protocol: str
    layout: str
    read: Callable[[Path], list[Utterance]]
    expected: int | None = None
    classes: dict[str, int] = field(default_factory=dict)
    speakers: dict[str, int] | int = 0
    sessions: dict[str, int] = field(default_factory=dict)
    preferred: tuple[str, ...] = ()
    folds: dict[str, int] = field(default_factory=dict)
    speech: str = ""
    note: str = ""


def scan(root: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Yield file, stem and the pattern's groups of the recordings whose name matches the pattern as a whole."""
    for file in find_files(root):
        # The stem alone, or `folder/stem`: official layouts and copies flattened into one folder are read alike.
        match = pattern.fullmatch(file.stem) or pattern.fullmatch(f"{file.parent.name}/{file.stem}")
        if match:
            yield file, match.group().replace("/", "_"), match.groupdict()


def named_reader(
    corpus: str,
    pattern: re.Pattern[str],
    emotions: Mapping[str, str],
    is_female: Callable[[dict[str, str]], bool],
    *,
    language: str = "",
    spell: Callable[[dict[str, str]], dict[str, str]] = dict,
) -> Callable[[Path], list[Utterance]]:
    """Return the `read` of a corpus whose file names say everything.

    Args:
        corpus: its name.
        pattern: of names, with the groups `speaker`, `code` (of the emotion) and, where there is one, `text`.
        emotions: code -> emotion.
        is_female: the groups of a name -> whether the speaker is a woman.
        language: ISO 639-1 code.
        spell: maps the groups of a name to the utterance's values.
    """

    def utterance(file: Path, stem: str, groups: dict[str, str]) -> Utterance:
        return Utterance(
            id=f"{corpus}/{stem}",
            corpus=corpus,
            file=file,
            speaker=groups["speaker"],
            emotion=emotions[groups["code"]],
            label=groups["code"],
            sex="f" if is_female(groups) else "m",
            language=language,
            text=groups.get("text", ""),
        )

    return lambda root: [utterance(file, stem, spell(groups)) for file, stem, groups in scan(root, pattern)]
