"""`python -m emospec` is `emospec`."""

import sys
from pathlib import Path

# `python -m` puts the current folder first on the path, and processes that we start would inherit it. It stays
# where it is a checkout that emospec runs from.
if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from emospec.cli import main

main()
