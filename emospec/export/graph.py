"""Front end and network restated in operations that export well. `LogSpectrogram` and `EmotionNetwork` define them.

- The DFT is two matrix products. onnxruntime's STFT operator takes some twenty times as long, a convolution with all
  cosines and sines twice as long.
- The convolutions see the padded batch, not strips: unpadded, no valid step reads past its own frames.
- The GRU is one node that takes the valid steps of each utterance: `nn.GRU` does not export with a dynamic time axis.
  ONNX orders the gates z, r, n; torch has r, z, n.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emospec.audio.frames import HOP_SAMPLES, MIN_FRAMES, central_frames, frame_count
from emospec.learning import spectrogram as front
from emospec.learning.learner import Learner
from emospec.learning.network import GRU_UNITS, EmotionNetwork, steps_after_convolutions
from emospec.learning.spectrogram import DFT_LENGTH, STFT_BINS, WINDOW_SAMPLES, LogSpectrogram

OPSET = 18
_HALF = WINDOW_SAMPLES // 2


class GraphFrontend(nn.Module):
    """`LogSpectrogram` in operations that export well and run fast.

    With x_n the sample n places from the centre of a frame (n from -320 to 319), w the window
    (w_n = w_{-n}, w_0 = 1) and phi = 2 pi k n / 1024, the spectrum at bin k is, but for a sign,

        Re = x_0 + sum_{n=1}^{320} w_n cos(phi) (x_n + x_{-n}),  x_320 = 0,
        Im =       sum_{n=1}^{320} w_n sin(phi) (x_n - x_{-n}):

    half the products of a plain DFT. The factors would be a third of the file: the graph makes them in float64 from
    one period of a cosine, once, as onnxruntime loads it.
    """

    filters: Tensor

    def __init__(self, frontend: LogSpectrogram) -> None:
        super().__init__()
        self.frontend = frontend
        # The last bin, 8000 Hz, weighs nothing in any Mel band, and 512 columns go faster than 513.
        self.bins = STFT_BINS - 1 if frontend.kind == "log-mel" else STFT_BINS
        period = np.cos(2 * np.pi * np.arange(DFT_LENGTH) / DFT_LENGTH)
        margin = (DFT_LENGTH - WINDOW_SAMPLES) // 2
        window = frontend.get_buffer("window")[margin:-margin].double().roll(_HALF)[1 : _HALF + 1]
        self.register_buffer("cosine", torch.from_numpy(period))
        self.register_buffer("places", torch.arange(1, _HALF + 1)[:, None])
        self.register_buffer("numbers", torch.arange(self.bins))
        self.register_buffer("filters", torch.from_numpy(front.mel_filters()[: self.bins]))
        self.register_buffer("half_window", window[:, None].clone())

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardised frames (batch, time, bins), at least 49, and their counts (batch,)."""
        mask = torch.arange(waveforms.shape[1]) < lengths[:, None]
        power = self._power(torch.where(mask, waveforms, 0.0))
        power = power @ self.filters if self.frontend.kind == "log-mel" else power + front.STFT_OFFSET
        decibels = 10 * torch.log10(power.clamp(min=front.POWER_FLOOR))
        counts = frame_count(lengths)
        valid = (torch.arange(decibels.shape[1]) < counts[:, None])[..., None]
        top = torch.where(valid, decibels, -torch.inf).amax(dim=(1, 2), keepdim=True)
        return self._crop(torch.maximum(decibels, top - front.DYNAMIC_RANGE_DB), counts)

    def _power(self, waveforms: Tensor) -> Tensor:
        """Return |X|^2 (batch, time, bins) of centred frames, with zeros beyond both ends."""
        batch, samples = waveforms.shape
        frames = frame_count(samples)
        hops, span = (batch, frames + 1, HOP_SAMPLES), HOP_SAMPLES * (frames + 1)
        # Two hops on either side of a centre hold the half window: x_n and x_{-n}, n from 1 to 320.
        after = functional.pad(waveforms, (0, _HALF + 1))[:, 1 : 1 + span].reshape(hops)
        before = functional.pad(waveforms, (_HALF, 0))[:, :span].reshape(hops).flip(2)
        ahead = torch.cat([after[:, :-1], functional.pad(after[:, 1:, :-1], (0, 1))], dim=2)
        behind = torch.cat([before[:, 1:], before[:, :-1]], dim=2)
        centre = functional.pad(waveforms, (0, HOP_SAMPLES))[:, : HOP_SAMPLES * frames : HOP_SAMPLES]
        cosines, sines = self._factors()
        real = (ahead + behind) @ cosines + centre[..., None]
        imaginary = (ahead - behind) @ sines
        return real * real + imaginary * imaginary

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Return w_n cos(phi) and w_n sin(phi), (320, bins) each, n from 1."""
        turns, window = self.get_buffer("places") * self.get_buffer("numbers"), self.get_buffer("half_window")
        # A sine is the cosine three quarters of a period later.
        shifted = ((turns + shift).flatten() % DFT_LENGTH for shift in (0, 3 * DFT_LENGTH // 4))
        cosines, sines = (self.get_buffer("cosine").index_select(0, turn) for turn in shifted)
        cosines, sines = (values.view(_HALF, self.bins) * window for values in (cosines, sines))
        return cosines.float(), sines.float()

    def _crop(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the central `max_frames` of each, at least 49 rows, standardised."""
        batch, time = frames.shape[:2]
        most = self.frontend.max_frames
        kept = torch.sym_min(time, most) if most else time  # type: ignore[no-untyped-call]
        kept = torch.sym_max(kept, MIN_FRAMES)  # type: ignore[no-untyped-call]
        # All rows are picked at once: a slice of each utterance would fix the size of the batch.
        first = central_frames(counts, most).start
        rows = (first[:, None] + torch.arange(kept)).clamp(max=time - 1)
        rows = rows + torch.arange(batch)[:, None] * time
        picked = frames.flatten(0, 1).index_select(0, rows.flatten()).view(batch, kept, frames.shape[2])
        return self.frontend.standardise(picked, counts.clamp(max=most) if most else counts)


