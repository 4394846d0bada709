"""Adam is torch's to the bit, without torch's compiler."""

import subprocess
import sys

import pytest
import torch

from emospec.learning.optimizer import Adam


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torchs_class(weight_decay: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    first = [
        torch.randn(3, 2, generator=generator, dtype=dtype),
        torch.randn(4, generator=generator, dtype=dtype),
    ]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in first] for _ in range(2))
    adam = Adam(ours, weight_decay)
    reference = torch.optim.AdamW(theirs, weight_decay=weight_decay, betas=(0.9, 0.999), eps=1e-8, fused=True)
    for step in range(5):
        adam.zero_grad()
        reference.zero_grad()
        learned = slice(0, 1 if step == 2 else 2)  # what has no gradient stays as it is
        for mine, other in zip(ours[learned], theirs[learned], strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator, dtype=dtype)
            other.grad = mine.grad.clone()
        reference.param_groups[0]["lr"] = rate = 10.0**-step
        adam.step(rate)
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
    expected = {
        f"{k}.{name}": t for k, state in reference.state_dict()["state"].items() for name, t in state.items()
    }
    state = dict(adam.state())
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.full
def test_it_does_not_import_torchs_compiler() -> None:
    code = """if True:
        import sys, torch
        from emospec.learning.optimizer import Adam
        weight = torch.nn.Parameter(torch.ones(3))
        weight.sum().backward()
        Adam([weight]).step(0.1)
        print(bool((weight < 1).all()), "torch._dynamo" in sys.modules)
    """
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "True False\n"
