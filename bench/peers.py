"""What the recogniser is measured against: openSMILE's functionals and a linear support vector machine."""

from pathlib import Path

import numpy as np
import opensmile
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

SETS = {"eGeMAPSv02": 1e-2, "ComParE_2016": 1e-4}
"""Feature sets, and the C of the machine: the usual small ones for standardised functionals."""


def extractor(name: str) -> opensmile.Smile:
    """OpenSMILE's extractor of one vector per file, on one thread."""
    return opensmile.Smile(
        opensmile.FeatureSet[name], opensmile.FeatureLevel.Functionals, num_workers=1, verbose=False
    )


def functionals(smile: opensmile.Smile, files: list[Path]) -> NDArray[np.float64]:
    """(files, features)."""
    return np.concatenate([smile.process_file(str(file)).to_numpy() for file in files]).astype(np.float64)


def machine(c: float) -> Pipeline:
    """Standardisation and a linear machine, classes weighted inversely to their frequency."""
    return make_pipeline(
        StandardScaler(), LinearSVC(C=c, class_weight="balanced", random_state=0, max_iter=20_000)
    )
