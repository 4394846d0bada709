"""Speaker overlap: whether test speakers are also in training or dev, and the sentence that says so.

Within a fold, names decide. A finished run may be tested on another pack, where a name proves little: two corpora may
call two people alike, or one person by two names. There recordings decide, and names only within one corpus.
"""

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

from emospec.data.corpora.user import USER_READERS
from emospec.data.pack import Pack
from emospec.data.splits import UNKNOWN_SPEAKERS, Fold, speakers_overlap
from emospec.data.utterances import Utterance
from emospec.runs.record import RunRecord

# The first letter of the name that stands for the unknown speaker of one recording.
_UNKNOWN = "\n"


@dataclass(frozen=True)
class SpeakerOverlap:
    """Whether test speakers are in training or dev.

    Attributes:
        verdict: True where some are, False where none is, None where that is unknown.
        words: the verdict as a sentence.
        shared: those that are, as `CORPUS/SPEAKER`, sorted.
    """

    verdict: bool | None
    words: str
    shared: tuple[str, ...] = ()


def fold_overlap(fold: Fold, utterances: Sequence[Utterance]) -> SpeakerOverlap:
    """Return the speaker overlap of one fold of some utterances."""
    seen = {utterances[i].voice for i in (*fold.train, *fold.dev)}
    return names_overlap({utterances[i].voice for i in fold.test}, seen)


def names_overlap(test: Set[str], seen: Set[str]) -> SpeakerOverlap:
    """Return the overlap of test speakers with those of training and dev, by `Utterance.voice`; empty if unknown."""
    verdict, shared, known = speakers_overlap(test, seen), sorted((test & seen) - {""}), len(test - {""})
    if verdict is None:
        return SpeakerOverlap(None, UNKNOWN_SPEAKERS)
    if verdict:
        words = f"{len(shared)} of {known} test speakers are also in training or dev (speaker-dependent)"
        return SpeakerOverlap(True, words, tuple(shared))
    return SpeakerOverlap(False, f"no test speaker (of {known}) is in training or dev (speaker-independent)")


def speaker_overlap(run: RunRecord, pack: Pack, tested: Sequence[Utterance]) -> SpeakerOverlap:
    """Return whether speakers of a pack's utterances made a run's model.

    Args:
        run: a finished run.
        pack: holds `tested`, and perhaps recordings that made the model.
        tested: the utterances that the model is evaluated on.
    """
    # The speaker of a recording that made the model is known under every name that the pack has for it.
    names = _names_in_pack(run, pack)
    voices = {u.voice for u in tested}
    seen = {voice for voice in names if not voice.startswith(_UNKNOWN)}.union(*names.values())
    if voices & seen - {""}:
        return names_overlap(voices, seen - {""})
    # A test speaker is proved to be another person by another name within one corpus: a corpus that run and pack
    # both mean by its name (not generic, and read by the same kind of reader), or one that holds recordings of
    # the known speaker.
    corpora = {u.corpus for u in tested}
    named = corpora - set(USER_READERS)
    alike = {name for name in named if (name in run.own_corpora) == (name in pack.user_corpora)}
    unsure = [voice for voice in names if not _differs_from_all(voice, names[voice], corpora, alike)]
    if "" in voices or any(voice.startswith(_UNKNOWN) for voice in unsure):
        return SpeakerOverlap(None, UNKNOWN_SPEAKERS)
    if unsure:
        known = {voice.partition("/")[0] for voice in unsure}
        both = f"speakers of {', '.join(sorted(corpora))} may be among those of {', '.join(sorted(known))}"
        words = f"{both}, which made the model: names tell speakers apart within one corpus only (unknown)"
        advice = ". If it is one corpus, name it alike in both packs, as in csv:NAME=..."
        return SpeakerOverlap(None, words + advice if corpora & known else words)
    return names_overlap(voices, set())


def _names_in_pack(run: RunRecord, pack: Pack) -> dict[str, set[str]]:
    """Return each speaker who made the model, with the pack's names for the speaker of the same recordings."""
    known = run.known.reindex(columns=["utterance", "samples", "speaker"]).fillna("")
    names: dict[str, set[str]] = {}
    # Utterances of runs of earlier versions, which noted no samples.
    without_samples: set[str] = set()
    by_samples: dict[str, set[str]] = defaultdict(set)
    by_id: dict[str, set[str]] = defaultdict(set)
    for place, (identity, samples, speaker) in enumerate(known.itertuples(index=False)):
        voice = speaker or f"{_UNKNOWN}{place}"
        names.setdefault(voice, set())
        by_samples[samples].add(voice)
        by_id[identity].add(voice)
        if not samples:
            without_samples.add(identity)
    # Digital silence has the same samples whoever is silent, and ids of one's own corpora name anybody's recordings.
    silent, own_corpora = set(pack.silent), run.own_corpora | set(pack.user_corpora)
    for u, samples in zip(pack.utterances, pack.samples_of(pack.utterances), strict=True):
        voices = by_samples.get(samples, set()) if samples and u.id not in silent else set()
        if not voices and (u.corpus not in own_corpora or u.id in without_samples):
            voices = by_id.get(u.id, set())
        for voice in voices:
            names[voice].add(u.voice)
    return names


def _differs_from_all(voice: str, names: Set[str], corpora: Set[str], alike: Set[str]) -> bool:
    """Return whether a known speaker has a name in each tested corpus, so that other names there are others."""
    named = {name.partition("/")[0] for name in names if name}
    return all(corpus in named or (corpus in alike and voice.startswith(f"{corpus}/")) for corpus in corpora)
