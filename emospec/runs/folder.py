"""The files of a run folder: their names, what proves that a run has begun or finished, and refusals of other folders."""

from dataclasses import dataclass
from pathlib import Path

from emospec.errors import RunError

_CHECKPOINT = "checkpoint/state.safetensors"
# Kinds of folders, each with the files of which one proves it.
_KINDS = {
    "a run": ("scores.json", _CHECKPOINT),
    "runs": ("r*-f*/meta.json", "*=*/r*-f*/meta.json"),
    "a pack": ("fingerprints.bin",),
    "a model": ("model.onnx",),
}


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
        return self.path / _CHECKPOINT

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

    @property
    def is_begun(self) -> bool:
        """Whether a training in it has ended or can be resumed."""
        return self.meta.is_file() and (self.is_finished or self.checkpoint.is_file())

    @property
    def is_failed_start(self) -> bool:
        """Whether it holds no more than a run that ended before its first checkpoint: nothing is lost with it."""
        started = (
            *(self.meta, self.config, self.folds, self.earlier, self.history, self.pace),
            *(self.checkpoint.parent, self.tensorboard),
        )
        present = {path for path in self.path.iterdir() if path.suffix != ".part"}
        return self.meta in present and present <= {*started} and not self.checkpoint.is_file()


def refuse_existing(out: Path, resume: bool) -> None:
    """Refuse to train into a folder that holds another thing than a run, or a run that nobody asked to resume.

    Raises:
        RunError: it does.
    """
    refuse_mixture(out, "a training", but_for="a run")
    if out.exists() and not resume and any(out.iterdir()) and not RunFolder(out).is_failed_start:
        raise RunError(f"{out} exists and is not empty. Go on with it by --resume, or name another folder")


def refuse_mixture(out: Path, purpose: str, *, but_for: str = "") -> None:
    """Refuse to write into a folder that is already that of something else.

    Args:
        out: a folder, which need not be there.
        purpose: is to be written into it, such as "a training".
        but_for: what it may hold: a kind of `_KINDS`.

    Raises:
        RunError: it is, or it is a file.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file: {purpose} needs a folder. Name another")
    for kind, signs in _KINDS.items():
        if kind != but_for and any(path for sign in signs for path in out.glob(sign)):
            raise RunError(f"{out} holds {kind}: {purpose} does not go into it. Name another folder")
