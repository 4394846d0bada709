"""A learner as one ONNX file, front end included: written, compared with the learner, quantised, halved.

Opset 18 is the lowest that torch's exporter writes by itself; with IR version 8, its contemporary, runtimes from 2023
on should read the file. The exporter's optimiser stays off: it takes 1e-8 for zero and so drops the log-STFT's offset.
Only sizes and shapes are folded, nearly half of the nodes; onnxruntime does the rest when it loads the file.
"""

import copy
import itertools
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxscript.optimizer import fold_constants, remove_unused_nodes

from emospec.errors import ExportError
from emospec.export.graph import OPSET, Graph
from emospec.files import write_bytes
from emospec.learning.learner import Learner

_Rows = NDArray[np.float32]

_IR_VERSION = 8
_INPUTS, _OUTPUTS = ("waveforms", "lengths"), ("probabilities", "logits", "z")
# The largest constant that is folded, in numbers.
_FOLDED = 64
# Allowed between graph and learner: of a probability, and of z (where |z| > 1, relative).
_TOLERANCE = 1e-4
# (samples, level) of noise: single sample, usual, silence, faint, more than 1400 frames.
_CHECKED = ((1, 0.05), (1_600, 0.05), (8_000, 0.0), (48_000, 1e-4), (230_000, 0.05))
_QUANTISED = ("Conv", "Relu", "MaxPool")
# The smallest matrix for which 16 bits are worth a node more, in numbers.
_HALVED = 1024


def export(learner: Learner, path: Path) -> None:
    """Write a learner as one self-contained ONNX file, after comparing it with the learner.

    Inputs: `waveforms` (batch, samples) float32 at 16 kHz and `lengths` (batch,) int64, the samples of each, from 1 to
    `samples`; what lies past a length is ignored. Outputs, float32: `probabilities` (batch, classes), the softmax of
    `logits` (batch, classes) before any calibration, and `z` (batch, 64). The same learner gives the same bytes. ExportError where the graph
    fixes a size, or gives other probabilities or features than the learner: nothing is written then.
    """
    learner = copy.deepcopy(learner).cpu().eval()
    with _quiet_exporter():
        model = _traced(learner)
    _tidy(model)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    _compare(learner, content)
    write_bytes(path, content)


def _traced(learner: Learner) -> onnx.ModelProto:
    # A batch of 1 would be taken for a constant.
    example = (torch.zeros(2, 48_077), torch.tensor([40_000, 48_000]))
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples")
    program: Any = torch.onnx.export(
        Graph(learner).eval(), example, dynamo=True, opset_version=OPSET, optimize=False, external_data=False,
        input_names=_INPUTS, output_names=_OUTPUTS, verbose=False,
        dynamic_shapes={"waveforms": {0: batch, 1: samples}, "lengths": {0: batch}},
    )  # fmt: skip
    # The kernels of the DFT are larger: they stay the few numbers that they are made of.
    fold_constants(program.model, input_size_limit=_FOLDED, output_size_limit=_FOLDED)
    remove_unused_nodes(program.model)
    return program.model_proto  # type: ignore[no-any-return]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter logs about itself and about packages that are not needed."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*", FutureWarning)
            warnings.filterwarnings("ignore", "# The axis name: batch will not be used", UserWarning)
            yield
    finally:
        registration.setLevel(level)


