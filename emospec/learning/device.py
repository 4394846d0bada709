"""How tensors reach an accelerator without it being waited for. On a CPU nothing here does anything."""

import torch
from torch import Tensor

_SHARE_FOR_FRAMES = 0.5  # of the free memory; activations need the rest


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; copied from pinned memory while the accelerator works on."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def keep_float32_whole() -> None:
    """Have an accelerator multiply float32 as such, where it would round to TF32 first."""
    torch.backends.cudnn.allow_tf32 = False


def has_room(device: torch.device, size: int) -> bool:
    """Whether so many bytes may stay on an accelerator throughout a training."""
    if device.type != "cuda":
        return False
    # What torch keeps of an earlier run is free too.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size <= _SHARE_FOR_FRAMES * (torch.cuda.mem_get_info(device)[0] + kept)
