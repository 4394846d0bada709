"""What glibc does with freed memory, where a training asks for the same large blocks at every step. Elsewhere nothing."""

import ctypes
import sys


def reuse_freed_memory() -> None:
    """Have glibc keep large freed blocks instead of unmapping them at every step.

    Without it a step spends up to half of its time in page faults. What is free now, such as what the audit
    used, goes back first: it would be kept too. A second call gives back once more.
    """
    give_back_freed_memory()
    trim_threshold, mmap_max = -1, -4  # malloc.h
    _tell_glibc("mallopt", mmap_max, 0)  # a higher threshold for it would be refused by older versions
    _tell_glibc("mallopt", trim_threshold, -1)  # never


def give_back_freed_memory() -> None:
    """Give freed blocks back to the system, where what follows asks for others: those would lie on top of them."""
    _tell_glibc("malloc_trim", 0)


def _tell_glibc(name: str, *values: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    if function is not None:
        function(*values)
