"""A run that is asked for: its settings, with the utterances, classes and fold that they mean.

Trains nothing and writes nothing; says beforehand what does not go together.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import emospec
from emospec.audio.waveform import SAMPLE_RATE
from emospec.config import Settings
from emospec.data.audit import Audit, audit_fold, audit_lists, audit_start, hash_ids
from emospec.data.corpora import CORPORA
from emospec.data.corpora.corpus import Corpus
from emospec.data.pack import Pack
from emospec.data.splits import Fold, Split, make_split
from emospec.data.utterances import Utterance, select_classes
from emospec.errors import ConfigError, ProtocolError
from emospec.evaluation.overlap import speaker_overlap
from emospec.inference.model import WEIGHTS
from emospec.learning.task import TrainingResult, TrainingTask
from emospec.runs.record import RunRecord, read_run


@dataclass(frozen=True)
class RunSpec:
    """One run to do: a setting, on one fold of one repeat, in one folder.

    Attributes:
        pack: the decoded corpus's folder.
        out: the run folder.
        settings: resolved.
        fold: from 1.
        repeat: from 0.
        seed: seeds the split, the initial weights and the batches.
        threads: for torch; 0 leaves torch's own choice.
        command: how the user asked for it.
        overrides: what of the preset was changed, beside lambda, alpha and the protocol.
        strict: a leak that the audit finds is an error.
    """

    pack: Path
    out: Path
    settings: Settings
    fold: int = 1
    repeat: int = 0
    seed: int = 0
    threads: int = 0
    command: str = ""
    overrides: tuple[str, ...] = ()
    strict: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the run's folder holds all of it: `scores.json` is written last."""
        return (self.out / "scores.json").is_file()


@dataclass(frozen=True)
class PreparedRun:
    """A job with its data: the pack's utterances of the classes in use, and their split."""

    job: RunSpec
    pack: Pack
    utterances: Sequence[Utterance]
    classes: tuple[str, ...]
    split: Split

    @property
    def fold(self) -> Fold:
        """Which utterances train, select and test: indices into `utterances`."""
        return self.split.folds[self.job.fold - 1]

    @property
    def seed(self) -> int:
        """Seeds the initial weights and the batches: another for each fold and repeat."""
        job = self.job
        return int(np.random.SeedSequence([job.seed, job.repeat, job.fold]).generate_state(1)[0])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that a run's result depends on, beside the machine."""
        job = self.job
        settings = job.settings.model_dump(exclude={"training": {"checkpoint_seconds"}})
        labels = sorted((u.id, u.emotion) for u in self.utterances)
        data = (self.pack.digest, self.split.hash, emospec.__version__)
        facts = (labels, settings, job.fold, job.repeat, job.seed, *data, *self._hashes_of_sources())
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    @cached_property
    def start(self) -> RunRecord | None:
        """The run whose weights are taken over; RunError where it is not there, or not finished."""
        named = self.job.settings.training.start_from
        return read_run(Path(named)) if named else None

    def _hashes_of_sources(self) -> list[str]:
        """Hashes of the files that settings name, on which a result depends too."""
        teacher = self.job.settings.loss.teacher
        try:
            contents = [Path(teacher).read_bytes()] if teacher else []
        except OSError as error:
            raise ConfigError(f"loss.teacher {teacher}: cannot be read ({error.strerror})") from error
        contents += [(self.start.folder / "model" / WEIGHTS).read_bytes()] if self.start else []
        return [hashlib.sha256(content).hexdigest() for content in contents]

    def audit(self) -> Audit:
        """What can be said of the fold before its training."""
        audit = audit_fold(self.pack, self.fold, self.utterances, protocol=self.split.protocol)
        start = self.start
        if start is None:
            return audit
        parts = start.parts_of(self.utterances, self.pack)
        known = (u.id for u, part in zip(self.utterances, parts, strict=True) if part)
        overlap = speaker_overlap(start, self.pack, [self.utterances[i] for i in self.fold.test])
        unsure = "" if overlap.verdict is False else overlap.words
        found = audit_start(self.fold, self.utterances, str(start.folder), known, overlap.shared, unsure)
        return Audit((*audit.findings, found))

    @property
    def doubts(self) -> list[str]:
        """Return in words what of the training the user hardly wants."""
        return doubts_of(self.job, len(self.fold.train))

    def part(self, name: str) -> list[int]:
        """Indices into the pack of train, dev or test."""
        return self.pack.places([self.utterances[i] for i in self.fold.part(name)])

    def usual_seconds(self) -> float:
        """99 % of the training utterances are no longer."""
        lengths = self.pack.entries.samples[self.part("train")]
        return round(float(np.quantile(lengths, 0.99)) / SAMPLE_RATE, 2)

    def task(self, protocol: dict[str, Any]) -> TrainingTask:
        """What the training room needs."""
        targets = np.full(len(self.pack), -1, np.int64)
        targets[self.pack.places(self.utterances)] = [self.classes.index(u.emotion) for u in self.utterances]
        settings = self.job.settings
        return TrainingTask(
            train=self.part("train"),
            dev=self.part("dev"),
            targets=targets,
            loss=settings.loss,
            training=settings.training,
            augmentation=settings.augmentation,
            names=[u.id for u in self.pack.utterances],
            groups=self._groups(),
            seed=self.seed,
            settings_hash=self.fingerprint,
            protocol=protocol,
        )

    def _groups(self) -> list[int]:
        """The number of each utterance's corpus, where classes are weighted within corpora."""
        corpora = [u.corpus for u in self.pack.utterances]
        within = self.job.settings.loss.weights == "corpus"
        return [sorted(set(corpora)).index(name) for name in corpora] if within else []

    def proved(self, audit: Audit, result: TrainingResult) -> Audit:
        """The audit with the lists that in fact fitted the standardiser and chose the model."""
        fitted_on, selected_on = (
            hash_ids(self.pack.utterances[i].id for i in used)
            for used in (result.fitted_on, result.selected_on)
        )
        return audit.replaced(
            audit_lists(self.fold, self.utterances, fitted_on=fitted_on, selected_on=selected_on)
        )


