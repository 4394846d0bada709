"""The exported graph gives what the learner gives, at every length, alone and in any batch."""

import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from emospec.audio.reader import read_audio
from emospec.config import Network
from emospec.errors import ExportError
from emospec.export import onnx_file as module
from emospec.export.onnx_file import export, halve, quantise
from emospec.learning.learner import Learner
from emospec.learning.spectrogram import Kind

KINDS: tuple[Kind, ...] = ("log-mel", "log-stft")
SECONDS = (1 / 16_000, 0.1, 0.48, 3.0, 13.99, 14.01, 20.0, 60.0)
SHARED = Path(__file__).parents[3] / "shared" / "corpora"
Outputs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
Graphs = Callable[[Kind], tuple[Learner, Path]]


def learner_of(kind: Kind) -> Learner:
    """Weights that answer decidedly: an untrained network's probabilities hardly move."""
    learner = Learner(kind, 1400, ("neutral", "angry", "happy", "sad"), seed=1).eval()
    rng = np.random.default_rng(5)
    learner.frontend.fit([rng.normal(-45, 12, (400, learner.frontend.bins)).astype(np.float32)])
    with torch.no_grad():
        learner.network.prelu.weight.fill_(0.3)
        learner.network.fc2.weight.mul_(3)
    return learner


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    folder = tmp_path_factory.mktemp("graphs")

    @cache
    def make(kind: Kind) -> tuple[Learner, Path]:
        learner = learner_of(kind)
        export(learner, folder / f"{kind}.onnx")
        return learner, folder / f"{kind}.onnx"

    return make


def utterances() -> list[NDArray[np.float32]]:
    """Noise whose level wanders, so that the utterances differ to the network."""
    rng = np.random.default_rng(3)
    sizes = [round(16_000 * s) for s in SECONDS]
    return [
        (rng.normal(0, 10 ** rng.uniform(-3, -1), n) * (1 + np.sin(np.arange(n) / rng.uniform(500, 9000))))
        .astype(np.float32)
        for n in sizes
    ]  # fmt: skip


def run(path: Path, waveforms: list[NDArray[np.float32]], spare: int = 0, fill: float = 0.0) -> Outputs:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    lengths = np.array([len(w) for w in waveforms])
    batch = np.full((len(waveforms), lengths.max() + spare), fill, np.float32)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = waveform
    probabilities, logits, z = session.run(None, {"waveforms": batch, "lengths": lengths})
    return probabilities, logits, z


@pytest.mark.parametrize("kind", ["log-mel", pytest.param("log-stft", marks=pytest.mark.full)])
def test_the_graph_is_the_learner_at_every_length_alone_padded_and_shuffled(
    graphs: Graphs, kind: Kind
) -> None:
    learner, path = graphs(kind)
    waveforms = utterances()
    order = np.random.default_rng(1).permutation(len(waveforms))
    padded = run(path, waveforms, spare=777)
    shuffled = run(path, [waveforms[i] for i in order])
    for i, waveform in enumerate(waveforms):
        z, expected = learner.forward_waveforms(
            torch.from_numpy(waveform)[None], torch.tensor([len(waveform)])
        )
        place = int(np.flatnonzero(order == i)[0])
        for outputs, row in ((run(path, [waveform]), 0), (padded, i), (shuffled, place)):
            np.testing.assert_allclose(outputs[0][row], expected[0].numpy(), atol=1e-5, rtol=0)
            np.testing.assert_allclose(
                outputs[2][row], z[0].numpy(), atol=1e-5 * max(1.0, float(z.abs().max()))
            )
    np.testing.assert_allclose(padded[0], torch.from_numpy(padded[1]).softmax(1).numpy(), atol=1e-6)
    assert padded[0].std(axis=0).max() > 0.01


