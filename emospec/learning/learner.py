"""Front end, network and centres as one module, and its files.

`model/` of a run holds `config.json` and `model.safetensors`; a checkpoint is one safetensors file. No pickle
anywhere.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from emospec.config import Network
from emospec.errors import RunError
from emospec.files import write_bytes, write_json
from emospec.inference.model import CONFIG, WEIGHTS
from emospec.learning.device import keep_float32_whole
from emospec.learning.frame_store import FrameStore
from emospec.learning.losses import CenterLoss
from emospec.learning.network import FEATURES, EmotionNetwork
from emospec.learning.spectrogram import Kind, LogSpectrogram


@dataclass(frozen=True)
class Outputs:
    """The outputs of a learner for utterances: z (utterances, 64), and probabilities (utterances, classes)."""

    z: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class Learner(nn.Module):
    """Front end, network and class centres; its state dict is what a run saves.

    `classes` are names, in the order of the logits; `seed` is that of the network's initial weights, and `design` what
    differs from the paper's network. `kind`, `max_frames` and `own_mean` are those of `LogSpectrogram`.
    """

    def __init__(
        self, kind: Kind, max_frames: int, classes: Sequence[str], seed: int = 0, design: Network | None = None,
        *, own_mean: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes = tuple(classes)
        self.frontend = LogSpectrogram(kind, max_frames, own_mean)
        self.network = EmotionNetwork(self.frontend.bins, len(self.classes), seed, design)
        self.center_loss = CenterLoss(len(self.classes), FEATURES)

    def forward(self, decibels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (batch, 64) and logits (batch, classes) of frames in dB (batch, time, bins)."""
        z, logits = self.network(*self.frontend.standardise(decibels, counts))
        return z, logits

    @torch.inference_mode()
    def forward_waveforms(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return z (batch, 64) and probabilities (batch, classes), in float32; inputs as of `LogSpectrogram`."""
        z, logits = self.network(*self.frontend(waveforms, lengths))
        return z, logits.softmax(dim=1)

    @torch.inference_mode()
    def forward_utterances(
        self, store: FrameStore, indices: Sequence[int], precision: torch.dtype = torch.float32
    ) -> Outputs:
        """Return z and probabilities of utterances of a pack, in the order of `indices`."""
        keep_float32_whole()
        order: list[int] = []
        # Made at once: small tensors kept from every bucket would split the freed memory that large ones need.
        device = self.frontend.mean.device
        z = torch.empty(len(indices), FEATURES, device=device)
        probabilities = torch.empty(len(indices), len(self.classes), device=device)
        training, before = self.training, self.network.precision
        self.network.precision = precision
        self.eval()
        try:
            for bucket in store.buckets(indices, precision):
                rows = slice(len(order), len(order) + len(bucket))
                z[rows], logits = self(*store.batch(bucket))
                probabilities[rows] = logits.softmax(dim=1)
                order += bucket
        finally:
            self.network.precision = before
            self.train(training)
        # From the order of the buckets back to the caller's.
        place = {index: k for k, index in enumerate(order)}
        places = [place[index] for index in indices]
        return Outputs(z.cpu().numpy()[places], probabilities.cpu().numpy()[places])

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """Write the model folder; `about` has more entries for `config.json`, such as the protocol and its hash."""
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / WEIGHTS, self.state_dict(), {})
        frontend, network = self.frontend.config(), self.network.design.model_dump()
        config = {"classes": list(self.classes), "frontend": frontend, "network": network}
        write_json(folder / CONFIG, config | about)

    @classmethod
    def load(cls, folder: Path) -> "Learner":
        """Read a model folder back; RunError where it is missing or damaged."""
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            # Runs of earlier versions have no [network]: theirs is the paper's.
            design = Network(**config.get("network", {}))
            learner = cls(classes=config["classes"], design=design, **config["frontend"])
            learner.load_state_dict(load_tensors(folder / WEIGHTS)[0])
            learner.eval()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
            raise RunError(f"{folder} cannot be read as a model: {error}") from error
        return learner


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and strings as one safetensors file, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, to_safetensors(plain, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and strings of a safetensors file."""
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