def prepare_run(job: RunSpec) -> PreparedRun:
    """Open what a job needs.

    Raises:
        EmospecError: settings, pack or split do not allow it.
    """
    pack, utterances, classes = open_pack(job.pack, job.settings)
    split = split_of(utterances, job.settings, job.repeat, job.seed, own=pack.user_corpora)
    if not 1 <= job.fold <= len(split.folds):
        raise ProtocolError(
            f"fold {job.fold} is not there: {split.protocol} has folds 1 to {len(split.folds)}"
        )
    ready = PreparedRun(job, pack, utterances, classes, split)
    job.settings.training.plan(len(ready.fold.train))
    return ready


def doubts_of(job: RunSpec, utterances: int) -> list[str]:
    """Return what of a training on so many utterances is hardly what the user wants, in words.

    Such is a lambda that never acts.

    Raises:
        ConfigError: no model could be chosen.
    """
    training, loss, doubts = job.settings.training, job.settings.loss, []
    steps, _ = training.plan(utterances)
    if loss.center_weight and steps <= loss.warmup_steps:
        doubts.append(
            f"lambda never acts: training ends at step {steps}, within the first {loss.warmup_steps} "
            "(loss.warmup_steps) that do without it. Train longer, lower loss.warmup_steps, or set "
            "loss.center_weight=0"
        )
    return doubts


def open_pack(pack: Path, settings: Settings) -> tuple[Pack, list[Utterance], tuple[str, ...]]:
    """The pack, its utterances of the classes in use, and the classes.

    The class set `default` is the one that the corpus is known for, such as four of IEMOCAP's
    emotions; for a pool or a corpus of your own it is all that is there.
    """
    opened = Pack(pack)
    utterances, classes = opened.utterances, settings.data.classes
    if classes == "default":
        corpus = _only_corpus(utterances, opened.user_corpora)
        known = corpus.classes if corpus else {}
        utterances, classes = [u for u in utterances if not known or u.emotion in known], "all"
    return opened, *select_classes(utterances, classes)


def split_of(
    utterances: Sequence[Utterance], settings: Settings, repeat: int, seed: int, own: Collection[str] = ()
) -> Split:
    """Return the split that the settings name; `default` is that of the one corpus, or groups:5 for a pool.

    Args:
        utterances: of the classes in use.
        settings: name the split.
        repeat, seed: as in `make_split`.
        own: names of corpora that are the user's own: no corpus of that name lends them its split.
    """
    corpus = _only_corpus(utterances, own)
    protocol = settings.data.protocol
    if protocol == "default":
        protocol = corpus.protocol if corpus else "groups:5"
    folds = corpus.folds if corpus else None
    return make_split(utterances, protocol, repeat=repeat, seed=seed, speaker_folds=folds)


def _only_corpus(utterances: Sequence[Utterance], own: Collection[str]) -> Corpus | None:
    names = {u.corpus for u in utterances}
    if names & set(own):
        return None
    return CORPORA.get(names.pop()) if len(names) == 1 else None
