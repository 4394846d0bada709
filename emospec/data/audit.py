"""The audit of one fold: what in it would make its number look better than it is.

Reads lists, hashes and fingerprints, never audio. A leak is a warning that travels with the number; it
stops nothing by itself.
"""

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emospec.data.fingerprint import FEWEST_BITS, near_duplicates, strong_bits
from emospec.data.pack import Pack
from emospec.data.splits import PARTS, UNKNOWN_SPEAKERS, Fold
from emospec.data.utterances import Utterance
from emospec.errors import ProtocolError

Verdict = Literal["pass", "fail", "not applicable", "note"]
Ids = tuple[str, ...]

SPEAKER_DEPENDENT = ("dai2019",)
"""Protocols that share speakers by design."""
NOT_TRAINED = "not trained yet"
MOST_EVIDENCE = 100  # rows kept of a finding: it goes into every run's meta.json
_SETS = {"train": "training", "dev": "dev", "test": "test"}


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        verdict: a note says something that is worth knowing and no leak.
        words: the verdict in a sentence.
        evidence: rows of a speaker, a sentence, or the ids of two utterances; the first `MOST_EVIDENCE`.
    """

    check: str
    verdict: Verdict
    words: str
    evidence: tuple[Ids, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What all checks found, in a fixed order."""

    findings: tuple[Finding, ...]

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings that failed."""
        return tuple(f for f in self.findings if f.verdict == "fail")

    @property
    def summary(self) -> str:
        """One line to stand beside a number."""
        if not self.findings:
            return "audit: not made"
        if not self.leaks:
            mute = (f for f in self.findings if f.verdict == "not applicable" and f.words != NOT_TRAINED)
            untold = [f.check for f in mute if f.check != "sentences"]  # which are no leak
            return "audit: no leak" + f"; could not be told: {', '.join(untold)}" * bool(untold)
        names = "; ".join(f"{f.check}: {f.words}" for f in self.leaks)
        return f"audit: {len(self.leaks)} leak{'s' * (len(self.leaks) > 1)}: {names}"

    def refuse_leaks(self) -> None:
        """What `--strict` does.

        Raises:
            ProtocolError: there is a leak.
        """
        if self.leaks:
            raise ProtocolError(f"{self.summary}. Choose another split, or train without --strict")

    def replaced(self, findings: Iterable[Finding]) -> "Audit":
        """The audit with the findings of the same checks replaced by these."""
        new = {f.check: f for f in findings}
        return Audit(tuple(new.get(f.check, f) for f in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"findings": [asdict(f) for f in self.findings]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Audit":
        """Read `to_dict` back, also from JSON.

        Raises:
            KeyError, TypeError: it is not the content of an audit.
        """
        return cls(
            tuple(
                Finding(**(row | {"evidence": tuple(tuple(ids) for ids in row["evidence"])}))
                for row in content["findings"]
            )
        )


def hash_ids(ids: Iterable[str]) -> str:
    """Sha256 over the sorted ids of utterances, each as often as it was used.

    Example:
        >>> hash_ids(["demo/b", "demo/a"]) == hash_ids(["demo/a", "demo/b"])
        True
    """
    return hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()


def audit_fold(
    pack: Pack,
    fold: Fold,
    utterances: Sequence[Utterance],
    *,
    protocol: str = "",
    fitted_on: str | None = None,
    selected_on: str | None = None,
) -> Audit:
    """Audit one fold, before its training or after.

    Args:
        pack: holds the utterances' hashes and fingerprints, among others'.
        fold: indices into `utterances`.
        utterances: those of the classes in use.
        protocol: its name, such as `dai2019`.
        fitted_on: `hash_ids` of the utterances whose frames the standardiser was fitted on; None before.
        selected_on: `hash_ids` of the utterances that selected the model; None before.

    Raises:
        ProtocolError: the pack does not hold one of the utterances.
    """
    parts = {part: [utterances[i] for i in fold.part(part)] for part in PARTS}
    try:
        places = {part: pack.places(chosen) for part, chosen in parts.items()}
    except KeyError as error:
        missing = error.args[0]
        raise ProtocolError(
            f"{pack.folder} does not hold {missing}. Prepare it from the same corpus"
        ) from error
    same = list(dict.fromkeys([*_same_samples(pack, places), *_shared_stretches(parts, places)]))
    return Audit(
        (
            _speakers(parts, protocol),
            _duplicates(pack, same),
            _near_duplicates(pack, places, {pair for _, _, pair in same}),
            *audit_lists(fold, utterances, fitted_on=fitted_on, selected_on=selected_on),
            _sentences(parts),
            _repeats(pack, places),
        )
    )


def audit_lists(
    fold: Fold, utterances: Sequence[Utterance], *, fitted_on: str | None, selected_on: str | None
) -> tuple[Finding, Finding]:
    """The two checks that only training can settle: standardiser and selection. As in `audit_fold`."""
    ids = {part: [utterances[i].id for i in fold.part(part)] for part in PARTS}
    return (
        _list_used("standardiser", "fitted", "train", fitted_on, ids),
        _list_used("selection", "made", "dev", selected_on, ids),
    )


def audit_start(
    fold: Fold,
    utterances: Sequence[Utterance],
    run: str,
    known: Iterable[str],
    shared_voices: Sequence[str],
    unsure: str,
) -> Finding:
    """Whether the run whose weights were taken over knew test's utterances or speakers.

    Args:
        fold, utterances: as in `audit_fold`.
        run: its folder, for the words.
        known: ids of those utterances that made it, as train or dev, or made a run it started from.
        shared_voices: those of test's speakers who made it, as `Utterance.voice`.
        unsure: why nobody can say whether others of them did; empty where none did.
    """
    check, known = "start", set(known)
    test = [utterances[i] for i in fold.test]
    if shared := sorted(u.id for u in test if u.id in known):
        words = (
            f"{run}, from which the weights come, was made with {len(shared)} of {len(test)} test utterances"
        )
        return _finding(check, "fail", words, [(name,) for name in shared])
    if shared_voices:
        words = f"{run}, from which the weights come, was made with {len(shared_voices)} of the test speakers"
        return _finding(check, "fail", words, [(voice,) for voice in shared_voices])
    if unsure:
        return _finding(check, "not applicable", unsure)
    return _finding(check, "pass", f"{run}, from which the weights come, knows no test utterance or speaker")


def _speakers(parts: Mapping[str, Sequence[Utterance]], protocol: str) -> Finding:
    """Test speakers who also train or select."""
    check = "speakers"
    voices = {part: {u.voice for u in chosen} for part, chosen in parts.items()}
    test, seen = voices["test"] - {""}, (voices["train"] | voices["dev"]) - {""}
    if shared := sorted(test & seen):
        also = " and ".join(_SETS[p] for p in ("train", "dev") if voices[p] & set(shared))
        words = f"{len(shared)} of {len(test)} test speakers are also in {also}"
        if protocol.partition(":")[0] in SPEAKER_DEPENDENT:
            words += f" (speaker-dependent, by design of {protocol})"
        return _finding(check, "fail", words, [(voice,) for voice in shared])
    if any("" in found for found in voices.values()):
        return _finding(check, "not applicable", UNKNOWN_SPEAKERS)
    return _finding(check, "pass", f"no test speaker (of {len(test)}) is in training or dev")


def _duplicates(pack: Pack, pairs: Sequence[tuple[str, str, tuple[int, int]]]) -> Finding:
    """The same decoded samples in two sets, whole recordings or parts of them."""
    if not pairs:
        return _finding("duplicates", "pass", "no recording is in two sets with the same samples")
    rows = _named(pack, [pair for _, _, pair in pairs])
    return _finding(
        "duplicates", "fail", f"the same samples in two sets: {_counted(pairs)}{_such_as(rows)}", rows
    )


def _same_samples(pack: Pack, places: Mapping[str, Sequence[int]]) -> list[tuple[str, str, tuple[int, int]]]:
    """(set, other set, places of one recording in each), the sets in order of `_set_pairs`."""
    pairs, hashes = [], pack.entries.sha256
    for one, other in _set_pairs():
        by_hash = defaultdict(list)
        for i in places[other]:
            by_hash[hashes[i]].append(i)
        pairs += [(one, other, (i, j)) for i in places[one] for j in by_hash.get(hashes[i], ())]
    return pairs


def _shared_stretches(
    parts: Mapping[str, Sequence[Utterance]], places: Mapping[str, Sequence[int]]
) -> list[tuple[str, str, tuple[int, int]]]:
    """As `_same_samples`, for stretches of one recording that overlap, such as windows that slide."""
    by_file: dict[str, list[tuple[float, float, str, int]]] = defaultdict(list)
    for part in PARTS:
        for u, place in zip(parts[part], places[part], strict=True):
            end = math.inf if u.end is None else u.end
            name = os.path.normpath(Path(u.file))  # of a copy: a path keeps its string
            by_file[name].append((u.start, end, part, place))
    pairs: list[dict[str, int]] = []
    for stretches in by_file.values():
        begun: list[tuple[float, float, str, int]] = []
        for start, end, part, place in sorted(stretches):
            begun = [other for other in begun if other[1] > start]
            pairs += [{part: place, before: at} for _, _, before, at in begun if before != part]
            begun.append((start, end, part, place))
    return [
        (one, other, (pair[one], pair[other]))
        for one, other in _set_pairs()
        for pair in pairs
        if pair.keys() == {one, other}
    ]


def _near_duplicates(pack: Pack, places: Mapping[str, Sequence[int]], exact: set[tuple[int, int]]) -> Finding:
    """Copies across sets whose samples differ: re-encoded, resampled, louder, noisier, a little cut, sped up."""
    check, prints = "near-duplicates", pack.fingerprints
    pairs, speeds = [], []
    for one, other in _set_pairs():
        for match in near_duplicates(prints[list(places[one])], prints[list(places[other])]):
            pair = places[one][match.one], places[other][match.other]
            if pair not in exact:
                pairs.append((one, other, pair))
                speeds.append(match.speed)
    told = {part: strong_bits(prints[list(chosen)]) >= FEWEST_BITS for part, chosen in places.items()}
    mute, used = (sum(f(t) for t in told.values()) for f in (lambda t: int(np.count_nonzero(~t)), len))
    unheard = f"; {mute} of {used} recordings are too short, silent or steady to tell" * bool(mute)
    if pairs:
        rows = _named(pack, [pair for _, _, pair in pairs])
        words = f"altered copies of one recording in two sets: {_counted(pairs)}{_such_as(rows)}"
        if abs(speeds[0] - 1) > 0.01:
            words += f" ({100 * abs(speeds[0] - 1):.0f} % {'faster' if speeds[0] > 1 else 'slower'})"
        return _finding(check, "fail", words + unheard, rows)
    if not all(t.any() for t in told.values() if t.size):
        return _finding(
            check, "not applicable", "the recordings of a set are too short, silent or steady to tell"
        )
    return _finding(check, "pass", f"no altered copy of a recording found in another set{unheard}")


def _list_used(
    check: str, verb: str, right: str, used: str | None, ids: Mapping[str, Sequence[str]]
) -> Finding:
    """Whether the list that was used, known by its hash, is that of one part."""
    asked = f"the {len(ids[right])} {_SETS[right]} utterances"
    if used is None:
        return _finding(check, "not applicable", NOT_TRAINED)
    if used == (expected := hash_ids(ids[right])):
        return _finding(check, "pass", f"{verb} on {asked} and no other (sha256 {used[:12]})")
    unions = [names for n in (1, 2, 3) for names in combinations(PARTS, n)]
    for names in unions:
        if used == hash_ids(i for name in names for i in ids[name]):
            found = "all" if len(names) == len(PARTS) else " and ".join(_SETS[name] for name in names)
            return _finding(check, "fail", f"{verb} on the utterances of {found}, not on {asked} alone")
    words = f"{verb} on other utterances (sha256 {used[:12]}) than {asked} ({expected[:12]})"
    return _finding(check, "fail", words)


def _sentences(parts: Mapping[str, Sequence[Utterance]]) -> Finding:
    """Sentences, or prompts and dialogues where these alone are known, both trained on and tested."""
    texts = {p: {f"{u.corpus}/{u.text}" for u in parts[p] if u.text} for p in ("train", "test")}
    if not all(texts.values()):
        return _finding("sentences", "not applicable", "what is said in training or test is unknown")
    shared = sorted(texts["train"] & texts["test"])
    words = f"{len(shared)} of the {len(texts['test'])} sentences or prompts of test are also in training"
    return _finding("sentences", "note", words, [(text,) for text in shared])


def _repeats(pack: Pack, places: Mapping[str, Sequence[int]]) -> Finding:
    """The same samples twice inside one set: they count twice there, and leak nowhere."""
    pairs, hashes = [], pack.entries.sha256
    for part, chosen in places.items():
        by_hash = defaultdict(list)
        for i in chosen:
            by_hash[hashes[i]].append(i)
        pairs += [(part, part, pair) for same in by_hash.values() for pair in combinations(same, 2)]
    rows = _named(pack, [pair for _, _, pair in pairs])
    found = f"{_counted(pairs)}{_such_as(rows)}" if pairs else "none"
    return _finding("duplicates inside a set", "note", found, rows)


def _set_pairs() -> tuple[tuple[str, str], ...]:
    return ("test", "train"), ("test", "dev"), ("dev", "train")


def _counted(pairs: Sequence[tuple[str, str, tuple[int, int]]]) -> str:
    """`2 pairs in test and training, 1 pair in dev`."""
    counts: dict[str, int] = defaultdict(int)
    for one, other, _ in pairs:
        counts[" and ".join(dict.fromkeys((_SETS[one], _SETS[other])))] += 1
    return ", ".join(f"{n} pair{'s' * (n > 1)} in {sets}" for sets, n in counts.items())


def _named(pack: Pack, pairs: Iterable[tuple[int, int]]) -> list[Ids]:
    return [(pack.utterances[i].id, pack.utterances[j].id) for i, j in pairs]


def _such_as(rows: Sequence[Ids]) -> str:
    return f", such as {rows[0][0]} and {rows[0][1]}" if len(rows) > 1 else f": {rows[0][0]} and {rows[0][1]}"


def _finding(check: str, verdict: Verdict, words: str, evidence: Sequence[Ids] = ()) -> Finding:
    return Finding(check, verdict, words, tuple(evidence[:MOST_EVIDENCE]))
