"""`python -m emospec` is `emospec`."""

from emospec.cli import main

main()
