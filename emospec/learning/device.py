"""The device of a training: which it is, how tensors reach it without waiting, how its memory is kept."""

import ctypes
import os
import sys

import torch
from torch import Tensor

# Of the free memory; activations need the rest.
_SHARE_FOR_FRAMES = 0.5


def training_device() -> torch.device:
    """Return the accelerator on which this process trains, or the CPU where there is none."""
    keep_float32_whole()
    if torch.cuda.is_available():
        # Processes that train together on a machine take one each.
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on the device, copied from pinned memory while the accelerator works on."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def keep_float32_whole() -> None:
    """Have an accelerator multiply float32 as such instead of rounding to TF32 first."""
    torch.backends.cudnn.allow_tf32 = False


def has_room(device: torch.device, size: int) -> bool:
    """Return whether `size` bytes may stay on an accelerator throughout a training; False for a CPU."""
    if device.type != "cuda":
        return False
    # Memory that torch keeps of an earlier run is free too.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size <= _SHARE_FOR_FRAMES * (torch.cuda.mem_get_info(device)[0] + kept)


def reuse_freed_memory() -> None:
    """Have glibc keep large freed blocks until the process ends; does nothing without glibc."""
    # Unmapped and mapped again at every step, they would cost up to half of its time in page faults.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        # From malloc.h. No block is mapped by itself: older versions refuse a higher threshold for that.
        trim_threshold, mmap_max = -1, -4
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)
