"""The JSON files of a run folder as typed, frozen values: `meta.json`, how a run was made; `scores.json`, what it reaches.

What an earlier version did not write has a default. Keys that are not known are kept.
"""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from emospec.data.audit import Audit
from emospec.files import write_json

# JSON has no NaN: it is null there.
_Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]


class Stored(BaseModel):
    """A JSON object. Its keys are written in the order of the fields, without those that were never set."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the object as JSON holds it."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class StoredFile(Stored):
    """A JSON file of a run folder. Its format is 1 where it names none."""

    FORMAT: ClassVar[int] = 1

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; ValueError where it is damaged or of a later format, OSError where it cannot be opened."""
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{path.name} holds no object")
        if (version := content.get("format", cls.FORMAT)) != cls.FORMAT:
            raise ValueError(f"{path.name} is of format {version}, this emospec reads {cls.FORMAT}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"{path.name}: {mistake_of(error)}") from error

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.to_dict())


def mistake_of(error: ValidationError) -> str:
    """Return the first mistake of a validation in one line."""
    mistake = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, mistake['loc']))} is not as it should be ({mistake['msg']})"


class Protocol(Stored):
    """The split of a run's corpora and the part of it that the run is: fold from 1, repeat from 0."""

    name: str
    words: str = ""
    # Whether test speakers are in training or dev, also in words; None where that is unknown.
    speaker_overlap: bool | None = None
    overlap_words: str = ""
    fold: int
    folds: int
    repeat: int
    # Of the fold lists: runs whose hashes differ were not tested on the same utterances.
    hash: str


class CorpusFacts(Stored):
    """The facts about a corpus that a report or a model card needs; texts are empty where unknown, as in `Corpus`."""

    # `csv` or `folders` for a corpus of the user's own; empty for others.
    reader: str = ""
    name: str
    title: str = ""
    licence: str = ""
    speech: str = ""
    citation: str = ""
    # Only utterances in use count, and only speakers known by name.
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
    """All that `meta.json` says: how a run was made, on what data, and what the audit found in its fold."""

    emospec: str = ""
    preset: str
    # `table.key=value`, but for lambda, alpha and protocol, which the setting's name has.
    changed_settings: tuple[str, ...] = Field((), alias="overrides")
    # The command line or Python call, as given, and the commit of the source checkout.
    command: str = ""
    commit: str | None = None
    # ISO 8601, UTC.
    created: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    # For the split, the initial weights and the batches.
    seed: int
    # In the order of the confusion matrix.
    classes: tuple[str, ...]
    # Of all that the result depends on, beside the machine.
    settings_hash: str = Field("", alias="fingerprint")
    protocol: Protocol
    pack: PackFacts = PackFacts(folder="")
    # The earlier ones are of the run whose weights were taken over.
    corpora: tuple[CorpusFacts, ...]
    earlier_corpora: tuple[CorpusFacts, ...] = ()
    # Utterances by part and class.
    counts: dict[str, dict[str, int]] = Field(default_factory=dict)
    hardware: Hardware = Hardware()
    # 99 % of the training utterances are no longer.
    usual_seconds: float | None = None
    parameters: int = 0
    audit: Audit = Audit(())
    # Written after the training, which replaces the audit too.
    steps: int = 0
    seconds: float = 0.0
    precision: str = ""


class SetScores(Stored):
    """The scores of one set of predictions: UA and WA in [0, 1], counts with a row for each true class."""

    classes: tuple[str, ...] = ()
    ua: _Number = Field(float("nan"), alias="UA")
    wa: _Number = Field(float("nan"), alias="WA")
    # NaN for a class without utterances.
    recall: dict[str, _Number] = Field(default_factory=dict)
    confusion: list[list[int]] = Field(default_factory=list)
    utterances: int = 0


class SetDistances(Stored):
    """The mean distances of z within and between the classes of one set; NaN where a class is missing."""

    within: _Number
    between: _Number


class Scores(StoredFile):
    """All that `scores.json` says: what the model that dev chose reaches on dev and test."""

    classes: tuple[str, ...] = ()
    protocol: Protocol | None = None
    # Of train, dev and test.
    distances: dict[str, SetDistances] = Field(default_factory=dict)
    dev: SetScores = SetScores()
    test: SetScores
    selected_step: int = 0
    # In one line; None where an earlier version made no audit.
    audit: str | None = None
