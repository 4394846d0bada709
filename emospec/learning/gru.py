"""The bidirectional GRU on a CPU: both directions at once, and outside the steps whatever needs no state.

torch's takes some thirty operations a step and direction, and more in the backward pass, on states of a few kilobytes:
beside fast convolutions that was a third of a training step. Accelerators have one of their own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence


def bidirectional(gru: nn.GRU, packed: PackedSequence) -> Tensor:
    """What `gru(packed)[0].data` is, (rows, 2 * units): one layer, two directions, first states of 0."""
    ways = ("l0", "l0_reverse")
    inputs = [
        functional.linear(packed.data, getattr(gru, f"weight_ih_{way}"), getattr(gru, f"bias_ih_{way}"))
        for way in ways
    ]
    weights, biases = (
        torch.stack([getattr(gru, f"{kind}_hh_{way}") for way in ways]) for kind in ("weight", "bias")
    )
    states: Tensor = _States.apply(torch.stack(inputs), weights, biases, packed.batch_sizes)  # type: ignore[no-untyped-call]
    return states.transpose(0, 1).flatten(1)


class _States(torch.autograd.Function):
    """The states of both directions.

    With i what the input says to the gates and g = W h + b what the state does (Cho et al. 2014; the reset gate comes
    after the product, as in torch): r = sigmoid(i_r + g_r), z = sigmoid(i_z + g_z), n = tanh(i_n + r g_n),
    h <- n + z (h - n).
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, biases: Tensor, sizes: Tensor) -> Tensor:
        """Of i (2, rows, 3 * units), W (2, 3 * units, units), b (2, 3 * units) and the rows of each step: h (2, rows, units)."""
        units = weights.shape[2]
        turned = _turned(sizes)
        values = _turn(inputs, turned)  # i, and step by step r, z and n in its place
        gates, candidates = values[..., : 2 * units], values[..., 2 * units :]
        states = inputs.new_empty(2, len(turned), units)
        reset = torch.empty_like(states)  # g_n, that r is multiplied by
        state, first = inputs.new_zeros(2, int(sizes[0]), units), 0
        for size in sizes.tolist():
            rows = slice(first, first + size)
            state, first = state[:, :size], first + size
            g = torch.baddbmm(biases[:, None], state, weights.mT)
            gates[:, rows].add_(g[..., : 2 * units]).sigmoid_()
            reset[:, rows] = g[..., 2 * units :]
            r, z = gates[:, rows, :units], gates[:, rows, units:]
            n = candidates[:, rows].addcmul_(r, reset[:, rows]).tanh_()
            states[:, rows] = state = torch.lerp(n, state, z)
        ctx.save_for_backward(values, reset, states, weights, sizes, turned)
        return _turn(states, turned)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Step by step only what the gradient of the state before needs."""
        values, reset, states, weights, sizes, turned = ctx.saved_tensors
        r, z, n = values.chunk(3, dim=2)
        later = torch.arange(int(sizes[0]), len(turned))
        before = torch.zeros_like(states)
        before[:, later] = states[:, later - sizes[:-1].repeat_interleave(sizes[1:])]
        of_h = _turn(gradient, turned)
        by_i = (1 - z) * (1 - n * n)  # dh / di_n
        by_g = torch.stack([by_i * reset * r * (1 - r), (before - n) * z * (1 - z), by_i * r], dim=2)
        of_g = torch.empty_like(by_g)
        carried, end = of_h[:, :0], len(turned)
        for size in reversed(sizes.tolist()):
            rows, end = slice(end - size, end), end - size
            of_h[:, rows][:, : carried.shape[1]] += carried
            torch.mul(by_g[:, rows], of_h[:, rows, None], out=of_g[:, rows])
            carried = torch.baddbmm(of_h[:, rows] * z[:, rows], of_g[:, rows].flatten(2), weights)
        of_i = torch.cat([of_g[:, :, :2].flatten(2), of_h * by_i], dim=2)
        of_g = of_g.flatten(2)
        return _turn(of_i, turned), of_g.mT @ before, of_g.sum(dim=1), None


def _turned(sizes: Tensor) -> Tensor:
    """(rows,) where the rows of a packed batch are when every sequence is read backwards. Twice is the identity."""
    firsts = sizes.cumsum(0) - sizes
    step = torch.arange(len(sizes)).repeat_interleave(sizes)
    sequence = torch.arange(len(step)) - firsts[step]
    lengths = (sizes[:, None] > torch.arange(int(sizes[0]))).sum(dim=0)
    return firsts[lengths[sequence] - 1 - step] + sequence


def _turn(rows: Tensor, turned: Tensor) -> Tensor:
    """Rows of two directions, the second's in the other order; a copy."""
    return torch.stack([rows[0], rows[1].index_select(0, turned)])
