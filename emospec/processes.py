"""The environment of processes that emospec starts: none looks for modules in the current folder."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

SAFE_PATH = "PYTHONSAFEPATH"


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while: for libraries that are loaded and processes that are started."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def current_folder_off_path() -> AbstractContextManager[None]:
    """Keep the current folder off `sys.path` of the Python processes that are started meanwhile.

    multiprocessing and joblib start theirs with `python -c` or `python -m`, which put it first on the path: a
    `json.py` that lies there would run. Installed packages and PYTHONPATH are found as always.
    """
    return environment(SAFE_PATH, "1")
