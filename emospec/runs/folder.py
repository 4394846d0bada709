"""The files of a run folder: their names, what proves that a run has begun or finished, and refusals of other folders."""

from pathlib import Path

from emospec.errors import RunError

META, SCORES = "meta.json", "scores.json"
_CHECKPOINT = "checkpoint/state.safetensors"
# Kinds of folders, each with the files of which one proves it.
_KINDS = {
    "a run": (SCORES, _CHECKPOINT),
    "runs": (f"r*-f*/{META}", f"*=*/r*-f*/{META}"),
    "a pack": ("fingerprints.bin",),
    "a model": ("model.onnx",),
}


class RunFolder:
    """The paths of a run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # `Meta`, written first: by it a start that failed is known.
        self.meta = path / META
        self.config = path / "config.toml"
        # The utterances of each fold's parts, and those of the run whose weights were taken over.
        self.folds = path / "folds.csv"
        self.earlier = path / "earlier.csv"
        self.history = path / "history.csv"
        # A step and the seconds up to it, before the first row of history; gone when the run is finished.
        self.pace = path / "pace.json"
        # All that a resumed training needs.
        self.checkpoint = path / _CHECKPOINT
        self.tensorboard = path / "tensorboard"
        self.model = path / "model"
        # z of all utterances, with label and part.
        self.features = path / "features.npz"
        self.predictions = path / "predictions.csv"
        # `Scores`, written last: by it the run is finished.
        self.scores = path / SCORES

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
        files = {self.meta, self.config, self.folds, self.earlier, self.history, self.pace}
        present = {path for path in self.path.iterdir() if path.suffix != ".part"}
        started = present <= files | {self.checkpoint.parent, self.tensorboard}
        return started and self.meta in present and not self.checkpoint.is_file()


def refuse_existing(out: Path, resume: bool) -> None:
    """Refuse to train into a folder that holds another thing than a run, or a run that nobody asked to resume."""
    refuse_mixture(out, "a training", but_for="a run")
    if out.exists() and not resume and any(out.iterdir()) and not RunFolder(out).is_failed_start:
        raise RunError(f"{out} exists and is not empty. Go on with it by --resume, or name another folder")


def refuse_mixture(out: Path, purpose: str, *, but_for: str = "") -> None:
    """Refuse to write "a training", or another purpose, into a folder of something else but for one of `_KINDS`."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file: {purpose} needs a folder. Name another")
    for kind, signs in _KINDS.items():
        if kind != but_for and any(path for sign in signs for path in out.glob(sign)):
            raise RunError(f"{out} holds {kind}: {purpose} does not go into it. Name another folder")
