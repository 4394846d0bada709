"""Frames -> feature z -> logits: the network of Dai et al. 2019, and what the settings change of it.

Computes no loss and reads no audio.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from emospec.config import Network
from emospec.learning.device import to_device
from emospec.learning.gru import bidirectional

FEATURES = 64  # d, the dimensions of z
GRU_UNITS = 128  # per direction
BATCH_NORM_EPSILON = 1e-5
TIME_STRIDE = 16  # frames per step after the convolutions
# About how long the strips are that a CPU convolves. What a step frees is in blocks of few sizes then, which the next
# step takes again; of long strips it lies in pieces: a training held up to twice the memory, by luck of its batches.
_STRIP_FRAMES = 4096


def round_up_length(frames: int) -> int:
    """The next of sixteen lengths per octave, so that batches have few shapes.

    The library of the convolutions keeps a compiled kernel, and the allocator freed blocks, for every shape
    that has occurred: without this a training holds twice the memory after some hundred steps.

    Example:
        >>> one_of_few_lengths(13_900), one_of_few_lengths(50)
        (14336, 64)
    """
    step = max(TIME_STRIDE, 1 << (frames.bit_length() - 5))
    return -(-frames // step) * step


def steps_after_convolutions(frames: Tensor) -> Tensor:
    """T' for T frames: a 7-wide stride-2 convolution, then three of 3-wide with 2-wide pooling."""
    length = (frames - 7) // 2 + 1
    for _ in range(3):
        length = (length - 4) // 2 + 1
    return length


