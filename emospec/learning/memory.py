"""How glibc treats freed memory while a training asks for the same large blocks at every step."""

import ctypes
import sys


def reuse_freed_memory() -> None:
    """Have glibc keep large freed blocks instead of unmapping them at every step; does nothing without glibc.

    Without it a step spends up to half of its time in page faults.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        # From malloc.h. No block is mapped by itself: older versions refuse a higher threshold for that.
        trim_threshold, mmap_max = -1, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)
