"""The losses against naive double loops in float64, the centre rule by hand, gradients by gradcheck."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emospec.learning.losses import CenterLoss, class_weights, utterance_weights, weighted_cross_entropy


def draw(seed: int, batch: int = 9, classes: int = 4, features: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, features, dtype=torch.float64, generator=generator)
    logits = torch.randn(batch, classes, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, classes, (batch,), generator=generator)
    weights = class_weights(torch.randint(1, 50, (classes,), generator=generator).double())
    centers = torch.randn(classes, features, dtype=torch.float64, generator=generator)
    return z, logits, targets, weights, centers


def test_class_weights_are_inverse_to_the_counts() -> None:
    counts = [1708, 1636, 1103, 1084]
    expected = [1708 / (n + 0.5) for n in counts]
    torch.testing.assert_close(class_weights(torch.tensor(counts).double()), torch.tensor(expected).double())


def test_utterances_weigh_as_their_class_within_their_group() -> None:
    targets, groups = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 0, 1, 1])
    pooled = utterance_weights(targets, torch.zeros(6, dtype=torch.int64), 3)
    assert pooled.tolist() == pytest.approx([3 / 3.5] * 3 + [3 / 2.5] * 2 + [3 / 1.5])
    within = utterance_weights(targets, groups, 3)
    assert within.tolist() == pytest.approx([2 / 2.5, 2 / 2.5, 1 / 1.5, 2 / 1.5, 1 / 1.5, 1 / 1.5])


def test_smoothed_cross_entropy_spreads_the_target() -> None:
    _, logits, targets, weights, _ = draw(3)
    w, log_p = weights[targets], logits.log_softmax(dim=1)
    wanted = torch.full_like(logits, 0.1 / 4)
    wanted[range(len(targets)), targets] += 0.9
    expected = -(w[:, None] * wanted * log_p).sum() / w.sum()
    assert weighted_cross_entropy(logits, targets, w, 0.1).item() == pytest.approx(expected.item())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_cross_entropy_is_the_double_loop(seed: int) -> None:
    _, logits, targets, weights, _ = draw(seed)
    total = weight = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        denominator = 0.0
        for value in row:
            denominator += math.exp(value)
        total += weights[target].item() * -math.log(math.exp(row[target]) / denominator)
        weight += weights[target].item()
    assert weighted_cross_entropy(logits, targets, weights[targets]).item() == pytest.approx(
        total / weight, rel=1e-12
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_center_loss_is_the_double_loop(seed: int) -> None:
    z, _, targets, weights, centers = draw(seed)
    loss = CenterLoss(4, 5).double()
    loss.centers.copy_(centers)
    total = weight = 0.0
    for row, target in zip(z.tolist(), targets.tolist(), strict=True):
        squared = 0.0
        for value, center in zip(row, centers[target].tolist(), strict=True):
            squared += (value - center) ** 2
        total += weights[target].item() * squared
        weight += weights[target].item()
    assert loss(z, targets, weights[targets]).item() == pytest.approx(total / weight, rel=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.5, 1.0]))
def test_centers_move_by_the_posters_rule(seed: int, rate: float) -> None:
    z, _, targets, _, centers = draw(seed, batch=5)
    loss = CenterLoss(4, 5).double()
    loss.centers.copy_(centers)
    loss.update(z, targets, rate)
    for j in range(4):
        of_class = [row for row, target in zip(z.tolist(), targets.tolist(), strict=True) if target == j]
        for k in range(5):
            before = centers[j, k].item()
            expected = (
                before
                if not of_class
                else (1 - rate) * before + rate * sum(row[k] for row in of_class) / len(of_class)
            )
            assert loss.centers[j, k].item() == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_a_center_by_hand() -> None:
    loss = CenterLoss(3, 2)
    loss.centers.copy_(torch.tensor([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]]))
    loss.update(torch.tensor([[3.0, 5.0], [5.0, 1.0], [0.0, 4.0]]), torch.tensor([0, 0, 1]), 0.25)
    assert loss.centers.tolist() == [[1.75, 1.5], [1.5, 2.5], [5.0, 5.0]]


def test_centers_are_state_and_start_at_zero() -> None:
    loss = CenterLoss(4, 64)
    assert list(loss.state_dict()) == ["centers"]
    assert not loss.centers.any()
    assert not list(loss.parameters())
    z = torch.randn(3, 64, requires_grad=True)
    loss(z, torch.tensor([0, 1, 1]), torch.ones(3)).backward()
    assert z.grad is not None
    assert loss.centers.grad is None
    loss.update(z, torch.tensor([0, 1, 1]), 1.0)
    torch.testing.assert_close(loss.centers[0], z[0].detach())


def test_gradients() -> None:
    z, logits, targets, weights, centers = draw(7)
    loss = CenterLoss(4, 5).double()
    loss.centers.copy_(centers)
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, weights[targets]), z.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda x: weighted_cross_entropy(x, targets, weights[targets], 0.1), logits.requires_grad_()
    )
