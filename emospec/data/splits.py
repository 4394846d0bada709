"""Protocols: the division of utterances into those that train, select the model (dev) and test it.

Nothing here opens audio. Dev is always a set of its own, apart from test.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from emospec.data.utterances import Utterance
from emospec.errors import ProtocolError, did_you_mean
from emospec.files import write_text

_Key = TypeVar("_Key", int, str, tuple[str, ...])

PARTS = ("train", "dev", "test")
_DAI_PARTS = 10
# From so many speakers on, one-speaker-out selects on two of them.
_TWO_DEV_SPEAKERS_FROM = 8
NO_SPEAKER = (
    "Fill the speaker column of a CSV, lay folders out as CLASS/SPEAKER/, or train with --set data.protocol=dai2019 "
    "(speaker-dependent)"
)
_POOLED = "UA and WA are over the pooled test predictions of all folds."
UNKNOWN_SPEAKERS = (
    "the speakers of some utterances are unknown, so nobody can say whether test speakers were trained on"
)


@dataclass(frozen=True)
class Fold:
    """One division of a corpus: indices into its list of utterances, each sorted."""

    train: tuple[int, ...]
    dev: tuple[int, ...]
    test: tuple[int, ...]

    def part(self, name: str) -> tuple[int, ...]:
        """The indices of `train`, `dev` or `test`."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


# The folds of a protocol, and a description of it for reports.
_Folds = tuple[list[Fold], str]


@dataclass(frozen=True)
class Split:
    """All folds of one repeat of a protocol.

    Attributes:
        words: a description for reports.
        hash: sha256 over the sorted lists of utterance ids of all folds.
        speaker_overlap: whether a test speaker is also in training or dev; None where speakers are unknown.
    """

    protocol: str
    words: str
    folds: tuple[Fold, ...]
    hash: str
    speaker_overlap: bool | None


def make_split(
    utterances: Sequence[Utterance],
    protocol: str,
    *,
    repeat: int = 0,
    seed: int = 0,
    speaker_folds: Mapping[str, int] | None = None,
) -> Split:
    """Return the checked folds of a protocol: no part is empty, every class has training samples in every fold.

    Args:
        utterances: those of the classes in use; order does not matter to the result.
        protocol: `dai2019`, `one-speaker-out`, `groups:K`, `sessions`, `folds` (the corpus's own),
            `folds:FILE` (a CSV with columns speaker,test_fold), `column` (the manifest's split) or `one-corpus-out`.
        repeat: from 0; draws anew where the protocol draws.
        seed: seeds the drawing.
        speaker_folds: speaker -> test fold, for `folds` without a file.
    """
    name, colon, argument = protocol.partition(":")
    rng = np.random.default_rng([seed, repeat])
    makers: dict[str, Callable[[], _Folds]] = {
        "dai2019": lambda: _dai2019(utterances, rng),
        "one-speaker-out": lambda: _one_speaker_out(utterances),
        "groups": lambda: _speaker_groups(utterances, protocol, rng),
        "sessions": lambda: _sessions(utterances),
        "folds": lambda: _given_folds(utterances, _read_folds(argument) if colon else speaker_folds),
        "column": lambda: _column(utterances),
        "one-corpus-out": lambda: _one_corpus_out(utterances, rng),
    }
    if name not in makers or (colon and name not in ("groups", "folds")):
        hint = did_you_mean(name, tuple(makers)) if name not in makers else ""
        names = "dai2019, one-speaker-out, groups:K, sessions, folds, folds:FILE, column, one-corpus-out"
        raise ProtocolError(f"split {protocol!r} is not known{hint or '.'} Known: {names}")
    if not utterances:
        raise ProtocolError("there are no utterances to split")
    folds, words = makers[name]()
    _check(folds, utterances, protocol)
    voices = [u.voice for u in utterances]
    overlap = any_overlap(
        speakers_overlap({voices[i] for i in fold.test}, {voices[i] for i in fold.train + fold.dev})
        for fold in folds
    )
    digest = _hash(folds, utterances)
    return Split(protocol, words, tuple(folds), hash=digest, speaker_overlap=overlap)