@pytest.mark.parametrize("fill", [7.0, float("nan"), float("inf")])
def test_what_lies_past_the_length_changes_nothing(graphs: Graphs, fill: float) -> None:
    _, path = graphs("log-mel")
    waveforms = utterances()[:4] + utterances()[2:3]
    for clean, spoiled in zip(run(path, waveforms, 999), run(path, waveforms, 999, fill), strict=True):
        np.testing.assert_array_equal(clean, spoiled)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 5])
def test_silence_is_finite(graphs: Graphs, kind: Kind, batch: int) -> None:
    learner, path = graphs(kind)
    silence = [np.zeros(8_000, np.float32)] * batch
    probabilities, logits, z = run(path, silence)
    assert logits.shape == (batch, 4)
    assert z.shape == (batch, 64)
    _, expected = learner.forward_waveforms(torch.zeros(1, 8_000), torch.tensor([8_000]))
    np.testing.assert_allclose(probabilities, np.repeat(expected.numpy(), batch, axis=0), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_self_contained_and_names_no_machine(graphs: Graphs, kind: Kind) -> None:
    _, path = graphs(kind)
    model = onnx.load(path)
    inputs = {i.name: [d.dim_param for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    assert inputs == {"waveforms": ["batch", "samples"], "lengths": ["batch"]}
    assert [o.name for o in model.graph.output] == ["probabilities", "logits", "z"]
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 18)])
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert [n.op_type for n in model.graph.node].count("GRU") == 1
    assert len(model.graph.node) < 350, "sizes and shapes are folded: each node costs time when it is loaded"
    assert not re.search(rb"\.py\b|/tmp|/root|/home|site-packages", path.read_bytes())
    assert [p.name for p in path.parent.iterdir() if "part" in p.name] == []


@pytest.mark.full
def test_the_same_learner_gives_the_same_bytes_and_keeps_its_state(graphs: Graphs, tmp_path: Path) -> None:
    learner, path = graphs("log-mel")
    learner.train()
    export(learner, tmp_path / "again.onnx")
    assert learner.training
    learner.eval()
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


@pytest.mark.full
def test_no_crop_where_max_frames_is_0_and_a_wrong_graph_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner("log-mel", 0, ("angry", "sad"), seed=2).eval()
    export(learner, tmp_path / "whole.onnx")
    waveform = utterances()[6]
    _, expected = learner.forward_waveforms(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    np.testing.assert_allclose(run(tmp_path / "whole.onnx", [waveform])[0], expected.numpy(), atol=1e-5)

    model = onnx.load(tmp_path / "whole.onnx")
    monkeypatch.setattr(module, "_traced", lambda _: model)
    other = Learner("log-mel", 0, ("angry", "sad"), seed=3).eval()
    with pytest.raises(ExportError, match=r"from the learner's at \d+ samples .* nothing was written"):
        export(other, tmp_path / "other.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ExportError, match=r"fixed the sizes \[1, 'samples'\] of input 'waveforms'"):
        export(learner, tmp_path / "other.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["whole.onnx"]


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_near_and_its_front_end_is_float(
    graphs: Graphs, tmp_path: Path, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    _, path = graphs(kind)
    waveforms = utterances()[:5]
    deviation = quantise(path, tmp_path / "int8.onnx", waveforms)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    exact, rounded = run(path, waveforms)[0], run(tmp_path / "int8.onnx", waveforms)[0]
    np.testing.assert_allclose(rounded, exact, atol=0.1)
    assert 0 < np.abs(rounded - exact).max() <= deviation + 0.02
    assert (tmp_path / "int8.onnx").stat().st_size < path.stat().st_size
    model = onnx.load(tmp_path / "int8.onnx")
    eighths = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    rounded_nodes = {n.op_type for n in model.graph.node if eighths & set(n.input)}
    assert rounded_nodes == {"Conv", "MaxPool", "Transpose"}
    assert not any(eighths & set(n.input) for n in model.graph.node if n.name.startswith("frontend/"))
    assert not re.search(rb"\.py\b|/tmp|/home|site-packages", (tmp_path / "int8.onnx").read_bytes())


def test_int8_refuses_what_it_cannot_use(graphs: Graphs, tmp_path: Path) -> None:
    _, path = graphs("log-mel")
    with pytest.raises(ExportError, match="no recordings"):
        quantise(path, tmp_path / "int8.onnx", [])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:])), tmp_path / "x.onnx"
    )
    with pytest.raises(ExportError, match="export the learner first"):
        quantise(tmp_path / "x.onnx", tmp_path / "int8.onnx", utterances()[:1])
    assert not (tmp_path / "int8.onnx").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.full
