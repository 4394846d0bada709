"""The content of `meta.json`: how a run was made, on what data, and what the audit found in its fold."""

from pydantic import Field

from emospec.data.audit import Audit
from emospec.runs.stored import Stored, StoredFile


class Protocol(Stored):
    """The split of a run's corpora and the part of it that the run is.

    Attributes:
        name: such as `groups:5`.
        words: the rule of the split, in sentences.
        speaker_overlap: whether test speakers are in training or dev; None where that is unknown.
        overlap_words: the same in words.
        fold: from 1.
        folds: in all.
        repeat: from 0.
        hash: of the fold lists.
    """

    name: str
    words: str = ""
    speaker_overlap: bool | None = None
    overlap_words: str = ""
    fold: int
    folds: int
    repeat: int
    hash: str


class CorpusFacts(Stored):
    """The facts about a corpus that a report or a model card needs.

    Attributes:
        reader: `csv` or `folders` for a corpus of the user's own; empty for others.
        name: as in the ids of its utterances.
        title, licence, speech, citation: see `Corpus`; empty where unknown.
        utterances: those in use.
        speakers: those known by name.
        languages: sorted tags.
    """

    reader: str = ""
    name: str
    title: str = ""
    licence: str = ""
    speech: str = ""
    citation: str = ""
    utterances: int = 0
    speakers: int = 0
    languages: tuple[str, ...] = ()


class PackFacts(Stored):
    """The pack that a run was trained on: its folder, the hash of its content, and how many recordings it left out."""

    folder: str
    digest: str = ""
    skipped: int = 0


class Hardware(Stored):
    """The machine that trained: cores, threads for torch, an accelerator's name or `cpu`, processes that trained together."""

    processor: str = ""
    cores: int | None = None
    threads: int = 1
    device: str = "cpu"
    processes: int = 1


class Meta(StoredFile):
    """All that `meta.json` says.

    Attributes:
        emospec: the version that trained.
        preset: its name.
        changed_settings: what differs from the preset, `table.key=value`, but for lambda, alpha and protocol, which
            the setting's name has; `overrides` on disk.
        command: the command line or Python call, as given.
        commit: of the source checkout; None outside of one.
        created: ISO 8601, UTC.
        versions: of Python and of packages.
        seed: seeds the split, the initial weights and the batches.
        classes: in the order of the confusion matrix.
        settings_hash: of all that the result depends on; `fingerprint` on disk.
        protocol, pack, corpora: see their types.
        earlier_corpora: those of the run whose weights were taken over.
        counts: utterances by part and class.
        hardware: see its type.
        usual_seconds: 99 % of the training utterances are no longer; None where an earlier version did not note it.
        parameters: of the network.
        audit: of the fold.
        steps: taken; 0 before the training ended, as are the next two.
        seconds: of the training.
        precision: of the convolutions in training.
    """

    emospec: str = ""
    preset: str
    changed_settings: tuple[str, ...] = Field((), alias="overrides")
    command: str = ""
    commit: str | None = None
    created: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int
    classes: tuple[str, ...]
    settings_hash: str = Field("", alias="fingerprint")
    protocol: Protocol
    pack: PackFacts = PackFacts(folder="")
    corpora: tuple[CorpusFacts, ...]
    earlier_corpora: tuple[CorpusFacts, ...] = ()
    counts: dict[str, dict[str, int]] = Field(default_factory=dict)
    hardware: Hardware = Hardware()
    usual_seconds: float | None = None
    parameters: int = 0
    audit: Audit = Audit(())
    steps: int = 0
    seconds: float = 0.0
    precision: str = ""