def write_folds(split: Split, utterances: Sequence[Utterance], samples: Sequence[str], path: Path) -> None:
    """Write the fold lists as plain CSV.

    Speakers are `CORPUS/SPEAKER`, or empty; `samples` holds a hash of each utterance's waveform, which
    identifies it under any name.
    """
    content = io.StringIO()
    writer = csv.writer(content)
    writer.writerow(["fold", "part", "utterance", "speaker", "samples"])
    for number, fold in enumerate(split.folds, start=1):
        for part in PARTS:
            rows = ((utterances[i], samples[i]) for i in fold.part(part))
            writer.writerows([number, part, u.id, u.voice, sha256] for u, sha256 in rows)
    write_text(path, content.getvalue())


def speakers_overlap(test: Set[str], seen: Set[str]) -> bool | None:
    """Return whether test speakers were seen in training or dev; None where some are unknown, which are empty."""
    if (test & seen) - {""}:
        return True
    return None if "" in test | seen else False


def any_overlap(overlaps: Iterable[bool | None]) -> bool | None:
    """Return whether speakers are shared anywhere; None where none is known to be, but not all is known."""
    present = set(overlaps)
    return True if True in present else None if None in present else False


def _dai2019(utterances: Sequence[Utterance], rng: np.random.Generator) -> _Folds:
    # The label, not the emotion: excited is a stratum of its own though its class is happy.
    strata = _group_by(utterances, lambda u: (u.corpus, u.session, u.style, u.sex, u.emotion, u.label))
    parts: list[list[int]] = [[] for _ in range(_DAI_PARTS)]
    for key in sorted(strata):
        # A random start spreads the remainders of the strata over the parts.
        start = int(rng.integers(_DAI_PARTS))
        for place, i in enumerate(rng.permutation(strata[key])):
            parts[(start + place) % _DAI_PARTS].append(int(i))
    folds = [_fold_of(parts, test=2 * k + 1, dev=[2 * k]) for k in range(_DAI_PARTS // 2)]
    return folds, (
        "dai2019 (Dai et al. 2019): stratified by corpus, session, style, sex, emotion and the corpus's own label, "
        "shuffled, dealt into 10 parts; fold k of 5 tests on part 2k+1, selects on part 2k and trains on the "
        "other 8. The same speakers are in training and test, and half of the corpus is ever tested. "
        "UA and WA are means over the runs."
    )


def _one_speaker_out(utterances: Sequence[Utterance]) -> _Folds:
    groups = _group_by_voice(utterances, "one-speaker-out")
    ahead = 2 if len(groups) >= _TWO_DEV_SPEAKERS_FROM else 1
    return _cyclic(groups, "one-speaker-out", "speakers", ahead), (
        f"one-speaker-out: each of {len(groups)} speakers is tested once; the next "
        f"{'two speakers' if ahead == 2 else 'speaker'} in cyclic order of their names select the model, "
        f"the others train it. {_POOLED}"
    )


def _speaker_groups(utterances: Sequence[Utterance], protocol: str, rng: np.random.Generator) -> _Folds:
    argument = protocol.partition(":")[2]
    if not argument.isdecimal() or (count := int(argument)) < 3:
        raise ProtocolError(f"split {protocol!r} needs a number of groups of at least 3, such as groups:5")
    voices = _group_by_voice(utterances, f"groups:{count}")
    if len(voices) < count:
        advice = f"Choose groups:{len(voices)}"
        if len(voices) < 3:
            advice = (
                "Fewer than 3 leave none to train, select or test: train with --set data.protocol=dai2019 "
                "(speaker-dependent), or add speakers"
            )
        raise ProtocolError(f"groups:{count} needs {count} speakers, found {len(voices)}. {advice}")
    # Dealing stratum after stratum in turn gives each group its share of every corpus and sex.
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for voice in sorted(voices):
        first = utterances[voices[voice][0]]
        strata[(first.corpus, first.sex)].append(voice)
    dealt = [strata[key][int(k)] for key in sorted(strata) for k in rng.permutation(len(strata[key]))]
    groups = {g: [i for voice in dealt[g::count] for i in voices[voice]] for g in range(count)}
    return _cyclic(groups, f"groups:{count}", "groups"), (
        f"groups:{count}: {len(voices)} speakers in {count} speaker-disjoint groups, balanced over corpora and "
        f"sex; each group is tested once, the next in cyclic order selects the model, the others train it. {_POOLED}"
    )


def _sessions(utterances: Sequence[Utterance]) -> _Folds:
    groups = _group_by(
        utterances,
        lambda u: f"{u.corpus}/{u.session}" if u.session else None,
        lambda u: f"sessions needs a session for every utterance; {u.id} has none. Use groups:5 instead",
    )
    return _cyclic(groups, "sessions", "sessions"), (
        f"sessions: each of {len(groups)} recording sessions is tested once, the next in cyclic order selects the "
        f"model, the others train it. {_POOLED}"
    )


def _given_folds(utterances: Sequence[Utterance], speaker_folds: Mapping[str, int] | None) -> _Folds:
    if not speaker_folds:
        advice = "Name a CSV with the columns speaker,test_fold: folds:FILE"
        raise ProtocolError(f"this corpus has no folds of its own. {advice}")
    groups = _group_by(
        utterances,
        lambda u: speaker_folds.get(u.speaker),
        lambda u: f"the fold list does not name speaker {u.speaker!r} of {u.id}. Add a row for the speaker",
    )
    return _cyclic(groups, "folds", "folds"), (
        f"folds: {len(groups)} given speaker-disjoint test folds; the next fold in cyclic order selects the model, "
        f"the others train it. {_POOLED}"
    )


def _column(utterances: Sequence[Utterance]) -> _Folds:
    groups = _group_by(
        utterances,
        lambda u: u.split if u.split in PARTS else None,
        lambda u: (
            f"column needs train, dev or test in the split column for every utterance; {u.id} has {u.split!r}"
        ),
    )
    fold = _sorted_fold(*(groups.get(part, []) for part in PARTS))
    return [fold], "column: one fold, as the split column of the corpus's manifest deals it."


def _one_corpus_out(utterances: Sequence[Utterance], rng: np.random.Generator) -> _Folds:
    corpora: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for voice, group in _group_by_voice(utterances, "one-corpus-out").items():
        corpora[utterances[group[0]].corpus][voice] = group
    if len(corpora) < 2:
        alone = f"found {', '.join(corpora)} alone. Prepare more into one pack: NAME=ROOT NAME=ROOT"
        raise ProtocolError(f"one-corpus-out needs at least 2 corpora, {alone}")
    # A fifth of each corpus's speakers select wherever another corpus is tested.
    selecting: dict[str, list[int]] = defaultdict(list)
    others: dict[str, list[int]] = defaultdict(list)
    for name in sorted(corpora):
        voices = sorted(corpora[name])
        chosen = set(rng.permutation(len(voices))[: max(1, round(len(voices) / 5))].tolist())
        for k, voice in enumerate(voices):
            (selecting if k in chosen else others)[name] += corpora[name][voice]
    folds = []
    for tested in sorted(corpora):
        rest = [name for name in corpora if name != tested]
        train, dev = ([i for name in rest for i in part[name]] for part in (others, selecting))
        folds.append(_sorted_fold(train, dev, selecting[tested] + others[tested]))
    return folds, (
        f"one-corpus-out: each of {len(corpora)} corpora is tested once, in the order of their names; a fifth of "
        f"the speakers of each of the others select the model, the rest of theirs train it. {_POOLED}"
    )


def _cyclic(groups: Mapping[_Key, list[int]], protocol: str, noun: str, ahead: int = 1) -> list[Fold]:
    """Return a fold for each group, in order, which tests it and selects on the next `ahead` in cyclic order."""
    if len(groups) < 3:
        needs = f"needs at least 3 {noun}, one each to train, select and test; found {len(groups)}"
        advice = "Use dai2019 (--set data.protocol=dai2019, speaker-dependent), or add data"
        raise ProtocolError(f"{protocol} {needs}. {advice}")
    parts = [groups[key] for key in sorted(groups)]
    n = len(parts)
    return [_fold_of(parts, i, [(i + k) % n for k in range(1, ahead + 1)]) for i in range(n)]


def _fold_of(parts: list[list[int]], test: int, dev: list[int]) -> Fold:
    train = [i for g, part in enumerate(parts) if g != test and g not in dev for i in part]
    return _sorted_fold(train, [i for g in dev for i in parts[g]], parts[test])


def _sorted_fold(*parts: Sequence[int]) -> Fold:
    return Fold(*(tuple(sorted(part)) for part in parts))


def _group_by_voice(utterances: Sequence[Utterance], protocol: str) -> dict[str, list[int]]:
    return _group_by(
        utterances,
        lambda u: u.voice or None,
        lambda u: f"{protocol} needs a speaker for every utterance; {u.id} has none. {NO_SPEAKER}",
    )


def _group_by(
    utterances: Sequence[Utterance],
    key: Callable[[Utterance], _Key | None],
    refusal: Callable[[Utterance], str] = str,
) -> dict[_Key, list[int]]:
    keys = [key(u) for u in utterances]
    if None in keys:
        raise ProtocolError(refusal(utterances[keys.index(None)]))
    groups: dict[_Key, list[int]] = defaultdict(list)
    # In the order of ids, so that the order of the utterances does not change what is drawn.
    for i in sorted(range(len(utterances)), key=lambda i: utterances[i].id):
        groups[keys[i]].append(i)  # type: ignore[index]
    return groups


def _read_folds(file: str) -> dict[str, int]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ProtocolError(f"fold list {file!r}: cannot be read ({reason})") from error
    folds: dict[str, int] = {}
    for row in rows:
        try:
            speaker, fold = row["speaker"].strip(), int(row["test_fold"])
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            needs = f"needs the columns speaker,test_fold with whole numbers ({error!r})"
            raise ProtocolError(f"fold list {file!r}: {needs}") from error
        if folds.setdefault(speaker, fold) != fold:
            raise ProtocolError(f"fold list {file!r}: puts speaker {speaker!r} in two folds. Keep one row")
    if not folds:
        raise ProtocolError(f"fold list {file!r}: no row below the header speaker,test_fold")
    return folds


def _check(folds: Sequence[Fold], utterances: Sequence[Utterance], protocol: str) -> None:
    """Raise a ProtocolError where a part is empty, or a class is not trained in a fold or never tested."""
    classes = {u.emotion for u in utterances}

    def require_classes(indices: Iterable[int], lack: str) -> None:
        if missing := ", ".join(sorted(classes - {utterances[i].emotion for i in indices})):
            advice = "Leave the class out (--set data.classes=...) or choose another split"
            raise ProtocolError(f"{lack} {missing}. {advice}")

    for number, fold in enumerate(folds, start=1):
        of = f"fold {number} of {protocol} has no"
        if empty := [part for part in PARTS if not fold.part(part)]:
            raise ProtocolError(f"{of} {empty[0]} utterances. Choose another split")
        require_classes(fold.train, f"{of} training sample of")
    require_classes((i for fold in folds for i in fold.test), f"no fold of {protocol} tests")


def _hash(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> str:
    digest = hashlib.sha256()
    for number, fold in enumerate(folds, start=1):
        for part in PARTS:
            for identity in sorted(utterances[i].id for i in fold.part(part)):
                digest.update(f"{number},{part},{identity}\n".encode())
    return digest.hexdigest()
