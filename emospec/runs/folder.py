"""The files of a run folder: their names, what proves that a run has begun or finished, and refusals of other folders."""

from dataclasses import dataclass
from pathlib import Path

CHECKPOINT = "checkpoint/state.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run's files.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.toml"

    @property
    def meta(self) -> Path:
        """`Meta`: commit, versions, protocol, corpora and so on. It is written first."""
        return self.path / "meta.json"

    @property
    def folds(self) -> Path:
        """The utterances of each fold's train, dev and test."""
        return self.path / "folds.csv"

    @property
    def earlier(self) -> Path:
        """The utterances that made the run whose weights were taken over."""
        return self.path / "earlier.csv"

    @property
    def history(self) -> Path:
        """Losses and dev scores over the steps."""
        return self.path / "history.csv"

    @property
    def pace(self) -> Path:
        """A step and the seconds up to it, before the first row of history; gone when the run is finished."""
        return self.path / "pace.json"

    @property
    def checkpoint(self) -> Path:
        """All that a resumed training needs."""
        return self.path / CHECKPOINT

    @property
    def model(self) -> Path:
        """The folder of the trained weights and their card."""
        return self.path / "model"

    @property
    def features(self) -> Path:
        """The features z of all utterances, with label and part."""
        return self.path / "features.npz"

    @property
    def predictions(self) -> Path:
        """One row per dev and test utterance."""
        return self.path / "predictions.csv"

    @property
    def scores(self) -> Path:
        """`Scores`. It is written last: by it the run is finished."""
        return self.path / "scores.json"

    @property
    def tensorboard(self) -> Path:
        """The log that `tensorboard=True` asks for."""
        return self.path / "tensorboard"

    @property
    def is_finished(self) -> bool:
        """Whether all of the run is there."""
        return self.scores.is_file()