def test_weights_in_16_bits_give_nearly_the_same_from_half_the_file(
    graphs: Graphs, tmp_path: Path, kind: Kind, int8: bool
) -> None:
    source, halved = tmp_path / "source.onnx", tmp_path / "halved.onnx"
    source.write_bytes(graphs(kind)[1].read_bytes())
    if int8:
        quantise(graphs(kind)[1], source, utterances()[:5])
    halved.write_bytes(source.read_bytes())
    assert 0 < halve(halved) < 2e-3
    waveforms = utterances()[:5]
    exact, rounded = run(source, waveforms), run(halved, waveforms)
    np.testing.assert_allclose(rounded[0], exact[0], atol=2e-3)
    np.testing.assert_allclose(rounded[2], exact[2], atol=2e-3 * np.abs(exact[2]).max())
    assert halved.stat().st_size < 0.65 * source.stat().st_size
    before = {t.name: t for t in onnx.load(source).graph.initializer}
    after = {t.name: t for t in onnx.load(halved).graph.initializer}
    for name in before.keys() & after.keys():
        assert before[name] == after[name], "what is not halved stays as it was, such as the front end"
    assert {n for n in before.keys() - after.keys() if not n.startswith("network.")} == set()
    content = halved.read_bytes()
    assert halve(halved) == 0
    assert halved.read_bytes() == content


def test_weights_beyond_16_bits_are_refused_and_the_file_kept(graphs: Graphs, tmp_path: Path) -> None:
    model = onnx.load(graphs("log-mel")[1])
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("fc1.weight"))
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] = 1e5
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "large.onnx")
    content = (tmp_path / "large.onnx").read_bytes()
    with pytest.raises(ExportError, match=r"fc1.* too large for 16 bits: export without --float16"):
        halve(tmp_path / "large.onnx")
    assert (tmp_path / "large.onnx").read_bytes() == content


@pytest.mark.full
@pytest.mark.skipif(not SHARED.exists(), reason="the shared corpora are not beside the project")
def test_real_speech(graphs: Graphs, tmp_path: Path) -> None:
    files = sorted((SHARED / "emodb" / "audio").glob("*.flac"))[::40]
    waveforms = [read_audio(file) for file in files]
    learner, path = graphs("log-mel")
    outputs = run(path, waveforms, spare=123, fill=float("nan"))
    for waveform, padded in zip(waveforms, outputs[0], strict=True):
        _, expected = learner.forward_waveforms(
            torch.from_numpy(waveform)[None], torch.tensor([len(waveform)])
        )
        np.testing.assert_allclose(padded, expected[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(run(path, [waveform])[0], expected.numpy(), atol=1e-5)
    assert quantise(path, tmp_path / "int8.onnx", waveforms) < 0.1


@pytest.mark.full
@pytest.mark.parametrize("pooling", ["statistics", "last", "attention"])
def test_every_design_of_the_network_exports(pooling: str, tmp_path: Path) -> None:
    design = Network(channels=[8, 12, 12, 8], normalise=True, pooling=pooling)
    learner = Learner("log-mel", 1400, ("angry", "sad"), 3, design, own_mean=True)
    rng = np.random.default_rng(6)
    learner.frontend.fit([rng.normal(-45, 12, (400, 128)).astype(np.float32)])
    for norm in learner.network.norms:
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.3, 2.0)
    export(learner, tmp_path / "model.onnx")
    nodes = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert "BatchNormalization" not in nodes
