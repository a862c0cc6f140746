"""The time that a run says is left follows from what was measured."""

from __future__ import annotations

import pytest

from voxcache.extract.progress import Speed, Work
from voxcache.words import duration, size


def test_time_left_goes_by_each_encoders_own_speed_and_by_size_for_the_others() -> None:
    """100 s of audio left at 10x take 10 s; an unmeasured encoder ten times as large takes ten times as long an audio second."""
    work = Work(
        todo_s={"small": 200.0, "large": 50.0},
        todo_clips=10,
        sizes={"small": 1_000_000, "large": 10_000_000},
        speeds={"small": Speed(), "large": Speed()},
    )
    assert work.left_s() is None
    work.speeds["small"].add(100.0, 10.0)
    assert work.left_s() == pytest.approx(100 / 10 + 50 * 10 / 10)
    work.speeds["large"].add(10.0, 2.0)
    assert work.left_s() == pytest.approx(10 + 40 / 5)


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    """Seconds, minutes and hours change over where people would."""
    assert duration(seconds) == words


def test_sizes_read_as_people_say_them() -> None:
    """Bytes are counted in thousands."""
    assert [size(n) for n in (12, 73_100, 41.2e6, 3e12)] == ["12 B", "73.1 kB", "41.2 MB", "3.0 TB"]
