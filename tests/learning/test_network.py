"""The network's shapes and initial values; an utterance alone equals itself in any batch."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from emospec.audio.frames import frame_count
from emospec.config import Network
from emospec.learning.learner import Learner
from emospec.learning.network import EmotionNetwork, steps_after_convolutions
from emospec.learning.strips import TIME_STRIDE, lay_out, lay_out_in_passes, round_up_length

CLASSES = ("neutral", "angry", "happy", "sad")


def plain_forward(network: EmotionNetwork, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One utterance (time, bins) through METHOD's table, the GRU written out step by step."""
    maps = frames[None, None]
    for i, convolution in enumerate(network.convolutions):
        maps = functional.relu(
            functional.conv2d(maps, convolution.weight, convolution.bias, stride=2 if i == 0 else 1)
        )
        if i:
            maps = functional.max_pool2d(maps, 2)
    steps = maps[0].permute(1, 2, 0).flatten(1)

    def run(order: range, suffix: str) -> torch.Tensor:
        weights = dict(network.gru.named_parameters())
        state = torch.zeros(128, dtype=frames.dtype)
        for t in order:
            given = weights[f"weight_ih_l0{suffix}"] @ steps[t] + weights[f"bias_ih_l0{suffix}"]
            back = weights[f"weight_hh_l0{suffix}"] @ state + weights[f"bias_hh_l0{suffix}"]
            reset, update = (
                torch.sigmoid(given[:128] + back[:128]),
                torch.sigmoid(given[128:256] + back[128:256]),
            )
            candidate = torch.tanh(given[256:] + reset * back[256:])
            state = (1 - update) * candidate + update * state
        return state

    length = len(steps)
    both = torch.cat([run(range(length), ""), run(range(length - 1, -1, -1), "_reverse")])
    z = network.fc1.weight @ both + network.fc1.bias
    z = torch.where(z > 0, z, network.prelu.weight * z)
    return z, network.fc2.weight @ z + network.fc2.bias


@pytest.mark.parametrize(("bins", "parameters"), [(128, 630_740), (513, 2_473_940)])
def test_the_network_is_the_methods(bins: int, parameters: int) -> None:
    network = EmotionNetwork(bins, 4, seed=3).double()
    assert sum(p.numel() for p in network.parameters()) == parameters
    torch.nn.init.uniform_(network.prelu.weight, 0.1, 0.3)
    counts = [49, 64, 97, 65]
    frames = [torch.randn(n, bins, dtype=torch.float64) for n in counts]
    z, logits = network(pad_sequence(frames, batch_first=True), torch.tensor(counts))
    for i, utterance in enumerate(frames):
        own_z, own_logits = plain_forward(network, utterance)
        torch.testing.assert_close(z[i], own_z, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(logits[i], own_logits, atol=1e-10, rtol=1e-10)


def test_lengths_after_the_convolutions() -> None:
    assert steps_after_convolutions(torch.tensor([128, 513])).tolist() == [5, 30]
    assert steps_after_convolutions(torch.tensor([48, 49, 64, 65, 1400])).tolist() == [0, 1, 1, 2, 85]


def test_frames_past_the_end_reach_neither_output_nor_gradient() -> None:
    network = EmotionNetwork(128, 4)
    frames = torch.randn(2, 120, 128)
    counts = torch.tensor([50, 120])
    spoiled = frames.clone()
    spoiled[0, 50:] = float("nan")
    gradients = []
    for batch in (frames, spoiled):
        network.zero_grad()
        z, logits = network(batch, counts)
        (z.sum() + logits.sum()).backward()
        gradients.append([z.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)])
    for clean, dirty in zip(*gradients, strict=True):
        torch.testing.assert_close(clean, dirty, atol=0, rtol=0)


