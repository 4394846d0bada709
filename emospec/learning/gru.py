"""The bidirectional GRU over sequences of unlike length; on a CPU computed both directions at once.

torch's takes some thirty operations a step and direction, and more in the backward pass, on states of a few kilobytes:
beside fast convolutions that was a third of a training step on a CPU. An accelerator has a kernel of its own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from emospec.learning.device import to_device


def run_gru(gru: nn.GRU, inputs: Tensor, starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return a GRU's outputs (batch, longest, 2 * units), 0 past the end of a sequence, and their mask.

    Args:
        gru: of one layer and two directions.
        inputs: (rows, features); each sequence is a run of rows.
        starts, lengths: (batch,) the first row of each sequence and its steps, on the CPU.
    """
    device, batch, longest = inputs.device, len(lengths), int(lengths.max())
    # Packed here, by places worked out on the CPU: torch would wait for an accelerator.
    order = lengths.argsort(descending=True, stable=True)
    step = torch.arange(longest)[:, None]
    mask = step < lengths[order]
    rows, places = ((first[order] + step)[mask] for first in (starts, torch.arange(batch) * longest))
    packed = PackedSequence(inputs.index_select(0, to_device(rows, device)), mask.sum(dim=1))
    states = bidirectional(gru, packed) if device.type == "cpu" else gru(packed)[0].data
    outputs = states.new_zeros(batch * longest, states.shape[1])
    outputs = outputs.index_copy(0, to_device(places, device), states)
    return outputs.view(batch, longest, -1), to_device(torch.arange(longest) < lengths[:, None], device)


def bidirectional(gru: nn.GRU, packed: PackedSequence) -> Tensor:
    """Return `gru(packed)[0].data` (rows, 2 * units), computed for a CPU."""
    directions = ("l0", "l0_reverse")
    # Weights and biases of the input's part in one product for all steps; of the state's, in one for both directions.
    of_input = [[getattr(gru, f"{kind}_ih_{name}") for kind in ("weight", "bias")] for name in directions]
    inputs = torch.stack([functional.linear(packed.data, *parameters) for parameters in of_input])
    weights, biases = (
        torch.stack([getattr(gru, f"{kind}_hh_{name}") for name in directions]) for kind in ("weight", "bias")
    )
    states: Tensor = _States.apply(inputs, weights, biases, packed.batch_sizes)  # type: ignore[no-untyped-call]
    return states.transpose(0, 1).flatten(1)


class _States(torch.autograd.Function):
    """The states of both directions (Cho et al. 2014; the reset gate after the product, as in torch).

    With i the input's part of the gates and g = W h + b the state's:
    r = sigmoid(i_r + g_r), z = sigmoid(i_z + g_z), n = tanh(i_n + r g_n), h <- n + z (h - n).
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, biases: Tensor, sizes: Tensor) -> Tensor:
        """Return h (2, rows, units) of i (2, rows, 3 * units), W (2, 3 * units, units), b, and the rows of each step."""
        units = weights.shape[2]
        reverse = _reversing(sizes)
        # Holds i, and step by step r, z and n in its place.
        values = _turn(inputs, reverse)
        gates, candidates = values[..., : 2 * units], values[..., 2 * units :]
        states = inputs.new_empty(2, len(reverse), units)
        # g_n, by which r is multiplied.
        reset = torch.empty_like(states)
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
        ctx.save_for_backward(values, reset, states, weights, sizes, reverse)
        return _turn(states, reverse)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of i, W and b; the loop computes only what the state before needs."""
        values, reset, states, weights, sizes, reverse = ctx.saved_tensors
        r, z, n = values.chunk(3, dim=2)
        later = torch.arange(int(sizes[0]), len(reverse))
        before = torch.zeros_like(states)
        before[:, later] = states[:, later - sizes[:-1].repeat_interleave(sizes[1:])]
        of_h = _turn(gradient, reverse)
        # dh / di_n, then dh / dg for each of the three.
        by_i = (1 - z) * (1 - n * n)
        by_g = torch.stack([by_i * reset * r * (1 - r), (before - n) * z * (1 - z), by_i * r], dim=2)
        of_g = torch.empty_like(by_g)
        carried, end = of_h[:, :0], len(reverse)
        for size in reversed(sizes.tolist()):
            rows, end = slice(end - size, end), end - size
            of_h[:, rows][:, : carried.shape[1]] += carried
            torch.mul(by_g[:, rows], of_h[:, rows, None], out=of_g[:, rows])
            carried = torch.baddbmm(of_h[:, rows] * z[:, rows], of_g[:, rows].flatten(2), weights)
        of_i = torch.cat([of_g[:, :, :2].flatten(2), of_h * by_i], dim=2)
        of_g = of_g.flatten(2)
        return _turn(of_i, reverse), of_g.mT @ before, of_g.sum(dim=1), None


def _reversing(sizes: Tensor) -> Tensor:
    """Return the rows (rows,) of a packed batch with every sequence read backwards. Twice is the identity."""
    firsts = sizes.cumsum(0) - sizes
    step = torch.arange(len(sizes)).repeat_interleave(sizes)
    sequence = torch.arange(len(step)) - firsts[step]
    lengths = (sizes[:, None] > torch.arange(int(sizes[0]))).sum(dim=0)
    return firsts[lengths[sequence] - 1 - step] + sequence


def _turn(rows: Tensor, reverse: Tensor) -> Tensor:
    """Return a copy of the rows of two directions, the second's in the other order."""
    return torch.stack([rows[0], rows[1].index_select(0, reverse)])
