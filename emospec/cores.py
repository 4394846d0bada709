"""How many cores this process may use: what decoding threads and processes are counted by where nobody names a number."""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds in each period of so many


def cores() -> int:
    """At least 1; fewer than the machine has, where affinity or a container's share allows fewer."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(affine, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # there is no container, or its share is "max"
        return affine
