"""The network of Dai et al. 2019: standardised frames -> feature z and logits.

Layers and forward pass stand in the order of the table in docs/method.md, whose steps the comments name. How a
batch is convolved and a GRU computed fast is in `strips` and `gru`. Computes no loss and reads no audio.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from emospec.config import Network
from emospec.learning.gru import run_gru
from emospec.learning.strips import convolve

# d, the dimensions of z; units of the GRU in each direction.
FEATURES, GRU_UNITS = 64, 128
_BATCH_NORM_EPSILON = 1e-5


def steps_after_convolutions(frames: Tensor) -> Tensor:
    """Return T' for T frames: a 7-wide convolution of stride 2, then three of 3-wide with 2-wide pooling."""
    length = (frames - 7) // 2 + 1
    for _ in range(3):
        length = (length - 4) // 2 + 1
    return length


class EmotionNetwork(nn.Module):
    """Convolutions -> bidirectional GRU -> z -> logits; an utterance alone equals itself in any batch.

    `bins` is F, the frequency bins of the frames: 128 (log-Mel) or 513 (log-STFT). `seed` is that of the initial
    weights, `design` what differs from the paper's network: by default nothing does.
    """

    def __init__(self, bins: int, classes: int, seed: int = 0, design: Network | None = None) -> None:
        super().__init__()
        self.design = design or Network()
        channels = self.design.channels
        # Step 1: 48 filters of 7 x 7, stride 2. Steps 2 to 4: 64, 80 and 96 filters of 3 x 3, each before a pool.
        self.convolutions = nn.ModuleList([nn.Conv2d(1, channels[0], 7, stride=2)])
        self.convolutions += [nn.Conv2d(before, after, 3) for before, after in itertools.pairwise(channels)]
        # Without scale and offset: the next layer's weights and the convolution's own bias serve as these.
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(channel, _BATCH_NORM_EPSILON, affine=False)
            for channel in (channels if self.design.normalise else [])
        )
        # Steps 5 and 6: F' * 96 inputs at each of T' steps, 128 units in each direction.
        height = int(steps_after_convolutions(torch.tensor(bins)))
        self.gru = nn.GRU(height * channels[-1], GRU_UNITS, batch_first=True, bidirectional=True)
        pooling = self.design.pooling
        self.attention = nn.Linear(2 * GRU_UNITS, 1, bias=False) if pooling == "attention" else None
        # Step 7: FC1 and one slope per unit. Step 8: FC2.
        self.fc1 = nn.Linear(2 * GRU_UNITS * (2 if pooling == "statistics" else 1), FEATURES)
        self.prelu = nn.PReLU(FEATURES, init=0.0)
        self.fc2 = nn.Linear(FEATURES, classes)
        # Of the convolutions, float32 or bfloat16; all else is float32.
        self.precision = torch.float32
        self._initialise(torch.Generator().manual_seed(seed))
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (batch, 64) and logits (batch, classes), float32.

        Args:
            frames: (batch, time, bins), standardised.
            counts: (batch,) frames of each, at least 49.
        """
        return self.classify(self.pool(*self.encode(frames, counts)))

    def encode(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the GRU's outputs (batch, T', 256), and the mask of valid steps (batch, T')."""
        counts = counts.cpu()
        # Batch normalisation takes its statistics from all that the layers see at once: whole strips.
        in_one_pass = self.training and self.design.normalise
        columns, starts = convolve(self._convolutions, frames, counts, in_one_pass=in_one_pass)
        return run_gru(self.gru, columns, starts, steps_after_convolutions(counts))

    def pool(self, outputs: Tensor, mask: Tensor) -> Tensor:
        """Return the utterance as one vector (batch, 256 or 512), of what `encode` returns."""
        if self.design.pooling == "last":
            # Step 6: [forward state at the last valid step; backward state at step 0].
            rows = torch.arange(len(outputs), device=outputs.device)
            last = outputs[rows, mask.sum(dim=1) - 1]
            return torch.cat([last[:, :GRU_UNITS], outputs[:, 0, GRU_UNITS:]], dim=1)
        mask = mask[..., None]
        if self.attention is not None:
            scores = self.attention(outputs).masked_fill(~mask, -torch.inf)
            attended: Tensor = (outputs * scores.softmax(dim=1)).sum(dim=1)
            return attended
        count = mask.sum(dim=1)
        mean = (outputs * mask).sum(dim=1) / count
        variance = ((outputs - mean[:, None]).square() * mask).sum(dim=1) / count
        # The deviation of a single step is 0, where a square root has no gradient.
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)

    def classify(self, utterance: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (batch, 64) and logits (batch, classes), of what `pool` returns."""
        # Step 7: z = PReLU(FC1 h). Step 8: logits = FC2 z.
        z: Tensor = self.prelu(self.fc1(utterance))
        return z, self.fc2(z)

    def _convolutions(self, strips: Tensor) -> Tensor:
        """Map strips (strips, 1, time, F) to columns (strips, T', F' * 96)."""
        maps, autocast = strips, self.precision != torch.float32
        # Uncached, each pass rounds the weights for itself, so that their gradients are added up in float32.
        with torch.autocast(strips.device.type, self.precision, enabled=autocast, cache_enabled=False):
            for layer in range(len(self.convolutions)):
                maps = self._layer(layer, maps)
        # Step 5: reshape, with the time axis kept.
        return maps.permute(0, 2, 3, 1).flatten(2)

    def _layer(self, layer: int, maps: Tensor) -> Tensor:
        """Apply convolution, pool (none after the first), normalisation where it is designed, and ReLU."""
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
        """Return weight and bias of a convolution; in eval mode with the normalisation after it folded in."""
        convolution = self.convolutions[layer]
        weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
        if self.training or not self.design.normalise:
            return weight, bias
        # (w * x - mean) / deviation is a convolution again, and dividing by a deviation commutes with the pool:
        # in eval mode a normalised network costs no more than a plain one.
        norm = self.norms[layer]
        scale = (norm.get_buffer("running_var") + _BATCH_NORM_EPSILON).rsqrt()
        return weight * scale[:, None, None, None], bias - norm.get_buffer("running_mean") * scale

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Set Glorot-uniform kernels, zero biases, reset and update gate biases of 1."""

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
                # In the authors' cell the kernel of the gates maps [input; state] to 2 * units and that of the
                # candidate maps it to units, so their fans differ.
                fan_in = self.gru.input_size + GRU_UNITS
                glorot(parameter[: 2 * GRU_UNITS], fan_in, 2 * GRU_UNITS)
                glorot(parameter[2 * GRU_UNITS :], fan_in, GRU_UNITS)
            else:
                parameter.zero_()
                # torch has two biases per gate, which are added: the 1 goes into one of them.
                if name.startswith("bias_ih"):
                    parameter[: 2 * GRU_UNITS] = 1.0
