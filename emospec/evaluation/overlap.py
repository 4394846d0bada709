"""Whether a run knows the speakers that it is tested on: by their recordings, and by their names within one corpus.

A name proves little across corpora: two may call two people alike, or one person by two names.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass

from emospec.data.corpora import YOUR_OWN
from emospec.data.pack import Pack
from emospec.data.splits import UNKNOWN_SPEAKERS, Fold, speakers_overlap
from emospec.data.utterances import Utterance
from emospec.runs.record import RunRecord


@dataclass(frozen=True)
class SpeakerOverlap:
    """Whether speakers of test made the model.

    Attributes:
        verdict: True where some did, False where none did, None where that is unknown.
        words: the verdict in words.
        shared: those who did, as `CORPUS/SPEAKER` in the pack.
    """

    verdict: bool | None
    words: str
    shared: tuple[str, ...] = ()


def overlap_words(fold: Fold, utterances: Sequence[Utterance]) -> tuple[bool | None, str]:
    """Return whether one fold's test speakers are also in training or dev, and the sentence that says so."""
    test = {utterances[i].voice for i in fold.test}
    return overlap_of(test, {utterances[i].voice for i in (*fold.train, *fold.dev)})


def overlap_of(test: Set[str], seen: Set[str]) -> tuple[bool | None, str]:
    """Return whether speakers of test were seen in training or dev, and the sentence that says so."""
    overlap = speakers_overlap(test, seen)
    known = len(test - {""})
    if overlap:
        shared = len((test & seen) - {""})
        return True, f"{shared} of {known} test speakers are also in training or dev (speaker-dependent)"
    if overlap is None:
        return None, UNKNOWN_SPEAKERS
    return False, f"no test speaker (of {known}) is in training or dev (speaker-independent)"


def speaker_overlap(run: RunRecord, pack: Pack, tested: Sequence[Utterance]) -> SpeakerOverlap:
    """Tell whether speakers of a pack's utterances made a run's model.

    Speakers of recordings that the run knows are known under the pack's names for them. That a speaker is another
    than those known is proved by another name in one corpus: one that both call alike, or one that holds
    recordings of the known speaker.

    Args:
        run: a finished run.
        pack: holds `tested`, and perhaps recordings that made the model.
        tested: the utterances that the model is judged on.
    """
    called = _names_in_pack(run, pack)
    voices = {u.voice for u in tested}
    names = {voice for voice in called if not voice.startswith(_UNKNOWN)}
    seen = names.union(*called.values())
    if shared := sorted(voices & seen - {""}):
        return SpeakerOverlap(*overlap_of(voices, set(shared)), tuple(shared))
    corpora = {u.corpus for u in tested}
    alike = {name for name in corpora if _is_one_corpus(name, run, pack)}
    unsure = [voice for voice, others in called.items() if not _told_apart(voice, others, corpora, alike)]
    if "" in voices or any(voice.startswith(_UNKNOWN) for voice in unsure):
        return SpeakerOverlap(None, UNKNOWN_SPEAKERS)
    if unsure:
        return SpeakerOverlap(None, _words_of(corpora, {voice.partition("/")[0] for voice in unsure}))
    return SpeakerOverlap(*overlap_of(voices, set()))


_UNKNOWN = "\n"  # begins what stands for the speaker of one recording, who is unknown


def _names_in_pack(run: RunRecord, pack: Pack) -> dict[str, set[str]]:
    """Return each speaker that made the model, and the names of theirs in the pack, where their recordings are there."""
    known = run.known.reindex(columns=["utterance", "samples", "speaker"]).fillna("")
    called: dict[str, set[str]] = {}
    nameless: set[str] = set()  # of runs of earlier versions, which noted no samples
    by_samples: dict[str, set[str]] = defaultdict(set)
    by_id: dict[str, set[str]] = defaultdict(set)
    for place, (identity, samples, speaker) in enumerate(known.itertuples(index=False)):
        voice = speaker or f"{_UNKNOWN}{place}"
        called.setdefault(voice, set())
        by_samples[samples].add(voice)
        by_id[identity].add(voice)
        if not samples:
            nameless.add(identity)
    silent = set(pack.silent)  # digital silence is alike, whoever is silent
    anybodys = run.own_corpora | set(pack.own)
    for u, samples in zip(pack.utterances, pack.samples_of(pack.utterances), strict=True):
        voices = by_samples.get(samples, set()) if samples and u.id not in silent else set()
        if not voices and (u.corpus not in anybodys or u.id in nameless):
            voices = by_id.get(u.id, set())
        for voice in voices:
            called[voice].add(u.voice)
    return called


def _told_apart(
    voice: str, others: Collection[str], corpora: Collection[str], alike: Collection[str]
) -> bool:
    """Whether a known speaker has a name in each corpus that is tested: whoever has another there is another."""
    named = {name.partition("/")[0] for name in others if name}
    return all(corpus in named or (corpus in alike and voice.startswith(f"{corpus}/")) for corpus in corpora)


def _is_one_corpus(name: str, run: RunRecord, pack: Pack) -> bool:
    """Whether run and pack mean one corpus by a name: read alike, and no name that anybody's recordings have."""
    return name not in YOUR_OWN and (name in run.own_corpora) == (name in pack.own)


def _words_of(tested: Collection[str], known: Collection[str]) -> str:
    both = f"speakers of {', '.join(sorted(tested))} may be among those of {', '.join(sorted(known))}"
    words = f"{both}, which made the model: names tell speakers apart within one corpus only (unknown)"
    if set(tested) & set(known):
        words += ". If it is one corpus, name it alike in both packs, as in csv:NAME=..."
    return words
