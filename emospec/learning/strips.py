"""Utterances laid end to end in strips, so that next to nothing is convolved on padding.

Each utterance starts at a multiple of `TIME_STRIDE` frames. The convolutions are unpadded, so no step of an
utterance reads a frame of the next; the steps that straddle two utterances are dropped. Knows no layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from emospec.learning.device import to_device

# Frames per step after the convolutions.
TIME_STRIDE = 16
# The length that strips have on a CPU, about. A training step then frees blocks of few sizes, which the next step
# uses again. Blocks of long strips fit no later step, and a training held up to twice the memory.
_STRIP_FRAMES = 4096


class Layout(NamedTuple):
    """A number of strips, their length, and the first frame of each utterance (batch,), counted strip after strip."""

    strips: int
    frames: int
    starts: Tensor


def round_up_length(frames: int) -> int:
    """Return the next of sixteen lengths per octave, so that batches have few shapes.

    >>> round_up_length(13_900), round_up_length(50)
    (14336, 64)
    """
    # The library of the convolutions keeps a compiled kernel for every shape that has occurred, and the allocator
    # keeps freed blocks: otherwise a training holds twice the memory after some hundred steps.
    step = max(TIME_STRIDE, 1 << (frames.bit_length() - 5))
    return -(-frames // step) * step


def lay_out(slots: Tensor, most: int) -> Layout:
    """Lay utterances, of `slots` (batch,) frames, end to end, the longest first, each onto the shortest strip.

    >>> lay_out(torch.tensor([32, 64, 48]), 2)
    Layout(strips=2, frames=80, starts=tensor([128,   0,  80]))
    """
    # Fewer than `most` where the longest utterance would leave them mostly empty.
    strips = max(1, min(most, int(slots.sum()) // int(slots.max())))
    filled, places = [0] * strips, [(0, 0)] * len(slots)
    for utterance in slots.argsort(descending=True, stable=True).tolist():
        strip = filled.index(min(filled))
        places[utterance] = strip, filled[strip]
        filled[strip] += int(slots[utterance])
    frames = round_up_length(max(filled))
    return Layout(strips, frames, torch.tensor([strip * frames + start for strip, start in places]))


def lay_out_in_passes(slots: Tensor, at_once: int) -> Layout:
    """Lay utterances out as `lay_out` does, in strips of some 4096 frames, of which `at_once` make a pass.

    >>> lay_out_in_passes(torch.full((8,), 3008), 2)[:2]  # not 6 of 6144
    (8, 3072)
    """
    frames = int(slots.sum())
    passes = max(1, round(frames / (at_once * _STRIP_FRAMES)))
    layouts = []
    # Shorter strips where an eighth or more would stay empty, such as with a few utterances of one length.
    for number in range(passes, 2 * passes + 1):
        layouts.append(layout := lay_out(slots, at_once * number))
        if 8 * layout.strips * layout.frames < 9 * frames:
            return layout
    return min(layouts, key=lambda layout: layout.strips * layout.frames)


def convolve(
    layers: Callable[[Tensor], Tensor], frames: Tensor, counts: Tensor, *, in_one_pass: bool
) -> tuple[Tensor, Tensor]:
    """Apply unpadded convolutions to the utterances of a batch, laid end to end.

    Args:
        layers: maps strips (strips, 1, frames, bins) to features (strips, steps, features).
        frames: (batch, time, bins); what lies past a count is ignored.
        counts: (batch,) frames of each utterance, on the CPU.
        in_one_pass: give `layers` the whole batch at once; otherwise a CPU takes strip after strip.

    Returns:
        features (rows, features) and, on the CPU, the row where each utterance starts (batch,).
    """
    slots = -(-counts // TIME_STRIDE) * TIME_STRIDE
    on_cpu = frames.device.type == "cpu"
    # On a CPU, torch computes a pool's gradient strip by strip, each by one thread.
    at_once = torch.get_num_threads() if on_cpu else 1
    layout = lay_out(slots, at_once) if in_one_pass or not on_cpu else lay_out_in_passes(slots, at_once)
    convolved = torch.cat([layers(part) for part in torch.split(_fill(layout, frames, counts), at_once)])
    strip, frame = layout.starts // layout.frames, layout.starts % layout.frames
    return convolved.flatten(0, 1).to(frames.dtype), strip * convolved.shape[1] + frame // TIME_STRIDE


def _fill(layout: Layout, frames: Tensor, counts: Tensor) -> Tensor:
    """Return the strips (strips, 1, frames, bins) of a layout, zero between the utterances."""
    # All places follow from the counts, so they are worked out on the CPU: no accelerator has to be waited for.
    frame = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    places = layout.starts.repeat_interleave(counts) + frame
    size = layout.strips * layout.frames
    source, empty = torch.zeros(size, dtype=torch.int64), torch.ones(size)
    source[places] = (torch.arange(len(counts)) * frames.shape[1]).repeat_interleave(counts) + frame
    empty[places] = 0
    rows = frames.flatten(0, 1).index_select(0, to_device(source, frames.device))
    # The zeros matter: a NaN past an utterance's end would reach the weights through the backward pass.
    rows = rows.index_fill(0, to_device(empty.nonzero()[:, 0], frames.device), 0.0)
    return rows.view(layout.strips, 1, layout.frames, -1)
