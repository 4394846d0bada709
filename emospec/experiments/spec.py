"""A run that is asked for -> the same with its data: the utterances, classes, fold and audit that its settings mean.

Nothing here trains or writes.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

import emospec
from emospec.audio.waveform import SAMPLE_RATE
from emospec.config import NO_RESULT, Settings, load_settings, toml_value
from emospec.data.audit import Audit, Finding, audit_fold, audit_lists, audit_start, hash_ids
from emospec.data.corpora import CORPORA
from emospec.data.corpora.corpus import Corpus
from emospec.data.pack import Pack
from emospec.data.splits import PARTS, Fold, Split, make_split
from emospec.data.utterances import Utterance, select_classes
from emospec.errors import ConfigError, ProtocolError, RunError
from emospec.evaluation.overlap import fold_overlap, speaker_overlap
from emospec.inference.model import WEIGHTS
from emospec.learning.task import TrainingResult, TrainingTask
from emospec.runs.folder import RunFolder
from emospec.runs.provenance import commit, corpus_facts, versions
from emospec.runs.record import RATE, WEIGHT, RunRecord, flatten, read_run
from emospec.runs.stored import Hardware, Meta, PackFacts, Protocol


@dataclass(frozen=True)
class RunSpec:
    """One run to do: a setting, on one fold (from 1) of one repeat (from 0), in one folder; see `train`."""

    pack: Path
    out: Path
    settings: Settings
    fold: int = 1
    repeat: int = 0
    seed: int = 0
    threads: int = 0
    command: str = ""
    changed_settings: tuple[str, ...] = ()
    strict: bool = False

    @property
    def files(self) -> RunFolder:
        """The paths of the run's files."""
        return RunFolder(self.out)


