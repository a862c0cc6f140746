"""The Renyi divergence against an independent formula and its limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from voxcache.train.fusion_networks import renyi_divergence


def distributions(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two batches of distributions, float64 [5, 30]."""
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(30), size=5), rng.dirichlet(np.ones(30), size=5)
    return p, q


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_it_is_the_papers_equation_2(alpha: float, eps: float) -> None:
    """Equals 1 / (a - 1) log(sum p^a q^(1 - a) + eps), computed directly in float64 with numpy."""
    p, q = distributions()
    expected = np.log((p**alpha * q ** (1 - alpha)).sum(-1) + eps) / (alpha - 1)
    ours = renyi_divergence(torch.from_numpy(p).log(), torch.from_numpy(q).log(), alpha=alpha, eps=eps)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)


def test_it_becomes_kullback_leibler_as_alpha_nears_1() -> None:
    """At alpha = 1 +- 1e-4 and at 1 itself it is sum p log(p / q)."""
    from scipy.stats import entropy

    p, q = distributions()
    expected = entropy(p, q, axis=-1)
    for alpha, rtol in ((1 - 1e-4, 1e-3), (1 + 1e-4, 1e-3), (1.0, 1e-9)):
        ours = renyi_divergence(torch.from_numpy(p).log(), torch.from_numpy(q).log(), alpha=alpha, eps=1e-30)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=rtol)


def test_equal_distributions_do_not_diverge() -> None:
    """RD(P, P) is 0 for every alpha."""
    p = torch.from_numpy(distributions()[0]).log()
    for alpha in (0.5, 1.0, 3.0):
        np.testing.assert_allclose(renyi_divergence(p, p, alpha=alpha, eps=1e-12).numpy(), 0, atol=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 5.0])
def test_it_stays_finite_where_probabilities_underflow(alpha: float) -> None:
    """Two float32 softmaxes with nearly disjoint support give a finite value and finite gradients."""
    logits = torch.zeros(2, 1280)
    logits[0, 0] = logits[1, 1] = 200.0
    logits.requires_grad_()
    log_p, log_q = torch.log_softmax(logits, -1)
    value = renyi_divergence(log_p, log_q, alpha=alpha, eps=1e-8)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
