"""The program: `emospec`, or `python -m emospec`. Imports the command line only once Ctrl-C is no traceback."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from emospec.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
