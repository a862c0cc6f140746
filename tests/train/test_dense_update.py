"""A dense layer's training step in C against torch's products and torch.optim.Adam."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from voxcache.train.dense_native import Adam, kernel

BETAS, EPS, LR = (0.9, 0.999), 1e-8, 1e-3


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("n_in", [1, 6, 61, 256])
@pytest.mark.parametrize("n_clips", [1, 3, 4, 32])
def test_three_steps_equal_torchs(n_clips: int, n_in: int, decay: float) -> None:
    """Weights and input gradients after three steps, for clips and inputs that fill no block, are autograd's and Adam's."""
    found = kernel()
    if found is None:
        pytest.skip("no C compiler")
    n_out = 3 * found.block
    generator = torch.Generator().manual_seed(n_clips)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    ours = drawn(n_in, n_out)
    theirs = torch.nn.Parameter(ours.clone())
    state = {"exp_avg": torch.zeros_like(ours), "exp_avg_sq": torch.zeros_like(ours), "step": torch.zeros(())}
    optimiser = torch.optim.Adam([theirs], LR, BETAS, EPS, decay)
    for _ in range(3):
        x, dy = drawn(n_clips, n_in).requires_grad_(), drawn(n_clips, n_out)
        optimiser.zero_grad()
        (x @ theirs).backward(dy)  # type: ignore[no-untyped-call]
        assert x.grad is not None
        dx = torch.empty(n_clips, n_in)
        state["step"] += 1
        found.run(ours, state, x.detach(), dy, dx, Adam(LR, BETAS, EPS, decay))
        torch.testing.assert_close(dx, x.grad, atol=1e-4, rtol=1e-5)
        optimiser.step()
        torch.testing.assert_close(ours, theirs.detach(), atol=2e-6, rtol=1e-5)


def test_without_an_input_gradient_the_weight_moves_the_same() -> None:
    """The first layer of a network wants none."""
    found = kernel()
    if found is None:
        pytest.skip("no C compiler")
    x, dy, adam = torch.randn(5, 7), torch.randn(5, found.block), Adam(LR, BETAS, EPS, 0.0)
    moved = []
    for dx in (None, torch.empty(5, 7)):
        weight = torch.ones(7, found.block)
        state = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight), "step": torch.ones(())}
        found.run(weight, state, x, dy, dx, adam)
        moved.append(weight)
    assert torch.equal(*moved)


def test_outputs_that_fill_no_block_are_left_to_torch() -> None:
    """So are other types, and views."""
    found = kernel()
    if found is None:
        pytest.skip("no C compiler")
    whole = torch.zeros(4, found.block)
    assert found.fits(whole)
    assert not any(
        map(found.fits, (torch.zeros(4, found.block + 1), whole.double(), torch.zeros(4, 2 * found.block)[:, ::2]))
    )
