"""The audit of one fold: checks for leaks, which would make its scores look better than they are.

Reads lists, hashes and fingerprints, never audio. A leak is a warning that travels with the scores; it
stops nothing by itself.
"""

import hashlib
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from emospec.data.fingerprint import FEWEST_BITS, near_duplicates, strong_bits
from emospec.data.pack import Pack
from emospec.data.splits import PARTS, UNKNOWN_SPEAKERS, Fold
from emospec.data.utterances import Utterance
from emospec.errors import ProtocolError

FindingStatus = Literal["pass", "fail", "not applicable", "note"]
_Ids = tuple[str, ...]
# Of two sets of utterances: their names, and the places of one recording of each in the pack.
_Pairs = Sequence[tuple[str, str, tuple[int, int]]]

_SPEAKER_DEPENDENT = ("dai2019",)  # protocols that share speakers by design
_NOT_TRAINED = "not trained yet"
_MOST_EVIDENCE = 100  # rows kept of a finding: it goes into every run's meta.json
_SET_PAIRS = (("test", "train"), ("test", "dev"), ("dev", "train"))
_SETS = {"train": "training", "dev": "dev", "test": "test"}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        verdict: its status; a note is worth knowing and no leak.
        words: the result in a sentence.
        evidence: rows of a speaker, a sentence, or the ids of two utterances; the first `_MOST_EVIDENCE`.
    """

    check: str
    verdict: FindingStatus
    words: str
    evidence: tuple[_Ids, ...] = ()


@dataclass(frozen=True)
class Audit:
    """The findings of all checks, in a fixed order."""

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
            # Shared sentences are no leak, and the checks of training wait for it.
            unknown = [f for f in self.findings if f.verdict == "not applicable" and f.words != _NOT_TRAINED]
            names = ", ".join(f.check for f in unknown if f.check != "sentences")
            return "audit: no leak" + (f"; could not be told: {names}" if names else "")
        names = "; ".join(f"{f.check}: {f.words}" for f in self.leaks)
        return f"audit: {len(self.leaks)} leak{'s' if len(self.leaks) > 1 else ''}: {names}"

    def refuse_leaks(self) -> None:
        """Raise a ProtocolError where there is a leak, as `--strict` asks."""
        if self.leaks:
            raise ProtocolError(f"{self.summary}. Choose another split, or train without --strict")

    def replaced(self, findings: Iterable[Finding]) -> "Audit":
        """Return the audit with the findings of the same checks replaced by these."""
        new = {f.check: f for f in findings}
        return Audit(tuple(new.get(f.check, f) for f in self.findings))


def hash_ids(ids: Iterable[str]) -> str:
    """Return the sha256 of the sorted ids of utterances, each as often as it was used.

    >>> hash_ids(["demo/b", "demo/a"]) == hash_ids(["demo/a", "demo/b"])
    True
    """
    return hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()


def audit_fold(pack: Pack, fold: Fold, utterances: Sequence[Utterance], *, protocol: str = "") -> Audit:
    """Audit one fold, before its training.

    Args:
        pack: holds the utterances' hashes and fingerprints, among others'.
        fold: indices into `utterances`.
        utterances: those of the classes in use.
        protocol: its name, such as `dai2019`.
    """
    parts = {part: [utterances[i] for i in fold.part(part)] for part in PARTS}
    try:
        places = {part: pack.places(chosen) for part, chosen in parts.items()}
    except KeyError as error:
        words = f"{pack.folder} does not hold {error.args[0]}. Prepare it from the same corpus"
        raise ProtocolError(words) from error
    # Exact copies are no near-duplicates: each pair is reported once.
    same = list(dict.fromkeys([*_same_samples(pack, places), *_overlapping_parts(parts, places)]))
    findings = (
        _speakers(parts, protocol),
        _duplicates(pack, same),
        _near_duplicates(pack, places, {pair for _, _, pair in same}),
        *audit_lists(fold, utterances, fitted_on=None, selected_on=None),
        _sentences(parts),
        _repeats(pack, places),
    )
    return Audit(findings)


def audit_lists(
    fold: Fold, utterances: Sequence[Utterance], *, fitted_on: str | None, selected_on: str | None
) -> tuple[Finding, Finding]:
    """Return the findings on the utterances that fitted the standardiser and selected the model.

    `fitted_on` and `selected_on` are their `hash_ids`; None before the training.
    """
    ids = {part: tuple(utterances[i].id for i in fold.part(part)) for part in PARTS}
    return (
        _list_used("standardiser", "fitted", ids, right="train", used=fitted_on),
        _list_used("selection", "made", ids, right="dev", used=selected_on),
    )


def audit_start(
    fold: Fold,
    utterances: Sequence[Utterance],
    run: str,
    known: Iterable[str],
    shared_voices: Sequence[str],
    unsure: str,
) -> Finding:
    """Check whether the run whose weights were taken over knew test's utterances or speakers.

    Args:
        fold, utterances: as in `audit_fold`.
        run: its folder, for the words.
        known: ids of the utterances that made it, as train or dev, or made a run it started from.
        shared_voices: those of test's speakers who made it, as `Utterance.voice`.
        unsure: why nobody can say whether others of them did; empty where none did.
    """
    source, known = f"{run}, from which the weights come,", set(known)
    test = [utterances[i].id for i in fold.test]
    shared = sorted(name for name in test if name in known)
    if shared or shared_voices:
        made = (
            f"{len(shared)} of {len(test)} test utterances"
            if shared
            else f"{len(shared_voices)} of the test speakers"
        )
        return _finding(
            "start", "fail", f"{source} was made with {made}", [(name,) for name in shared or shared_voices]
        )
    if unsure:
        return _finding("start", "not applicable", unsure)
    return _finding("start", "pass", f"{source} knows no test utterance or speaker")


def _speakers(parts: Mapping[str, Sequence[Utterance]], protocol: str) -> Finding:
    check = "speakers"
    voices = {part: {u.voice for u in chosen} for part, chosen in parts.items()}
    test, seen = voices["test"] - {""}, (voices["train"] | voices["dev"]) - {""}
    if shared := sorted(test & seen):
        also = " and ".join(_SETS[p] for p in ("train", "dev") if voices[p] & set(shared))
        words = f"{len(shared)} of {len(test)} test speakers are also in {also}"
        if protocol.partition(":")[0] in _SPEAKER_DEPENDENT:
            words += f" (speaker-dependent, by design of {protocol})"
        return _finding(check, "fail", words, [(voice,) for voice in shared])
    if any("" in names for names in voices.values()):
        return _finding(check, "not applicable", UNKNOWN_SPEAKERS)
    return _finding(check, "pass", f"no test speaker (of {len(test)}) is in training or dev")


def _duplicates(pack: Pack, pairs: _Pairs) -> Finding:
    if not pairs:
        return _finding("duplicates", "pass", "no recording is in two sets with the same samples")
    counts, rows = _evidence(pack, pairs)
    return _finding("duplicates", "fail", f"the same samples in two sets: {counts}", rows)


def _same_samples(pack: Pack, places: Mapping[str, Sequence[int]]) -> _Pairs:
    """Return the pairs of utterances whose samples are equal, in order of `_SET_PAIRS`."""
    pairs, hashes = [], pack.entries.sha256
    for first, second in _SET_PAIRS:
        others = _by_hash(pack, places[second])
        pairs += [(first, second, (i, j)) for i in places[first] for j in others.get(hashes[i], ())]
    return pairs


def _by_hash(pack: Pack, places: Sequence[int]) -> dict[bytes, list[int]]:
    hashes = pack.entries.sha256
    by_hash: dict[bytes, list[int]] = defaultdict(list)
    for place in places:
        by_hash[hashes[place]].append(place)
    return by_hash


def _overlapping_parts(
    parts: Mapping[str, Sequence[Utterance]], places: Mapping[str, Sequence[int]]
) -> _Pairs:
    # Such as windows that slide over one recording.
    by_file: dict[str, list[tuple[float, float, str, int]]] = defaultdict(list)
    for part in PARTS:
        for u, place in zip(parts[part], places[part], strict=True):
            end = math.inf if u.end is None else u.end
            by_file[os.path.normpath(u.file)].append((u.start, end, part, place))
    pairs: list[dict[str, int]] = []
    # Sweep over each file in order of time, and keep the spans that have begun and not ended.
    for spans in by_file.values():
        begun: list[tuple[float, float, str, int]] = []
        for start, end, part, place in sorted(spans):
            begun = [span for span in begun if span[1] > start]
            pairs += [{part: place, before: at} for _, _, before, at in begun if before != part]
            begun.append((start, end, part, place))
    return [(a, b, (pair[a], pair[b])) for a, b in _SET_PAIRS for pair in pairs if pair.keys() == {a, b}]


def _near_duplicates(pack: Pack, places: Mapping[str, Sequence[int]], exact: set[tuple[int, int]]) -> Finding:
    """Check for copies across sets whose samples differ: re-encoded, louder, noisier, a little cut, sped up."""
    check, prints = "near-duplicates", pack.fingerprints
    pairs, speeds = [], []
    for first, second in _SET_PAIRS:
        for match in near_duplicates(prints[list(places[first])], prints[list(places[second])]):
            pair = places[first][match.first], places[second][match.second]
            if pair not in exact:
                pairs.append((first, second, pair))
                speeds.append(match.speed)
    # Too few strong bits say nothing: such recordings are counted beside the result.
    comparable = [strong_bits(prints[list(chosen)]) >= FEWEST_BITS for chosen in places.values()]
    used = sum(map(len, comparable))
    left_out = used - sum(int(np.count_nonzero(part)) for part in comparable)
    too_poor = "too short, silent or steady to tell"
    addition = f"; {left_out} of {used} recordings are {too_poor}" if left_out else ""
    if pairs:
        counts, rows = _evidence(pack, pairs)
        words = f"altered copies of one recording in two sets: {counts}"
        if abs(speeds[0] - 1) > 0.01:
            words += f" ({100 * abs(speeds[0] - 1):.0f} % {'faster' if speeds[0] > 1 else 'slower'})"
        return _finding(check, "fail", words + addition, rows)
    if not all(part.any() for part in comparable if part.size):
        return _finding(check, "not applicable", f"the recordings of a set are {too_poor}")
    return _finding(check, "pass", f"no altered copy of a recording found in another set{addition}")


def _list_used(check: str, verb: str, ids: Mapping[str, _Ids], *, right: str, used: str | None) -> Finding:
    asked = f"the {len(ids[right])} {_SETS[right]} utterances"
    if used is None:
        return _finding(check, "not applicable", _NOT_TRAINED)
    if used == (expected := hash_ids(ids[right])):
        return _finding(check, "pass", f"{verb} on {asked} and no other (sha256 {used[:12]})")
    # The hash of a list fits one part, or a union of parts, or no list of this fold.
    for names in (names for n in (1, 2, 3) for names in combinations(PARTS, n)):
        if used == hash_ids(i for name in names for i in ids[name]):
            sets = "all" if len(names) == len(PARTS) else " and ".join(_SETS[name] for name in names)
            return _finding(check, "fail", f"{verb} on the utterances of {sets}, not on {asked} alone")
    other = f"other utterances (sha256 {used[:12]}) than {asked} ({expected[:12]})"
    return _finding(check, "fail", f"{verb} on {other}")


def _sentences(parts: Mapping[str, Sequence[Utterance]]) -> Finding:
    """Note sentences, or prompts and dialogues where these alone are known, both trained on and tested."""
    texts = {p: {f"{u.corpus}/{u.text}" for u in parts[p] if u.text} for p in ("train", "test")}
    if not all(texts.values()):
        return _finding("sentences", "not applicable", "what is said in training or test is unknown")
    shared = sorted(texts["train"] & texts["test"])
    words = f"{len(shared)} of the {len(texts['test'])} sentences or prompts of test are also in training"
    return _finding("sentences", "note", words, [(text,) for text in shared])


def _repeats(pack: Pack, places: Mapping[str, Sequence[int]]) -> Finding:
    """Note the same samples twice inside one set: they count twice there, and leak nowhere."""
    pairs = [
        (part, part, pair)
        for part, chosen in places.items()
        for same in _by_hash(pack, chosen).values()
        for pair in combinations(same, 2)
    ]
    counts, rows = _evidence(pack, pairs)
    return _finding("duplicates inside a set", "note", counts, rows)


def _evidence(pack: Pack, pairs: _Pairs) -> tuple[str, list[_Ids]]:
    # As "2 pairs in test and training, 1 pair in dev, such as A and B".
    if not pairs:
        return "none", []
    counts = Counter(" and ".join(dict.fromkeys((_SETS[a], _SETS[b]))) for a, b, _ in pairs)
    rows: list[_Ids] = [(pack.utterances[i].id, pack.utterances[j].id) for _, _, (i, j) in pairs]
    counted = ", ".join(f"{n} pair{'s' if n > 1 else ''} in {sets}" for sets, n in counts.items())
    example = ", such as" if len(rows) > 1 else ":"
    return f"{counted}{example} {rows[0][0]} and {rows[0][1]}", rows


def _finding(check: str, verdict: FindingStatus, words: str, evidence: Sequence[_Ids] = ()) -> Finding:
    return Finding(check, verdict, words, tuple(evidence[:_MOST_EVIDENCE]))
