"""Protocols: which utterances train, which choose the model (dev), which judge it (test).

Nothing here opens audio. Dev is always its own set, apart from test.
"""

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emospec.data.utterances import Utterance
from emospec.errors import ProtocolError, did_you_mean
from emospec.files import write_text

PARTS = ("train", "dev", "test")
DAI_PARTS = 10
TWO_DEV_SPEAKERS_FROM = 8  # speakers, in one-speaker-out
TOO_FEW_SPEAKERS = (
    "Fewer than 3 leave none to train, select or test: train with --set data.protocol=dai2019 (speaker-dependent), "
    "or add speakers"
)
NO_SPEAKER = (
    "Fill the speaker column of a CSV, lay folders out as CLASS/SPEAKER/, or train with --set data.protocol=dai2019 "
    "(speaker-dependent)"
)
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
        indices: tuple[int, ...] = getattr(self, name)
        return indices


@dataclass(frozen=True)
class Split:
    """All folds of one repeat of a protocol.

    Attributes:
        protocol: its name, such as `groups:5`.
        words: what it does, in words.
        repeat: which repeat, from 0; protocols that draw nothing give the same folds in each.
        folds: the folds.
        hash: sha256 over the sorted lists of utterance ids of all folds.
        speaker_overlap: whether any fold tests a speaker that it trains on or selects on; None
            where speakers are unknown.
    """

    protocol: str
    words: str
    repeat: int
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
    """Divide utterances as a protocol says.

    Args:
        utterances: those of the classes in use; order does not matter to the result.
        protocol: `dai2019`, `one-speaker-out`, `groups:K`, `sessions`, `folds` (the corpus's own),
            `folds:FILE` (a CSV with columns speaker,test_fold), `column` (the manifest's split) or `one-corpus-out`.
        repeat: repeat number, from 0: draws anew where the protocol draws.
        seed: seeds the drawing.
        speaker_folds: speaker -> test fold, for `folds` without a file.

    Returns:
        The folds, checked: no part is empty, every class has training samples in every fold.

    Raises:
        ProtocolError: the protocol is unknown, or these utterances do not allow it.
    """
    name, colon, argument = protocol.partition(":")
    makers: dict[str, Callable[[], tuple[list[Fold], str]]] = {
        "dai2019": lambda: _dai2019(utterances, np.random.default_rng([seed, repeat])),
        "one-speaker-out": lambda: _one_speaker_out(utterances),
        "groups": lambda: _speaker_groups(
            utterances, _group_count(protocol), np.random.default_rng([seed, repeat])
        ),
        "sessions": lambda: _sessions(utterances),
        "folds": lambda: _given_folds(utterances, _read_folds(argument) if colon else speaker_folds),
        "column": lambda: _column(utterances),
        "one-corpus-out": lambda: _one_corpus_out(utterances, np.random.default_rng([seed, repeat])),
    }
    if name not in makers or (colon and name not in ("groups", "folds")):
        hint = did_you_mean(name, tuple(makers)) if name not in makers else ""
        raise ProtocolError(
            f"split {protocol!r} is not known{hint or '.'} "
            "Known: dai2019, one-speaker-out, groups:K, sessions, folds, folds:FILE, column, one-corpus-out"
        )
    if not utterances:
        raise ProtocolError("there are no utterances to split")
    folds, words = makers[name]()
    _check(folds, utterances, protocol)
    overlap = _speaker_overlap(folds, utterances)
    return Split(protocol, words, repeat, tuple(folds), _hash(folds, utterances), overlap)


def write_folds(split: Split, utterances: Sequence[Utterance], samples: Sequence[str], path: Path) -> None:
    """Write the fold lists as plain CSV.

    Columns: fold (from 1), part, utterance, speaker (`CORPUS/SPEAKER`, or empty), and of `samples`, a hash
    of each utterance's waveform, what tells it under any name.
    """
    content = io.StringIO()
    writer = csv.writer(content)
    writer.writerow(["fold", "part", "utterance", "speaker", "samples"])
    for number, fold in enumerate(split.folds, start=1):
        for part in PARTS:
            writer.writerows(
                [number, part, utterances[i].id, utterances[i].voice, samples[i]] for i in fold.part(part)
            )
    write_text(path, content.getvalue())