def _tidy(model: onnx.ModelProto) -> None:
    """Name the nodes by their part and drop all traces of this machine; ExportError where an input's size is fixed."""
    for number, node in enumerate(model.graph.node):
        scopes = {p.key: p.value for p in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
        part = next((name for name in ("frontend", "network") if f"'{name}'" in scopes), "shape")
        node.name = f"{part}/{node.op_type}_{number}"
    graph = model.graph
    lists = (graph.node, graph.value_info, graph.input, graph.output, graph.initializer, (graph, model))
    for described in itertools.chain(*lists):
        del described.metadata_props[:]
        described.ClearField("doc_string")
    model.ir_version = _IR_VERSION
    for value in model.graph.input:
        sizes = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if not all(isinstance(size, str) for size in sizes):
            raise ExportError(f"the exporter fixed the sizes {sizes} of input {value.name!r}: report this")


def _open(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # 3: errors alone.
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _feed(waveform: _Rows) -> dict[str, NDArray[Any]]:
    return {"waveforms": waveform[None], "lengths": np.array([len(waveform)])}


def _forward(session: onnxruntime.InferenceSession, waveform: _Rows) -> Sequence[_Rows]:
    """Return probabilities (1, classes) and z (1, 64) of one recording."""
    return cast(Sequence[_Rows], session.run(["probabilities", "z"], _feed(waveform)))


def _write_variant(before: bytes, model: onnx.ModelProto, waveforms: Iterable[_Rows], path: Path) -> float:
    """Write a rounded graph; return the greatest difference of a probability that the rounding makes."""
    content = model.SerializeToString(deterministic=True)
    exact, rounded = _open(before), _open(content)
    deviation = float(max(np.abs(_forward(exact, w)[0] - _forward(rounded, w)[0]).max() for w in waveforms))
    write_bytes(path, content)
    return deviation


def _noise() -> tuple[_Rows, NDArray[np.int64]]:
    """Return seeded noise (batch, samples) of several lengths and levels, and the samples of each."""
    rng = np.random.default_rng(0)
    lengths, levels = map(np.array, zip(*_CHECKED, strict=True))
    return (levels[:, None] * rng.normal(size=(len(lengths), lengths.max()))).astype(np.float32), lengths


def _compare(learner: Learner, content: bytes) -> None:
    """Compare graph and learner on seeded noise, alone and padded; ExportError where they differ by more than 1e-4."""
    session = _open(content)
    batch, lengths = _noise()
    z, probabilities = learner.forward_waveforms(torch.from_numpy(batch), torch.from_numpy(lengths))
    padded = session.run(["probabilities", "z"], {"waveforms": batch, "lengths": lengths})
    alone = [_forward(session, row[:n]) for row, n in zip(batch, lengths, strict=True)]
    for k, (name, expected) in enumerate((("probabilities", probabilities.numpy()), ("z", z.numpy()))):
        for values in (padded[k], np.concatenate([outputs[k] for outputs in alone])):
            difference = np.abs(values - expected).max(axis=1) / max(1.0, float(np.abs(expected).max()))
            if not (difference <= _TOLERANCE).all():
                worst = int(difference.argmax())
                raise ExportError(
                    f"the exported graph's {name} are {difference[worst]:.2g} from the learner's at "
                    f"{lengths[worst]} samples ({_TOLERANCE:g} is allowed); nothing was written: report this"
                )


def quantise(source: Path, target: Path, waveforms: Sequence[NDArray[np.float32]]) -> float:
    """Write the int8 variant of an exported graph; return the greatest difference of a probability that this makes.

    The network's convolutions, ReLUs and pools compute in 8 bits (activations per tensor, ranges from the calibration;
    weights per channel); all else stays float32.

    Args:
        source: a file of `export`.
        target: the file to write.
        waveforms: (samples,) float32 at 16 kHz each: some 20 real recordings, as varied as the model's use.

    Raises:
        ExportError: `source` is no graph of `export`, or there are no waveforms.
    """
    # The front end spans 80 dB and more, onnxruntime has no int8 GRU, and the dense layers gained no time.
    model = onnx.load(source)
    nodes = [n.name for n in model.graph.node if n.name.startswith("network/") and n.op_type in _QUANTISED]
    if not nodes:
        raise ExportError(f"{source} has no convolutions named network/...: export the learner first")
    if not waveforms:
        raise ExportError("no recordings to calibrate int8 with: give some 20, as varied as its use")
    # Without this mark the quantiser asks, through the root logger, for a preparation that changes the names.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "int8.onnx"
        # Weights have 7 bits: with 8, sums saturate on processors without VNNI, which would answer otherwise.
        quantize_static(
            model, written, _Calibration(waveforms), quant_format=QuantFormat.QDQ, nodes_to_quantize=nodes,
            op_types_to_quantize=_QUANTISED, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        rounded_model = onnx.load(written)
    del rounded_model.metadata_props[:]
    return _write_variant(source.read_bytes(), rounded_model, waveforms, target)


def halve(path: Path) -> float:
    """Store the network's weights as float16, in place: about half the file.

    They become float32 again as the graph is loaded: everything computes as fast as before, with weights rounded to 11
    bits. Returned is the greatest difference of a probability that this makes, over seeded noise; ExportError where a
    weight is beyond float16's range, and the file stays as it was.
    """
    before = path.read_bytes()
    model = onnx.load_from_string(before)
    graph = model.graph
    elsewhere = {name for node in graph.node if not node.name.startswith("network/") for name in node.input}
    casts = []
    for tensor in graph.initializer:
        weights = numpy_helper.to_array(tensor)
        # Biases and small matrices stay: a node more would cost what it saves.
        if weights.dtype != np.float32 or weights.size < _HALVED or tensor.name in elsewhere:
            continue
        if np.abs(weights).max() > np.finfo(np.float16).max:
            raise ExportError(f"weights of {tensor.name} are too large for 16 bits: export without --float16")
        name, stored, float32 = tensor.name, f"{tensor.name}.float16", onnx.TensorProto.FLOAT
        tensor.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"network/Cast_{name}", to=float32))
    # Each weight is read behind its cast: nodes stand before those that read them.
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    noise = (row[:samples] for row, samples in zip(*_noise(), strict=True))
    return _write_variant(before, model, noise, path)


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, waveforms: Sequence[NDArray[np.float32]]) -> None:
        self.feeds = map(_feed, waveforms)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self.feeds, None)
