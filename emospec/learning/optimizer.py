"""Adam: torch's own fused kernel, and the state that it needs.

torch's optimiser classes import its compiler as soon as one is made, which would cost every process that trains
1.5 s and 70 MiB; the function that they call does not.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETAS, _EPSILON = (0.9, 0.999), 1e-8


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2)."""

    def __init__(self, parameters: Sequence[Tensor], weight_decay: float = 0.0) -> None:
        self.parameters, self.weight_decay = list(parameters), weight_decay
        # The kernel walks parameter and moments in step: their memory layouts are the same.
        self._moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.parameters]
        self._steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient."""
        state = zip(self.parameters, self._moments, self._steps, strict=True)
        given = [(p, p.grad, *moments, steps) for p, moments, steps in state if p.grad is not None]
        parameters, gradients, means, squares, steps = (list(column) for column in zip(*given, strict=True))
        adamw(
            parameters, gradients, exp_avgs=means, exp_avg_sqs=squares, max_exp_avg_sqs=[], state_steps=steps,
            fused=True, amsgrad=False, maximize=False,
            beta1=_BETAS[0], beta2=_BETAS[1], lr=rate, weight_decay=self.weight_decay, eps=_EPSILON,
        )  # fmt: skip

    def state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of a checkpoint by name; they can be copied into."""
        for k, ((mean, square), steps) in enumerate(zip(self._moments, self._steps, strict=True)):
            yield from ((f"{k}.exp_avg", mean), (f"{k}.exp_avg_sq", square), (f"{k}.step", steps))