@pytest.mark.parametrize("kind", ["log-mel", pytest.param("log-stft", marks=pytest.mark.full)])
def test_batch_invariance_from_the_waveform(kind: str) -> None:
    """0.1 to 30 s in one batch, padding of garbage, any order: the z and probabilities of the file alone."""
    learner = Learner(kind, 1400, CLASSES, seed=1).eval()
    rng = np.random.default_rng(5)
    learner.frontend.fit([rng.normal(-45, 12, (400, learner.frontend.bins)).astype(np.float32)])
    seconds = (0.1, 0.3, 0.48, 0.5, 1.7, 3.3, 6.1, 15.0, 30.0)
    waveforms = [
        torch.from_numpy(rng.normal(0, 10 ** rng.uniform(-4, -1), int(16_000 * s)).astype(np.float32))
        for s in seconds
    ]
    singles = [learner.forward_waveforms(w[None], torch.tensor([len(w)])) for w in waveforms]
    for order in (range(len(waveforms)), rng.permutation(len(waveforms))):
        chosen = [waveforms[i] for i in order]
        batch = torch.from_numpy(rng.normal(0, 3, (len(chosen), 480_777)).astype(np.float32))
        for row, waveform in zip(batch, chosen, strict=True):
            row[: len(waveform)] = waveform
        z, probabilities = learner.forward_waveforms(batch, torch.tensor([len(w) for w in chosen]))
        for k, i in enumerate(order):
            own_z, own_probabilities = singles[i]
            assert (z[k] - own_z[0]).abs().max() <= 1e-5 * max(1.0, float(own_z.abs().max()))
            assert (probabilities[k] - own_probabilities[0]).abs().max() <= 1e-5


