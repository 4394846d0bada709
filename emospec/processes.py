"""The environment of processes that emospec starts: none looks for modules in the current folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SAFE_PATH = "PYTHONSAFEPATH"


@contextmanager
def current_folder_off_path() -> Iterator[None]:
    """Keep the current folder off `sys.path` of the Python processes that are started meanwhile.

    multiprocessing starts its forkserver and its resource tracker with `python -c`, joblib its workers with
    `python -m`. Both put the current folder first on the path: a `json.py` that lies there would run. Installed
    packages and PYTHONPATH are found as ever. The caller's own environment is as before afterwards.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = before