@dataclass(frozen=True)
class PreparedRun:
    """A run with its data: the pack's utterances of the classes in use, and their split."""

    spec: RunSpec
    pack: Pack
    utterances: Sequence[Utterance]
    classes: tuple[str, ...]
    split: Split

    @property
    def fold(self) -> Fold:
        """The utterances that train, select and test: indices into `utterances`."""
        return self.split.folds[self.spec.fold - 1]

    @property
    def seed(self) -> int:
        """The seed of the initial weights and the batches; each fold and repeat has another."""
        spec = self.spec
        return int(np.random.SeedSequence([spec.seed, spec.repeat, spec.fold]).generate_state(1)[0])

    @cached_property
    def settings_hash(self) -> str:
        """A hash of everything that a run's result depends on, beside the machine."""
        spec = self.spec
        # The order of the facts is part of the hash: old runs are resumed by it.
        settings = spec.settings.model_dump(exclude=NO_RESULT)
        labels = sorted((u.id, u.emotion) for u in self.utterances)
        data = (self.pack.digest, self.split.hash, emospec.__version__)
        # A result depends on the files that settings name, too.
        teacher = spec.settings.loss.teacher
        try:
            sources = [Path(teacher).read_bytes()] if teacher else []
        except OSError as error:
            raise ConfigError(f"loss.teacher {teacher}: cannot be read ({error.strerror})") from error
        sources += [(self.start.files.model / WEIGHTS).read_bytes()] if self.start else []
        hashes = [hashlib.sha256(content).hexdigest() for content in sources]
        facts = (labels, settings, spec.fold, spec.repeat, spec.seed, *data, *hashes)
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    @cached_property
    def start(self) -> RunRecord | None:
        """The run whose weights are taken over; RunError where it is not there, or not finished."""
        folder = self.spec.settings.training.start_from
        return read_run(Path(folder)) if folder else None

    def refuse_another(self) -> None:
        """Refuse to go on in a folder that holds a run of other settings, finished or begun; touch nothing of it."""
        files, expected = self.spec.files, self.settings_hash
        if not files.is_begun:
            return
        try:
            present = Meta.read(files.meta).settings_hash
        except (OSError, ValueError) as error:
            raise RunError(f"{files.meta} cannot be read ({error}). Train into another folder") from error
        if present != expected:
            state, go_on = "finished run", "Name"
            if not files.is_finished:
                state, go_on = "checkpoint", "Resume with the settings of its config.toml, or name"
            other = "other settings, utterances or another version"
            raise RunError(f"{files.path} holds a {state} of {other}. {go_on} another folder")

    def audit(self) -> Audit:
        """Audit the fold before its training; ProtocolError where there is a leak, and the run is strict."""
        audit = audit_fold(self.pack, self.fold, self.utterances, protocol=self.split.protocol)
        if self.start:
            audit = Audit((*audit.findings, self._audit_start(self.start)))
        return self._refuse_if_strict(audit)

    def _audit_start(self, start: RunRecord) -> Finding:
        parts = start.parts_of(self.utterances, self.pack)
        known = (u.id for u, part in zip(self.utterances, parts, strict=True) if part)
        overlap = speaker_overlap(start, self.pack, [self.utterances[i] for i in self.fold.test])
        unsure = "" if overlap.verdict is False else overlap.words
        return audit_start(
            self.fold,
            self.utterances,
            run=str(start.folder),
            known=known,
            shared_voices=overlap.shared,
            unsure=unsure,
        )

    def audit_after(self, audit: Audit, result: TrainingResult) -> Audit:
        """Return the audit with the lists that in fact fitted the standardiser and chose the model."""
        used = (result.fitted_on, result.selected_on)
        fitted_on, selected_on = (hash_ids(self.pack.utterances[i].id for i in indices) for indices in used)
        lists = audit_lists(self.fold, self.utterances, fitted_on=fitted_on, selected_on=selected_on)
        return self._refuse_if_strict(audit.replaced(lists))

    def _refuse_if_strict(self, audit: Audit) -> Audit:
        if self.spec.strict:
            audit.refuse_leaks()
        return audit

    def part(self, name: str) -> list[int]:
        """Indices into the pack of train, dev or test."""
        return self.pack.places([self.utterances[i] for i in self.fold.part(name)])

    @cached_property
    def protocol(self) -> Protocol:
        """The split, and the part of it that the run is."""
        overlap = fold_overlap(self.fold, self.utterances)
        return Protocol(
            name=self.split.protocol,
            words=self.split.words,
            speaker_overlap=overlap.verdict,
            overlap_words=overlap.words,
            fold=self.spec.fold,
            folds=len(self.split.folds),
            repeat=self.spec.repeat,
            hash=self.split.hash,
        )

    def meta(self, audit: Audit, hardware: Hardware, parameters: int) -> Meta:
        """Return what is known before the training: enough to know what is done, on what, and to repeat it."""
        spec, utterances, pack = self.spec, self.utterances, self.pack
        lengths = self.pack.entries.samples[self.part("train")]
        counts = {part: Counter(utterances[i].emotion for i in self.fold.part(part)) for part in PARTS}
        return Meta(
            emospec=emospec.__version__,
            preset=spec.settings.name,
            changed_settings=spec.changed_settings,
            command=spec.command,
            commit=commit(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(),
            seed=spec.seed,
            classes=self.classes,
            settings_hash=self.settings_hash,
            protocol=self.protocol,
            pack=PackFacts(folder=str(pack.folder), digest=pack.digest, skipped=len(pack.skipped)),
            corpora=tuple(
                corpus_facts(name, utterances, pack.user_corpora.get(name))
                for name in sorted({u.corpus for u in utterances})
            ),
            earlier_corpora=tuple(self.start.learned_from) if self.start else (),
            counts={part: dict(numbers) for part, numbers in counts.items()},
            hardware=hardware,
            usual_seconds=round(float(np.quantile(lengths, 0.99)) / SAMPLE_RATE, 2),
            parameters=parameters,
            audit=audit,
        )

    def task(self) -> TrainingTask:
        """Return the input of the training."""
        # Utterances of other classes stay in the pack, without a target.
        targets = np.full(len(self.pack), -1, np.int64)
        targets[self.pack.places(self.utterances)] = [self.classes.index(u.emotion) for u in self.utterances]
        settings = self.spec.settings
        # Classes may be weighted within corpora (Eq. 1 for each): then an utterance's group is its corpus.
        corpora = [u.corpus for u in self.pack.utterances]
        numbers = sorted(set(corpora))
        weigh_within = settings.loss.weights == "corpus"
        return TrainingTask(
            train=self.part("train"),
            dev=self.part("dev"),
            targets=targets,
            loss=settings.loss,
            training=settings.training,
            augmentation=settings.augmentation,
            names=[u.id for u in self.pack.utterances],
            groups=[numbers.index(name) for name in corpora] if weigh_within else [],
            seed=self.seed,
            settings_hash=self.settings_hash,
            protocol=self.protocol.to_dict(),
        )


def prepare_run(spec: RunSpec) -> PreparedRun:
    """Open the data of a run; EmospecError where settings, pack or split do not allow it."""
    pack, utterances, classes = open_pack(spec.pack, spec.settings)
    split = split_of(utterances, spec.settings, spec.repeat, spec.seed, own=pack.user_corpora)
    if not 1 <= spec.fold <= len(split.folds):
        folds = f"{split.protocol} has folds 1 to {len(split.folds)}"
        raise ProtocolError(f"fold {spec.fold} is not there: {folds}")
    prepared = PreparedRun(spec=spec, pack=pack, utterances=utterances, classes=classes, split=split)
    # Refuses steps from which no model could be chosen.
    spec.settings.training.plan(len(prepared.fold.train))
    return prepared


def changed_settings(settings: Settings, preset: str) -> tuple[str, ...]:
    """Return what differs from the preset, `table.key=value`, sorted, except what a setting's name tells."""
    values, defaults = (flatten(tables.model_dump()) for tables in (settings, load_settings(preset)))
    # The name of a setting tells the first three; the last one changes no result.
    named_otherwise = (WEIGHT, RATE, "data.protocol", "training.checkpoint_seconds")
    changed = (key for key in sorted(values) if values[key] != defaults[key] and key not in named_otherwise)
    words = ((key, values[key]) for key in changed)
    return tuple(f"{k}={v if isinstance(v, str) else toml_value(v).replace(' ', '')}" for k, v in words)


def doubt_of(settings: Settings, utterances: int) -> str:
    """Return a sentence on what the user hardly wants of a training on so many utterances; empty where nothing is."""
    steps, _ = settings.training.plan(utterances)
    warmup_steps = settings.loss.warmup_steps
    # Within the warmup the joint loss (Eq. 4) has no centre loss (Eq. 3).
    if not settings.loss.center_weight or steps > warmup_steps:
        return ""
    return (
        f"lambda never acts: training ends at step {steps}, within the first {warmup_steps} (loss.warmup_steps) that "
        "do without it. Train longer, lower loss.warmup_steps, or set loss.center_weight=0"
    )


def open_pack(pack: Path, settings: Settings) -> tuple[Pack, list[Utterance], tuple[str, ...]]:
    """Return the pack, its utterances of the classes in use, and the classes."""
    opened = Pack(pack)
    utterances, classes = opened.utterances, settings.data.classes
    if classes == "default":
        # Those that the corpus is known for, such as four of IEMOCAP's emotions. A pool, or a corpus of the
        # user's own, has all that are there.
        corpus = _only_corpus(utterances, opened.user_corpora)
        usual = corpus.classes if corpus else {}
        utterances, classes = [u for u in utterances if not usual or u.emotion in usual], "all"
    return opened, *select_classes(utterances, classes)


def split_of(
    utterances: Sequence[Utterance], settings: Settings, repeat: int, seed: int, own: Collection[str] = ()
) -> Split:
    """Return the split that the settings name; `default` is that of the one corpus, or groups:5 for a pool."""
    corpus = _only_corpus(utterances, own)
    protocol = settings.data.protocol
    if protocol == "default":
        protocol = corpus.protocol if corpus else "groups:5"
    folds = corpus.folds if corpus else None
    return make_split(utterances, protocol, repeat=repeat, seed=seed, speaker_folds=folds)


def _only_corpus(utterances: Sequence[Utterance], own: Collection[str]) -> Corpus | None:
    names = {u.corpus for u in utterances}
    # A corpus of the user's own borrows neither classes nor split from one that has its name.
    return CORPORA.get(names.pop()) if len(names) == 1 and not names & set(own) else None
