"""Baselines beside the recogniser: openSMILE's functionals and a linear support vector machine."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

if TYPE_CHECKING:
    import opensmile

FEATURE_SETS = {"eGeMAPSv02": 1e-2, "ComParE_2016": 1e-4}
"""Feature sets, and the C of the machine: the usual small ones for standardised functionals."""


def extractor(name: str) -> "opensmile.Smile":
    """Return openSMILE's extractor of one vector per file, on one thread."""
    # Imported here, as it is no dependency: `pip install opensmile`.
    import opensmile

    features, level = opensmile.FeatureSet[name], opensmile.FeatureLevel.Functionals
    return opensmile.Smile(features, level, num_workers=1, verbose=False)


def functionals(smile: "opensmile.Smile", files: list[Path]) -> NDArray[np.float64]:
    """Return the vectors of some files: (files, features)."""
    return np.concatenate([smile.process_file(str(file)).to_numpy() for file in files]).astype(np.float64)


def linear_machine(c: float) -> Pipeline:
    """Return standardisation and a linear machine, classes weighted inversely to their frequency."""
    svc = LinearSVC(C=c, class_weight="balanced", random_state=0, max_iter=20_000)
    return make_pipeline(StandardScaler(), svc)
