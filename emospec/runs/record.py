"""Run folders read back: one training with one test set each. A setting is what runs share: preset, lambda, alpha ..."""

import os
import tomllib
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from emospec.config import NO_RESULT, Settings, with_current_keys
from emospec.data.corpora.user import USER_READERS
from emospec.data.pack import Pack
from emospec.data.utterances import Utterance
from emospec.errors import RunError
from emospec.runs.folder import META, SCORES, RunFolder
from emospec.runs.stored import CorpusFacts, Meta, Scores, mistake_of

# Lambda of the joint loss (Eq. 4) and alpha of the centres (Eq. 5) in `RunRecord.flat`.
WEIGHT, RATE = "loss.center_weight", "loss.center_rate"


@dataclass(frozen=True)
class RunRecord:
    """One finished run, as its folder tells it: `config.toml`, `meta.json`, `scores.json`."""

    folder: Path
    settings: Settings
    meta: Meta
    scores: Scores

    @property
    def files(self) -> RunFolder:
        """The paths of its files."""
        return RunFolder(self.folder)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the confusion matrix."""
        return self.meta.classes

    @property
    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora that it was trained and evaluated on."""
        return tuple(corpus.name for corpus in self.meta.corpora)

    @property
    def learned_from(self) -> list[CorpusFacts]:
        """Facts of every corpus whose recordings made the weights: its own, then those of the run it started from."""
        own = {(c.name, c.licence) for c in self.meta.corpora}
        earlier = (c for c in self.meta.earlier_corpora if (c.name, c.licence) not in own)
        return [*self.meta.corpora, *earlier]

    @property
    def own_corpora(self) -> frozenset[str]:
        """Names of those corpora that are the user's own, and under which another may hold other recordings."""
        return frozenset(USER_READERS) | {corpus.name for corpus in self.learned_from if corpus.reader}

    @property
    def place(self) -> tuple[int, int]:
        """Repeat, from 0, and fold, from 1."""
        return self.meta.protocol.repeat, self.meta.protocol.fold

    @property
    def section(self) -> tuple[object, ...]:
        """Protocol, corpora and classes: runs that share them are reported together."""
        return self.meta.protocol.name, self.corpora, self.classes

    @property
    def result_settings(self) -> dict[str, Any]:
        """The settings that can move a result, as `config.toml` has them, but for `data`: see `section`."""
        return self.settings.model_dump(exclude=NO_RESULT | {"data": True}, exclude_unset=True)

    @property
    def setting(self) -> str:
        """The name of this run's setting, which tells it from others: `dai2019-mel, λ 0.3, α 0.5, seed 1`."""
        loss = self.settings.loss
        # Without centre loss no centre moves, at whatever rate.
        rate = [f"α {loss.center_rate:g}"] if loss.center_weight else []
        preset, *more = self.variant.split(", ", 1)
        return ", ".join([preset, f"λ {loss.center_weight:g}", *rate, *more])

    @property
    def variant(self) -> str:
        """The setting but for lambda and alpha: the preset, further changed settings, a seed other than 0."""
        seed = [f"seed {self.meta.seed}"] if self.meta.seed else []
        return ", ".join([self.meta.preset, *self.meta.changed_settings, *seed])

    @property
    def flat(self) -> dict[str, Any]:
        """`table.key` -> value of what can move a result, with `preset` and `seed`: no alpha without centre loss."""
        flat = {"preset": self.meta.preset, "seed": self.meta.seed} | flatten(self.result_settings)
        return flat if flat[WEIGHT] else {key: value for key, value in flat.items() if key != RATE}

    def but_for(self, *keys: str) -> frozenset[tuple[str, str]]:
        """The items of `flat` without some keys: two runs that differ in these keys alone have equal ones."""
        return frozenset((name, repr(value)) for name, value in self.flat.items() if name not in keys)

    def predictions(self) -> pd.DataFrame:
        """`predictions.csv`, read once: one row per dev and test utterance; RunError where it is missing."""
        return self._predictions

    @cached_property
    def _predictions(self) -> pd.DataFrame:
        # Classes may be called 0 and 1, or true and false.
        words = ("utterance", "corpus", "speaker", "sex", "language", "text", "target", "predicted")
        with _readable(self.files.predictions) as path:
            return pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(words, str))

    def known_utterances(self) -> dict[str, str]:
        """Ids of the utterances that made the model, and their part: `train`, `dev`, or `earlier`."""
        # The first row of an utterance is that of the run itself.
        rows = self.known.drop_duplicates("utterance")
        return dict(zip(rows["utterance"], rows["part"], strict=True))

    def parts_of(self, utterances: Sequence[Utterance], pack: Pack) -> list[str]:
        """Return the part that each utterance of a pack had in making the model, as above; empty where it had none."""
        known = self.known.reindex(columns=["utterance", "part", "samples"])
        # Runs of earlier versions did not note samples.
        noted = known["samples"].notna()
        by_samples = dict(zip(known["samples"][noted], known["part"][noted], strict=True))
        by_name, nameless = self.known_utterances(), set(known["utterance"][~noted])
        # The same samples are known also in a pack that calls its corpus otherwise. The id tells more than
        # samples where a corpus comes in several formats, and nothing in corpora of the user's own.
        anybodys = self.own_corpora | set(pack.user_corpora)
        return [
            by_samples.get(samples)
            or (by_name.get(u.id, "") if u.corpus not in anybodys or u.id in nameless else "")
            for u, samples in zip(utterances, pack.samples_of(utterances), strict=True)
        ]

    @cached_property
    def known(self) -> pd.DataFrame:
        """The utterances that made the model: rows of `folds.csv`, then those of `earlier.csv`, as part `earlier`."""
        _, fold = self.place
        with _readable(self.files.folds) as path:
            rows = pd.read_csv(path, dtype=str, keep_default_na=False)
            own = rows[(rows["fold"] == str(fold)) & (rows["part"] != "test")]
        if not self.files.earlier.is_file():
            return own
        with _readable(self.files.earlier) as path:
            earlier = pd.read_csv(path, dtype=str, keep_default_na=False)
        both = pd.concat([own, earlier.assign(part="earlier")])
        return both.drop_duplicates([name for name in ("utterance", "samples") if name in both])

    def history(self) -> pd.DataFrame:
        """`history.csv`: one row per logged step."""
        with _readable(self.files.history) as path:
            return pd.read_csv(path)

    def features(self) -> dict[str, NDArray[Any]]:
        """`features.npz`: z (n, 64), label, utterance and part (n,), part one of train, dev, test."""
        with _readable(self.files.features) as path, np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    what_to_do = "Train the run again, or leave its folder out"
    if not path.is_file():
        raise RunError(f"{path} is missing. {what_to_do}")
    try:
        yield path
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error}). {what_to_do}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} is damaged ({error or type(error).__name__}). {what_to_do}") from error


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """`table.key` -> value of the tables of some settings."""
    tables = ((name, table) for name, table in config.items() if isinstance(table, dict))
    return {f"{name}.{key}": value for name, table in tables for key, value in table.items()}


