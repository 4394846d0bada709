"""The number of cores that this process may use: the default number of decoding threads and processes."""

import math
import os
from pathlib import Path

# Of a container: microseconds of CPU time, in each period of so many.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return the number of cores, at least 1, that affinity and the container's share allow."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(affine, math.ceil(int(quota) / int(period))))
    # There is no container, or its share is "max".
    except (OSError, ValueError):
        return affine
