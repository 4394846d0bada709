"""A teacher's file for `loss.teacher`: what a pretrained speech encoder hears in each utterance of a pack.

python -m studies.teacher PACK OUT.npz needs `pip install --no-deps pipecat-ai==1.14` (BSD 2-clause), which carries an
8 M-parameter encoder of Whisper-tiny's shape, int8, trained to tell whether somebody has finished speaking; what it was
trained on is not told. A step's vector is the mean of one layer's output (384) over 0.16 s, of the first 8 s of what training keeps. Layer 2 is
best on the dev sets of the recipe search (linear SVM); none of it is part of emospec or of its models.
"""

import argparse
import importlib.util
import io
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from emospec.audio.frames import HOP_SAMPLES, frame_count
from emospec.audio.waveform import SAMPLE_RATE
from emospec.data.pack import Pack
from emospec.errors import mistakes_in_one_line
from emospec.files import write_bytes
from emospec.learning.spectrogram import MAX_FRAMES

SAMPLES, HIDDEN_SAMPLES = 128_000, 320  # what it takes at once; samples per output
OUTPUTS = 8  # that make a step of the file
NORM_BEFORE = {1: "node_layer_norm_2", 2: "node_layer_norm_4", 3: "node_layer_norm_6", 4: "node_layer_norm_8"}


def encoder(layer: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Waveform (samples,) at 16 kHz -> (steps, 384) of a layer's output."""
    found = importlib.util.find_spec("pipecat")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the teacher's package is missing: pip install --no-deps pipecat-ai==1.14")
    folder = Path(found.submodule_search_locations[0]) / "audio" / "turn" / "smart_turn"
    # By path: importing the package would import what it serves.
    features = runpy.run_path(str(folder / "_whisper_features.py"))
    model = onnx.load(folder / "data" / "smart-turn-v3.2-cpu.onnx")
    wanted = next(node.input[0] for node in model.graph.node if node.name == NORM_BEFORE[layer])
    model.graph.output.append(onnx.helper.make_tensor_value_info(wanted, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())

    def steps(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        first = max(0, frame_count(len(waveform)) - MAX_FRAMES) // 2 * HOP_SAMPLES  # that training keeps
        waveform = waveform[first : first + MAX_FRAMES * HOP_SAMPLES]
        heard = features["compute_whisper_log_mel_features"](waveform[:SAMPLES])
        (hidden,) = session.run([wanted], {"input_features": heard[None]})
        own = hidden[0, : max(1, -(-min(len(waveform), SAMPLES) // HIDDEN_SAMPLES))]
        return np.stack([part.mean(axis=0) for part in np.split(own, range(OUTPUTS, len(own), OUTPUTS))])

    return steps


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layer", type=int, choices=sorted(NORM_BEFORE), default=2)
    options = parser.parse_args()
    pack, hear = Pack(options.pack), encoder(options.layer)
    vectors = [hear(pack.waveform(i)) for i in range(len(pack))]
    file = io.BytesIO()
    np.savez(
        file,
        id=np.array([u.id for u in pack.utterances]),
        steps=np.array([len(v) for v in vectors]),
        vector=np.concatenate(vectors).astype(np.float16),
        seconds=np.float64(OUTPUTS * HIDDEN_SAMPLES / SAMPLE_RATE),
    )
    write_bytes(options.out, file.getvalue())


if __name__ == "__main__":
    with mistakes_in_one_line("studies.teacher"):
        main()
