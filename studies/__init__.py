"""Studies of accuracy; each is a command, such as `python -m studies.recipe --help`, and prints a table."""

import emospec  # noqa: F401 - turns off the telemetry of onnxruntime, before a study imports it
