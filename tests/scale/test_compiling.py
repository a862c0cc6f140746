"""`compile: true` changes speed, not numbers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from tiny_models import tiny_pair

from voxcache.extract.compiling import compile_blocks
from voxcache.extract.embed import Cutting, embed
from voxcache.store import Products


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_blocks_give_the_same_numbers_in_batches_of_any_shape() -> None:
    """Every layer of three clips of different lengths agrees with the uncompiled model to float32's rounding."""
    waves = [np.random.default_rng(n).standard_normal(n).astype(np.float32) for n in (9_000, 12_000, 16_000)]
    results = []
    for compiled in (False, True):
        encoder, _ = tiny_pair("hubert, group norm")
        if compiled:
            assert compile_blocks(encoder) == 3
        results += [
            embed(encoder, waves, cutting=Cutting(budget_samples=budget), products=Products()).pooled
            for budget in (1, 60_000)
        ]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=2e-4, atol=2e-5)
