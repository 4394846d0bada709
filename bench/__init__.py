"""Speed, measured: every figure a ratio within one run, against a plain reference or a peer.

`make bench`, or `python -m bench [NAME ...]`, writes RESULTS.md.
"""

import emospec  # noqa: F401 - turns onnxruntime's telemetry off before a benchmark imports it
