"""Studies of accuracy and of equal behaviour; each is a command of its own."""

import emospec  # noqa: F401 - turns onnxruntime's telemetry off before a study imports it
