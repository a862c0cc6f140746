"""Decoding takes one core a thread, computing all of them."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

from voxcache.extract.threads import DeviceThread, decoding_threads


def test_decoders_use_one_core_each_and_nobody_else_loses_any() -> None:
    """What torch may use: one core in every decoder, as many as before in the device's thread, here and in later ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        device = DeviceThread()
        decoders = decoding_threads(2, device)
        together = threading.Barrier(2)

        def used(_: int) -> int:
            together.wait(10)
            torch.zeros(1 << 20).sum()
            return torch.get_num_threads()

        assert list(decoders.map(used, range(2))) == [1, 1]
        assert device.do(torch.get_num_threads) == torch.get_num_threads() == 3
        assert DeviceThread().do(torch.get_num_threads) == 3
    finally:
        torch.set_num_threads(before)


def test_work_of_the_device_may_ask_for_more_of_it() -> None:
    """Work that runs in the device's thread waits for nobody when it calls itself; errors arrive where it was asked for."""
    device = DeviceThread()
    assert device.do(lambda: device.do(threading.get_ident)) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        device.do(lambda: 1 / 0)


def test_the_thread_of_a_device_nobody_holds_ends() -> None:
    """Its OpenMP team would slow all others down."""
    device = DeviceThread()
    thread = device.do(threading.current_thread)
    del device
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
