"""The program: `emospec`, or `python -m emospec`. Imports the command line only once Ctrl-C is no traceback."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command line."""
    try:
        from emospec.cli import run_command_line
    except KeyboardInterrupt:
        print("emospec: stopped", file=sys.stderr)
        sys.exit(130)
    run_command_line()


if __name__ == "__main__":
    # `python -m` puts the current folder first on the path, and processes that we start would inherit it. It stays
    # where it is a checkout that emospec runs from.
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
        del sys.path[0]
    main()
