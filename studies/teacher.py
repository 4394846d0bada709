"""Write a file of teacher embeddings for `loss.teacher`: the outputs of a pretrained speech encoder over a pack.

`python -m studies.teacher PACK OUT.npz` needs `pip install --no-deps pipecat-ai==1.14` (BSD 2-clause). That package has
an int8 encoder of 8 M parameters in the shape of Whisper-tiny, trained to detect the end of a speaker's turn; its
training data is not documented. An embedding is the mean of one layer's output (384) over 0.16 s, within the first 8 s
of the part that training keeps. Layer 2 was the best on the dev sets of the recipe search (linear SVM). Nothing of the
encoder is part of emospec or of its models.
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
from emospec.errors import exit_on_error
from emospec.files import write_bytes
from emospec.learning.spectrogram import MAX_FRAMES

# Samples that the encoder takes at once, and samples per output.
SAMPLES, OUTPUT_SAMPLES = 128_000, 320
# Outputs that make one step of the file.
OUTPUTS = 8
NORM_BEFORE = {1: "node_layer_norm_2", 2: "node_layer_norm_4", 3: "node_layer_norm_6", 4: "node_layer_norm_8"}


def encoder(layer: int) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from a waveform (samples,) at 16 kHz to a layer's mean outputs (steps, 384)."""
    package = importlib.util.find_spec("pipecat")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the teacher's package is missing: pip install --no-deps pipecat-ai==1.14")
    folder = Path(package.submodule_search_locations[0]) / "audio" / "turn" / "smart_turn"
    # Run by path: importing the package would import all its dependencies.
    features = runpy.run_path(str(folder / "_whisper_features.py"))
    model = onnx.load(folder / "data" / "smart-turn-v3.2-cpu.onnx")
    layer_output = next(node.input[0] for node in model.graph.node if node.name == NORM_BEFORE[layer])
    model.graph.output.append(onnx.helper.make_tensor_value_info(layer_output, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())

    def steps(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        # Training keeps the central frames of a long utterance.
        first = max(0, frame_count(len(waveform)) - MAX_FRAMES) // 2 * HOP_SAMPLES
        waveform = waveform[first : first + MAX_FRAMES * HOP_SAMPLES]
        log_mel = features["compute_whisper_log_mel_features"](waveform[:SAMPLES])
        (outputs,) = session.run([layer_output], {"input_features": log_mel[None]})
        speech = outputs[0, : max(1, -(-min(len(waveform), SAMPLES) // OUTPUT_SAMPLES))]
        return np.stack(
            [part.mean(axis=0) for part in np.split(speech, range(OUTPUTS, len(speech), OUTPUTS))]
        )

    return steps


def main() -> None:
    """Write the embeddings of all utterances of a pack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("out", type=Path, help="a file that ends in .npz")
    parser.add_argument("--layer", type=int, choices=sorted(NORM_BEFORE), default=2, help="of the encoder")
    options = parser.parse_args()
    pack, embed = Pack(options.pack), encoder(options.layer)
    vectors = [embed(pack.waveform(i)) for i in range(len(pack))]
    file = io.BytesIO()
    np.savez(
        file,
        id=np.array([u.id for u in pack.utterances]),
        steps=np.array([len(v) for v in vectors]),
        vector=np.concatenate(vectors).astype(np.float16),
        seconds=np.float64(OUTPUTS * OUTPUT_SAMPLES / SAMPLE_RATE),
    )
    write_bytes(options.out, file.getvalue())


if __name__ == "__main__":
    with exit_on_error("studies.teacher"):
        main()