def speakers_overlap(test: Set[str], seen: Set[str]) -> bool | None:
    """Return whether test speakers were seen in training or dev; None where nobody can say.

    Args:
        test, seen: speakers as `Utterance.voice`; an empty name stands for unknown ones.
    """
    if (test & seen) - {""}:
        return True
    return None if "" in test | seen else False


def any_overlap(overlaps: Iterable[bool | None]) -> bool | None:
    """Return whether speakers are shared anywhere; None where none is known to be, but not all is known."""
    present = set(overlaps)
    return True if True in present else None if None in present else False


def _dai2019(utterances: Sequence[Utterance], rng: np.random.Generator) -> tuple[list[Fold], str]:
    """Stratified round-robin into 10 parts; fold k of 5 tests on part 2k+1 and selects on part 2k."""
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i in _by_id(utterances, range(len(utterances))):
        u = utterances[i]
        # The label, not the emotion: excited is a stratum of its own though its class is happy.
        strata[(u.corpus, u.session, u.style, u.sex, u.emotion, u.label)].append(i)
    parts: list[list[int]] = [[] for _ in range(DAI_PARTS)]
    for key in sorted(strata):
        start = int(rng.integers(DAI_PARTS))
        for place, i in enumerate(rng.permutation(strata[key])):
            parts[(start + place) % DAI_PARTS].append(int(i))
    folds = [_fold_of_groups(parts, test=2 * k + 1, dev=[2 * k]) for k in range(DAI_PARTS // 2)]
    words = (
        "dai2019 (Dai et al. 2019): stratified by corpus, session, style, sex, emotion and the corpus's own label, shuffled, dealt into "
        "10 parts; fold k of 5 tests on part 2k+1, selects on part 2k and trains on the other 8. The same speakers "
        "are in training and test, and half of the corpus is ever tested. UA and WA are means over the runs."
    )
    return folds, words


def _one_speaker_out(utterances: Sequence[Utterance]) -> tuple[list[Fold], str]:
    """Fold i tests speaker i and selects on the next one or two in cyclic order."""
    groups = _group_by_voice(utterances, "one-speaker-out")
    _at_least_three(groups, "one-speaker-out", "speakers")
    ahead = 2 if len(groups) >= TWO_DEV_SPEAKERS_FROM else 1
    parts = [groups[voice] for voice in sorted(groups)]
    n = len(parts)
    folds = [_fold_of_groups(parts, i, [(i + k) % n for k in range(1, ahead + 1)]) for i in range(n)]
    words = (
        f"one-speaker-out: each of {n} speakers is tested once; the next {'two speakers' if ahead == 2 else 'speaker'} "
        "in cyclic order of their names select the model, the others train it. "
        "UA and WA are over the pooled test predictions of all folds."
    )
    return folds, words


def _speaker_groups(
    utterances: Sequence[Utterance], count: int, rng: np.random.Generator
) -> tuple[list[Fold], str]:
    """Speaker-disjoint groups, dealt by corpus and sex so that each group has its share of both."""
    groups = _group_by_voice(utterances, f"groups:{count}")
    if len(groups) < count:
        raise ProtocolError(
            f"groups:{count} needs {count} speakers, found {len(groups)}. "
            + (f"Choose groups:{len(groups)}" if len(groups) >= 3 else TOO_FEW_SPEAKERS)
        )
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for voice in sorted(groups):
        first = utterances[groups[voice][0]]
        strata[(first.corpus, first.sex)].append(voice)
    parts: list[list[int]] = [[] for _ in range(count)]
    place = 0
    for key in sorted(strata):
        for k in rng.permutation(len(strata[key])):
            parts[place % count].extend(groups[strata[key][int(k)]])
            place += 1
    words = (
        f"groups:{count}: {len(groups)} speakers in {count} speaker-disjoint groups, balanced over corpora and sex; "
        "each group is tested once, the next in cyclic order selects the model, the others train it. "
        "UA and WA are over the pooled test predictions of all folds."
    )
    return _cyclic(parts), words


def _sessions(utterances: Sequence[Utterance]) -> tuple[list[Fold], str]:
    """Each recording session is tested once."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, u in enumerate(utterances):
        if not u.session:
            raise ProtocolError(
                f"sessions needs a session for every utterance; {u.id} has none. Use groups:5 instead"
            )
        groups[f"{u.corpus}/{u.session}"].append(i)
    _at_least_three(groups, "sessions", "sessions")
    words = (
        f"sessions: each of {len(groups)} recording sessions is tested once, the next in cyclic order selects the "
        "model, the others train it. UA and WA are over the pooled test predictions of all folds."
    )
    return _cyclic([groups[s] for s in sorted(groups)]), words


def _given_folds(
    utterances: Sequence[Utterance], speaker_folds: Mapping[str, int] | None
) -> tuple[list[Fold], str]:
    """Test folds given by speaker; the next fold in cyclic order selects."""
    if not speaker_folds:
        raise ProtocolError(
            "this corpus has no folds of its own. Name a CSV with the columns speaker,test_fold: folds:FILE"
        )
    groups: dict[int, list[int]] = defaultdict(list)
    for i, u in enumerate(utterances):
        if u.speaker not in speaker_folds:
            raise ProtocolError(
                f"the fold list does not name speaker {u.speaker!r} of {u.id}. Add a row for the speaker"
            )
        groups[speaker_folds[u.speaker]].append(i)
    _at_least_three(groups, "folds", "folds")
    words = (
        f"folds: {len(groups)} given speaker-disjoint test folds; the next fold in cyclic order selects the model, the "
        "others train it. UA and WA are over the pooled test predictions of all folds."
    )
    return _cyclic([groups[f] for f in sorted(groups)]), words


def _column(utterances: Sequence[Utterance]) -> tuple[list[Fold], str]:
    """One fold, as the manifest's split column deals it."""
    groups: dict[str, list[int]] = {part: [] for part in PARTS}
    for i, u in enumerate(utterances):
        if u.split not in groups:
            raise ProtocolError(
                f"column needs train, dev or test in the split column for every utterance; {u.id} has {u.split!r}"
            )
        groups[u.split].append(i)
    return [
        Fold(*(tuple(groups[part]) for part in PARTS))
    ], "column: one fold, as the split column of the corpus's manifest deals it."


def _one_corpus_out(utterances: Sequence[Utterance], rng: np.random.Generator) -> tuple[list[Fold], str]:
    """Fold i tests corpus i; a fifth of the speakers of each other corpus select."""
    corpora: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for voice, group in _group_by_voice(utterances, "one-corpus-out").items():
        corpora[utterances[group[0]].corpus][voice] = group
    if len(corpora) < 2:
        raise ProtocolError(
            f"one-corpus-out needs at least 2 corpora, found {', '.join(corpora)} alone. "
            "Prepare more into one pack: NAME=ROOT NAME=ROOT"
        )
    parts: list[list[int]] = []
    for name in sorted(corpora):
        voices = sorted(corpora[name])
        chosen = set(rng.permutation(len(voices))[: max(1, round(len(voices) / 5))].tolist())
        for wanted in (True, False):
            parts.append(
                [i for k, v in enumerate(voices) if (k in chosen) == wanted for i in corpora[name][v]]
            )
    folds = []
    for place in range(len(corpora)):
        others = [k for k in range(len(corpora)) if k != place]
        train, dev, test = (
            tuple(sorted(i for g in groups for i in parts[g]))
            for groups in ([2 * k + 1 for k in others], [2 * k for k in others], [2 * place, 2 * place + 1])
        )
        folds.append(Fold(train, dev, test))
    words = (
        f"one-corpus-out: each of {len(corpora)} corpora is tested once, in the order of their names; a fifth of the speakers "
        "of each of the others select the model, the rest of theirs train it. UA and WA are over the pooled test "
        "predictions of all folds."
    )
    return folds, words


def _cyclic(parts: list[list[int]]) -> list[Fold]:
    return [_fold_of_groups(parts, i, [(i + 1) % len(parts)]) for i in range(len(parts))]


def _fold_of_groups(parts: list[list[int]], test: int, dev: list[int]) -> Fold:
    train = [i for g, part in enumerate(parts) if g != test and g not in dev for i in part]
    return Fold(
        tuple(sorted(train)), tuple(sorted(i for g in dev for i in parts[g])), tuple(sorted(parts[test]))
    )


def _by_id(utterances: Sequence[Utterance], indices: Sequence[int] | range) -> tuple[int, ...]:
    return tuple(sorted(indices, key=lambda i: utterances[i].id))


def _group_by_voice(utterances: Sequence[Utterance], protocol: str) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for i in _by_id(utterances, range(len(utterances))):
        voice = utterances[i].voice
        if not voice:
            raise ProtocolError(
                f"{protocol} needs a speaker for every utterance; {utterances[i].id} has none. {NO_SPEAKER}"
            )
        groups[voice].append(i)
    return groups


def _group_count(protocol: str) -> int:
    argument = protocol.partition(":")[2]
    if not argument.isdecimal() or int(argument) < 3:
        raise ProtocolError(f"split {protocol!r} needs a number of groups of at least 3, such as groups:5")
    return int(argument)


def _at_least_three(groups: Mapping[str, object] | Mapping[int, object], protocol: str, noun: str) -> None:
    if len(groups) < 3:
        raise ProtocolError(
            f"{protocol} needs at least 3 {noun}, one each to train, select and test; found {len(groups)}. "
            "Use dai2019 (--set data.protocol=dai2019, speaker-dependent), or add data"
        )


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
            raise ProtocolError(
                f"fold list {file!r}: needs the columns speaker,test_fold with whole numbers ({error!r})"
            ) from error
        if folds.setdefault(speaker, fold) != fold:
            raise ProtocolError(f"fold list {file!r}: puts speaker {speaker!r} in two folds. Keep one row")
    if not folds:
        raise ProtocolError(f"fold list {file!r}: no row below the header speaker,test_fold")
    return folds


def _check(folds: Sequence[Fold], utterances: Sequence[Utterance], protocol: str) -> None:
    classes = sorted({u.emotion for u in utterances})
    tested: Counter[str] = Counter()
    for number, fold in enumerate(folds, start=1):
        for part in PARTS:
            if not fold.part(part):
                raise ProtocolError(
                    f"fold {number} of {protocol} has no {part} utterances. Choose another split"
                )
        trained = {utterances[i].emotion for i in fold.train}
        if missing := [c for c in classes if c not in trained]:
            raise ProtocolError(
                f"fold {number} of {protocol} has no training sample of {', '.join(missing)}. "
                "Leave the class out (--set data.classes=...) or choose another split"
            )
        tested.update(utterances[i].emotion for i in fold.test)
    if missing := [c for c in classes if not tested[c]]:
        raise ProtocolError(
            f"no fold of {protocol} tests {', '.join(missing)}. "
            "Leave the class out (--set data.classes=...) or choose another split"
        )


def _speaker_overlap(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> bool | None:
    def voices(indices: Iterable[int]) -> set[str]:
        return {utterances[i].voice for i in indices}

    return any_overlap(speakers_overlap(voices(f.test), voices((*f.train, *f.dev))) for f in folds)


def _hash(folds: Sequence[Fold], utterances: Sequence[Utterance]) -> str:
    digest = hashlib.sha256()
    for number, fold in enumerate(folds, start=1):
        for part in PARTS:
            for identity in sorted(utterances[i].id for i in fold.part(part)):
                digest.update(f"{number},{part},{identity}\n".encode())
    return digest.hexdigest()