class GraphNetwork(nn.Module):
    """`EmotionNetwork` on a padded batch, with ONNX's GRU node."""

    def __init__(self, network: EmotionNetwork) -> None:
        super().__init__()
        self.convolutions, self.network = nn.ModuleList(), network
        for layer in range(len(network.convolutions)):
            # The normalisation after it is folded in.
            weight, bias = (parameter.detach() for parameter in network.folded(layer))
            plain = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride=1 if layer else 2)
            plain.weight, plain.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.convolutions.append(plain)
        weights = {}
        for name, parameter in network.gru.named_parameters():
            # ONNX's order of the gates, from torch's r, z, n.
            reset, update, candidate = parameter.detach().chunk(3)
            weights[name] = torch.cat([update, reset, candidate])

        def both(name: str) -> Tensor:
            return torch.stack([weights[f"{name}_l0"], weights[f"{name}_l0_reverse"]])

        self.register_buffer("input_weights", both("weight_ih"))
        self.register_buffer("state_weights", both("weight_hh"))
        self.register_buffer("biases", torch.cat([both("bias_ih"), both("bias_hh")], dim=1))

    def forward(self, frames: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (batch, 64) and logits (batch, classes) of standardised frames."""
        maps = functional.relu(self.convolutions[0](frames[:, None]))
        for convolution in list(self.convolutions)[1:]:
            # ReLU before the pool, unlike in training: onnxruntime fuses it into the convolution.
            maps = functional.max_pool2d(functional.relu(convolution(maps)), 2)
        steps = maps.permute(2, 0, 3, 1).flatten(2)
        parameters = (self.get_buffer(name) for name in ("input_weights", "state_weights", "biases"))
        shape, lengths = (2, steps.shape[1], GRU_UNITS), steps_after_convolutions(counts)
        outputs, last = torch.onnx.ops.symbolic_multi_out(
            "GRU", (steps, *parameters, lengths.int()),
            {"direction": "bidirectional", "hidden_size": GRU_UNITS, "linear_before_reset": 1},
            dtypes=(torch.float32, torch.float32), shapes=((steps.shape[0], *shape), shape), version=OPSET,
        )  # fmt: skip
        if self.network.design.pooling == "last":
            utterance = last.transpose(0, 1).flatten(1)
        else:
            mask = torch.arange(steps.shape[0]) < lengths[:, None]
            utterance = self.network.pool(outputs.permute(2, 0, 1, 3).flatten(2), mask)
        return self.network.classify(utterance)


class Graph(nn.Module):
    """The module that is exported; the names of its parts become those of the nodes. Its GRU runs in ONNX only."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.frontend = GraphFrontend(learner.frontend)
        self.network = GraphNetwork(learner.network)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities, logits and z."""
        z, logits = self.network(*self.frontend(waveforms, lengths))
        return logits.softmax(dim=1), logits, z