def test_strips_and_the_gru_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients: one strip and torch's GRU, as on an accelerator, against strips and GRU of a CPU."""
    network = EmotionNetwork(128, 4, seed=2, design=Network(normalise=False, pooling="statistics")).double()
    frames, counts = torch.randn(5, 200, 128, dtype=torch.float64), torch.tensor([200, 49, 120, 60, 199])

    def computed() -> list[torch.Tensor]:
        inputs = frames.clone().requires_grad_()
        network.zero_grad()
        z, logits = network(inputs, counts)
        (z.sin().sum() + logits.square().sum()).backward()
        return [z.detach(), logits.detach(), *(p.grad.clone() for p in [inputs, *network.parameters()])]

    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert lay_out(torch.tensor([208, 64, 128, 64, 208]), 3)[0] == 3
    ways = [computed()]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    with monkeypatch.context() as short:
        short.setattr("emospec.learning.strips._STRIP_FRAMES", 224)
        ways.append(computed())
    monkeypatch.setattr("emospec.learning.gru.bidirectional", lambda gru, packed: gru(packed)[0].data)
    plain = computed()
    assert all(any(not torch.equal(a, b) for a, b in zip(way, plain, strict=True)) for way in ways)
    for way in ways:
        for ours, theirs in zip(way, plain, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("normalise", [False, True])
def test_a_strip_is_convolved_in_passes_but_where_its_batch_is_normalised(
    normalise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = EmotionNetwork(128, 4, seed=2, design=Network(normalise=normalise))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr("emospec.learning.strips._STRIP_FRAMES", 128)
    seen: list[tuple[int, ...]] = []
    layer_of = network._layer

    def watched(layer: int, maps: torch.Tensor) -> torch.Tensor:
        seen.extend([maps.shape[:3]] * (layer == 0))
        return layer_of(layer, maps)

    monkeypatch.setattr(network, "_layer", watched)
    frames, counts = torch.randn(4, 128, 128), torch.tensor([128] * 4)
    network(frames, counts)
    assert seen == ([(1, 1, 512)] if normalise else [(1, 1, 128)] * 4)
    network.eval()
    seen.clear()
    network(frames, counts)
    assert seen == [(1, 1, 128)] * 4


@pytest.mark.parametrize(
    ("slots", "strips"), [([16], 1), ([160, 16, 16], 1), ([64] * 8, 4), ([160, 80, 80], 2)]
)
def test_utterances_lie_apart_in_strips_that_are_nearly_full(slots: list[int], strips: int) -> None:
    count, length, first = lay_out(torch.tensor(slots), 4)
    assert count == strips
    taken = torch.zeros(count * length)
    for start, slot in zip(first.tolist(), slots, strict=True):
        assert start % TIME_STRIDE == 0
        assert start // length == (start + slot - 1) // length
        taken[start : start + slot] += 1
    assert taken.max() == 1
    assert length == round_up_length(int(taken.view(count, length).sum(dim=1).max()))


@pytest.mark.parametrize("seconds", [1, 4, 8, 14, 30, 60])
def test_utterances_of_one_length_leave_little_of_their_strips_empty(seconds: int) -> None:
    slot = -(-frame_count(seconds * 16000) // TIME_STRIDE) * TIME_STRIDE
    for count in range(1, 129):
        strips, length, _ = lay_out_in_passes(torch.full((count,), slot), 1)
        assert strips * length <= 1.25 * count * slot


def test_bfloat16_is_near() -> None:
    network = EmotionNetwork(128, 4, seed=2).eval()
    frames, counts = torch.randn(3, 200, 128), torch.tensor([200, 120, 60])
    exact, _ = network(frames, counts)
    network.precision = torch.bfloat16
    rounded, _ = network(frames, counts)
    assert rounded.dtype == torch.float32
    difference = (exact - rounded).abs().max()
    assert 0 < difference < 0.05 * exact.abs().max()


def test_initial_values() -> None:
    network = EmotionNetwork(128, 4, seed=0)
    bound = math.sqrt(6 / (480 + 128 + 256))
    gates = network.gru.weight_ih_l0[:256]
    assert 0.98 * bound < gates.abs().max() <= bound
    candidate_bound = math.sqrt(6 / (480 + 128 + 128))
    assert 0.98 * candidate_bound < network.gru.weight_ih_l0[256:].abs().max() <= candidate_bound
    total = network.gru.bias_ih_l0_reverse + network.gru.bias_hh_l0_reverse
    assert total.tolist() == [1.0] * 256 + [0.0] * 128
    first = network.convolutions[0]
    first_bound = math.sqrt(6 / (49 + 48 * 49))
    assert 0.98 * first_bound < first.weight.abs().max() <= first_bound
    assert not first.bias.any()
    assert network.prelu.weight.tolist() == [0.0] * 64


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = EmotionNetwork(128, 4, seed=5).state_dict()
    torch.manual_seed(2)
    same, other = EmotionNetwork(128, 4, seed=5).state_dict(), EmotionNetwork(128, 4, seed=6).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["gru.weight_ih_l0"], other["gru.weight_ih_l0"])


def test_batches_have_few_lengths() -> None:
    lengths = {frames: round_up_length(frames) for frames in range(49, 2**15)}
    assert all(frames <= length < 1.065 * frames + 16 for frames, length in lengths.items())
    assert all(length % TIME_STRIDE == 0 for length in lengths.values())
    assert len({length for length in lengths.values() if length > 2**10}) <= 16 * 5 + 1


def varied(pooling: str = "statistics") -> EmotionNetwork:
    network = EmotionNetwork(128, 4, 0, Network(channels=[8, 12, 12, 8], normalise=True, pooling=pooling))
    for norm in network.norms:
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.3, 2.0)
    return network.eval()


@pytest.mark.parametrize("pooling", ["last", "statistics", "attention"])
def test_an_utterance_alone_is_itself_in_any_batch_of_any_design(pooling: str) -> None:
    network, counts = varied(pooling), [49, 130, 65]
    frames = [torch.randn(n, 128) for n in counts]
    together = network(pad_sequence(frames, batch_first=True, padding_value=9.0), torch.tensor(counts))
    for i, utterance in enumerate(frames):
        for whole, alone in zip(together, network(utterance[None], torch.tensor([counts[i]])), strict=True):
            torch.testing.assert_close(whole[i], alone[0], atol=1e-5, rtol=1e-5)


def test_folded_normalisation_is_normalisation() -> None:
    network = varied()
    maps = torch.randn(1, 1, 128, 200)
    folded = network._layer(0, maps)
    convolution, norm = network.convolutions[0], network.norms[0]
    plain = norm(functional.conv2d(maps, convolution.weight, stride=2)) + convolution.bias[:, None, None]
    torch.testing.assert_close(folded, plain.relu(), atol=1e-5, rtol=1e-5)


def test_training_normalises_by_the_batch_and_remembers() -> None:
    network = EmotionNetwork(128, 4, 0, Network(normalise=True)).train()
    maps = 5 + 3 * torch.randn(1, 1, 200, 128)
    before = network.norms[0].running_mean.clone()
    out = network._layer(0, maps)
    assert float((out > 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert not torch.equal(network.norms[0].running_mean, before)


def test_pooling_sums_up_what_is_valid_alone() -> None:
    outputs, valid = torch.randn(2, 5, 256), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    pooled = varied().pool(outputs, valid)
    for row, steps in ((0, outputs[0]), (1, outputs[1, :3])):
        torch.testing.assert_close(pooled[row, :256], steps.mean(dim=0))
        torch.testing.assert_close(pooled[row, 256:], steps.var(dim=0, correction=0).add(1e-5).sqrt())
    network = varied("attention")
    scores = (outputs[1, :3] @ network.attention.weight[0]).softmax(0)
    torch.testing.assert_close(network.pool(outputs, valid)[1], scores @ outputs[1, :3])