def lay(slots: Tensor, most: int) -> tuple[int, int, Tensor]:
    """How utterances of so many frames are laid end to end in one or more strips.

    The longest first, each onto the shortest strip: as many strips as `most` allows, but none that the longest
    utterance would leave mostly empty.

    Returns:
        the strips, the frames of each, and the first frame of each utterance (batch,), strip after strip.

    Example:
        >>> lay(torch.tensor([32, 64, 48]), 2)
        (2, 80, tensor([128,   0,  80]))
    """
    strips = max(1, min(most, int(slots.sum()) // int(slots.max())))
    taken, places = [0] * strips, [(0, 0)] * len(slots)
    for utterance in slots.argsort(descending=True, stable=True).tolist():
        strip = taken.index(min(taken))
        places[utterance] = strip, taken[strip]
        taken[strip] += int(slots[utterance])
    frames = round_up_length(max(taken))
    return strips, frames, torch.tensor([strip * frames + first for strip, first in places])


def lay_in_passes(slots: Tensor, at_once: int) -> tuple[int, int, Tensor]:
    """As `lay`, in strips of some `_STRIP_FRAMES`, so many of which are convolved at once.

    In shorter ones where an eighth or more would stay empty otherwise, such as with a few utterances of one length.

    Example:
        >>> lay_in_passes(torch.full((8,), 3008), 2)[:2]  # not 6 of 6144
        (8, 3072)
    """
    frames = int(slots.sum())
    passes = max(1, round(frames / (at_once * _STRIP_FRAMES)))
    ways = []
    for more in range(passes, 2 * passes + 1):
        ways.append(lay(slots, at_once * more))
        strips, length, _ = ways[-1]
        if 8 * strips * length < 9 * frames:
            return ways[-1]
    return min(ways, key=lambda way: way[0] * way[1])


class EmotionNetwork(nn.Module):
    """CNN -> bidirectional GRU -> z -> logits.

    The utterances of a batch are laid end to end along time, each at a multiple of the time
    stride, and convolved as one long spectrogram, or on a CPU as some shorter ones. Convolutions and pools
    are unpadded, so no step of an utterance reads a frame past its own; steps that straddle two
    utterances are dropped. Next to nothing is computed on padding, and in use an utterance alone
    equals itself in any batch. Where `design.normalise` is set, a batch's statistics in training
    are over the whole strips, the steps that are dropped included.

    Args:
        bins: frequency bins of the frames: 128 (log-Mel) or 513 (log-STFT).
        classes: how many classes.
        seed: seeds the initial weights.
        design: what differs from the paper's network; by default nothing does.

    Attributes:
        precision: what the convolutions compute in, float32 or bfloat16; all else is float32.
    """

    def __init__(self, bins: int, classes: int, seed: int = 0, design: Network | None = None) -> None:
        super().__init__()
        self.design = design or Network()
        one, *more = self.design.channels
        self.convolutions = nn.ModuleList([nn.Conv2d(1, one, 7, stride=2)])
        self.convolutions += [
            nn.Conv2d(a, b, 3) for a, b in zip(self.design.channels[:-1], more, strict=True)
        ]
        # Scale and offset come after: the next layer's weights, and the convolution's own bias.
        normed = self.design.channels if self.design.normalise else []
        self.norms = nn.ModuleList([nn.BatchNorm2d(n, BATCH_NORM_EPSILON, affine=False) for n in normed])
        height = int(steps_after_convolutions(torch.tensor(bins)))
        self.gru = nn.GRU(height * more[-1], GRU_UNITS, batch_first=True, bidirectional=True)
        self.attention = (
            nn.Linear(2 * GRU_UNITS, 1, bias=False) if self.design.pooling == "attention" else None
        )
        self.fc1 = nn.Linear(2 * GRU_UNITS * (1 + (self.design.pooling == "statistics")), FEATURES)
        self.prelu = nn.PReLU(FEATURES, init=0.0)
        self.fc2 = nn.Linear(FEATURES, classes)
        self.precision = torch.float32
        self._initialise(torch.Generator().manual_seed(seed))
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Z and logits.

        Args:
            frames: (batch, time, bins), standardised; what lies past a count is ignored.
            counts: (batch,) frames of each, at least 49; best on the CPU.

        Returns:
            z (batch, 64) and logits (batch, classes), float32.
        """
        return self.classify(self.pool(*self.outputs(frames, counts)))

    def outputs(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The GRU's outputs (batch, T', 256), and which of them are of the utterance (batch, T')."""
        columns, starts, lengths = self._convolve(frames, counts.cpu())
        # Packed here, by places worked out on the CPU: left to torch, an accelerator would be waited for.
        order = lengths.argsort(descending=True, stable=True)
        step = torch.arange(int(lengths.max()))[:, None]
        inside = step < lengths[order]
        rows, places = (
            (first[order] + step)[inside] for first in (starts, torch.arange(len(order)) * len(step))
        )
        packed = PackedSequence(columns.index_select(0, to_device(rows, columns.device)), inside.sum(dim=1))
        states = bidirectional(self.gru, packed) if columns.device.type == "cpu" else self.gru(packed)[0].data
        outputs = states.new_zeros(len(order) * len(step), states.shape[1])
        outputs = outputs.index_copy(0, to_device(places, columns.device), states)
        valid = to_device(torch.arange(len(step)) < lengths[:, None], columns.device)
        return outputs.view(len(order), len(step), -1), valid

    def pool(self, outputs: Tensor, valid: Tensor) -> Tensor:
        """(batch, 256 or 512): the whole utterance, of what `outputs` gives."""
        inside = valid[..., None]
        if self.design.pooling == "last":
            # Where the forward direction has read all, and where the backward one has.
            rows = torch.arange(len(outputs), device=outputs.device)
            last = outputs[rows, valid.sum(dim=1) - 1]
            return torch.cat([last[:, :GRU_UNITS], outputs[:, 0, GRU_UNITS:]], dim=1)
        if self.attention is not None:
            scores = self.attention(outputs).masked_fill(~inside, -torch.inf)
            attended: Tensor = (outputs * scores.softmax(dim=1)).sum(dim=1)
            return attended
        count = inside.sum(dim=1)
        mean = (outputs * inside).sum(dim=1) / count
        variance = ((outputs - mean[:, None]).square() * inside).sum(dim=1) / count
        # The deviation of a single step is 0, where a square root has no gradient.
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)

    def classify(self, utterance: Tensor) -> tuple[Tensor, Tensor]:
        """Z (batch, 64) and logits (batch, classes) of what `pool` gives."""
        z: Tensor = self.prelu(self.fc1(utterance))
        return z, self.fc2(z)

    def _convolve(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Columns (rows, bins' * 96), and where those of each utterance start and how many they are, T' (batch,).

        Counts, starts and T' are the CPU's. What lies where follows from the counts, so it is worked out there: no
        accelerator has to be waited for.
        """
        slots = -(-counts // TIME_STRIDE) * TIME_STRIDE
        on_cpu = frames.device.type == "cpu"
        # A pool's gradient is computed by as many threads as there are strips.
        at_once = torch.get_num_threads() if on_cpu else 1
        in_one = not on_cpu or (self.training and self.design.normalise)  # by the whole batch
        strips, length, first = lay(slots, at_once) if in_one else lay_in_passes(slots, at_once)
        place = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        laid = first.repeat_interleave(counts) + place
        read, empty = torch.zeros(strips * length, dtype=torch.int64), torch.ones(strips * length)
        read[laid] = (torch.arange(len(counts)) * frames.shape[1]).repeat_interleave(counts) + place
        empty[laid] = 0
        strip = frames.flatten(0, 1).index_select(0, to_device(read, frames.device))
        # Zeroed, not only unread: a NaN past the end would reach the weights through the backward pass.
        strip = strip.index_fill(0, to_device(empty.nonzero()[:, 0], frames.device), 0.0)
        rounded = self.precision != torch.float32
        convolved = []
        # Each pass rounds the weights for itself, so that their gradients are added up in float32.
        with torch.autocast(strip.device.type, self.precision, enabled=rounded, cache_enabled=False):
            for maps in torch.split(strip.view(strips, 1, length, -1), at_once):
                for layer in range(len(self.convolutions)):
                    maps = self._layer(layer, maps)
                convolved.append(maps.permute(0, 2, 3, 1).flatten(2))
        columns = torch.cat(convolved)
        starts = first // length * columns.shape[1] + first % length // TIME_STRIDE
        return columns.flatten(0, 1).to(frames.dtype), starts, steps_after_convolutions(counts)

    def _layer(self, layer: int, maps: Tensor) -> Tensor:
        """Convolution, pool (but for the first), normalisation where it is designed, ReLU."""
        batch_norm = self.training and self.design.normalise
        weight, bias = self.folded(layer)
        maps = functional.conv2d(maps, weight, None if batch_norm else bias, 1 if layer else 2)
        if layer:
            # Pooling first is the same function, max(relu(x)) = relu(max(x)), on a quarter of the values.
            maps = functional.max_pool2d(maps, 2)
        if batch_norm:
            maps = self.norms[layer](maps) + bias[:, None, None]
        return functional.relu(maps)

    def folded(self, layer: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution; in use, with the normalisation after it folded in.

        (w * x - mean) / deviation + b is a convolution again, and dividing by a deviation commutes with the
        pool: in use a normalised network costs no more than a plain one.
        """
        convolution = self.convolutions[layer]
        weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
        if self.training or not self.design.normalise:
            return weight, bias
        norm = self.norms[layer]
        scale = (norm.get_buffer("running_var") + BATCH_NORM_EPSILON).rsqrt()
        return weight * scale[:, None, None, None], bias - norm.get_buffer("running_mean") * scale

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Glorot-uniform kernels, zero biases, reset and update gate biases 1.

        As in the authors' cell, the kernel of the gates maps [input; state] to 2 * units and that
        of the candidate maps it to units, so their fans differ.
        """

        def glorot(weight: Tensor, fan_in: int, fan_out: int) -> None:
            bound = math.sqrt(6 / (fan_in + fan_out))
            weight.uniform_(-bound, bound, generator=generator)

        linear = [self.fc1, self.fc2] + ([] if self.attention is None else [self.attention])
        for layer in (*self.convolutions, *linear):
            area = layer.weight[0, 0].numel()
            glorot(layer.weight, layer.weight.shape[1] * area, layer.weight.shape[0] * area)
            if layer.bias is not None:
                layer.bias.zero_()
        for name, parameter in self.gru.named_parameters():
            if name.startswith("weight"):
                fan_in = self.gru.input_size + GRU_UNITS
                glorot(parameter[: 2 * GRU_UNITS], fan_in, 2 * GRU_UNITS)
                glorot(parameter[2 * GRU_UNITS :], fan_in, GRU_UNITS)
            else:
                parameter.zero_()
                # torch has two biases per gate, which are added: the 1 goes into one of them.
                if name.startswith("bias_ih"):
                    parameter[: 2 * GRU_UNITS] = 1.0
