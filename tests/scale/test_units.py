"""How work is cut up and shared out."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voxcache.extract.units import ClipFile, share, spread, unit_blocks, unit_samples


@given(st.lists(st.integers(0, 10_000), max_size=60), st.integers(1, 9))
def test_shares_are_a_partition_balanced_by_length(samples: list[int], n_workers: int) -> None:
    """Every unit has one worker, and no worker more than the ideal and one unit."""
    shares = [share(samples, worker, n_workers) for worker in range(n_workers)]
    assert sorted(i for mine in shares for i in mine) == list(range(len(samples)))
    loads = [sum(samples[i] for i in mine) for mine in shares]
    assert max(loads) <= sum(samples) / n_workers + max(samples, default=0)


def test_unit_lengths_are_sums_over_their_rows() -> None:
    """The last unit may be short."""
    assert unit_samples(np.array([1, 2, 3, 4, 5]), 2).tolist() == [3, 7, 5]
    assert unit_samples(np.array([], dtype=np.int64), 2).tolist() == []


def test_blocks_depend_on_the_unit_alone() -> None:
    """An hour of audio closes a block, whatever of it is still to do."""
    n_samples = np.full(6, 16_000 * 1500)
    assert unit_blocks(0, n_samples, 4) == [[0, 1], [2, 3]]
    assert unit_blocks(1, n_samples, 4) == [[4, 5]]


def test_a_sample_spreads_over_the_lengths_within_its_limits() -> None:
    """Shortest and longest are in it, and seconds and clips stay within what was allowed."""
    clips = [ClipFile(row, "x", None, None, 16_000 * (row + 1)) for row in range(100)]
    picked = spread(clips, most_s=1e9, most_clips=5)
    assert [clip.row for clip in picked] == [0, 24, 49, 74, 99]
    assert sum(clip.n_samples for clip in spread(clips, most_s=100, most_clips=50)) <= 16_000 * 100