def read_settings(path: Path) -> Settings:
    """Read `config.toml` of this version or another one; OSError or ValueError where it cannot be read."""
    try:
        values = with_current_keys(tomllib.loads(path.read_text(encoding="utf-8")))
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {mistake_of(error)}") from error


def read_run(folder: Path) -> RunRecord:
    """Read a run folder; RunError where it is none, or the run has not finished."""
    files = RunFolder(Path(folder))
    if not files.meta.is_file():
        inside = next(iter(sorted(files.path.glob(f"*/{META}"))), None)
        to_do = f". It holds runs: name one, such as {inside.parent}" if inside else ""
        to_do = to_do if files.path.exists() else ". There is no such folder"
        raise RunError(f"{folder} is not a run folder: it has no meta.json{to_do}")
    if not files.is_finished:
        to_do = "`emospec train --resume` finishes it"
        raise RunError(f"{folder} holds a run that has not finished (no scores.json): {to_do}")
    try:
        settings = read_settings(files.config)
        meta, scores = Meta.read(files.meta), Scores.read(files.scores)
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} cannot be read as a run folder: {error}") from error
    return RunRecord(files.path, settings, meta, scores)


def find_runs(folders: Iterable[Path]) -> list[RunRecord]:
    """Return all finished runs in run folders, or folders that hold some, each once; RunError where one has none."""
    runs: dict[Path, RunRecord] = {}
    for folder in map(Path, folders):
        if (folder / META).is_file():
            runs.setdefault(folder.resolve(), read_run(folder))
            continue
        within = os.walk(folder, onerror=_refuse_unread) if folder.is_dir() else ()
        finished = sorted(Path(path) for path, _, names in within if {META, SCORES} <= set(names))
        if not finished:
            raise RunError(f"{folder} holds no finished run: {_what_is_there(folder)}")
        for path in finished:
            runs.setdefault(path.resolve(), read_run(path))
    return list(runs.values())


def _what_is_there(folder: Path) -> str:
    if not folder.exists():
        return "there is no such folder. Name one that `emospec train` or `emospec crossval` made"
    if not folder.is_dir():
        return "it is a file. Name the folder of a run"
    if begun := next(folder.glob(f"**/{META}"), None):
        return f"{begun.parent} is one that has not ended. Go on with it by the same command and --resume"
    return "a run is a folder with meta.json and scores.json. `emospec train` makes one"


def _refuse_unread(error: OSError) -> None:
    # Fewer runs would be another number; a folder that has just gone is none.
    if not isinstance(error, FileNotFoundError):
        to_do = "Get the right, or name others"
        raise RunError(f"{error.filename}: the folder cannot be read ({error.strerror}). {to_do}")


def share_changes(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[str]]:
    """Return the runs without the changed settings that all of them have, for shorter names; and these settings."""
    changes = [run.meta.changed_settings for run in runs]
    shared = [text for text in changes[0] if all(text in others for others in changes)] if runs else []
    shorter = []
    for run, texts in zip(runs, changes, strict=True):
        left = tuple(text for text in texts if text not in shared)
        shorter.append(replace(run, meta=run.meta.model_copy(update={"changed_settings": left})))
    return shorter, shared
