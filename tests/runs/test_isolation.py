"""Runs have one thread in every library, and leave the process as they found it."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_info, threadpool_limits

from benchmark.runs.isolation import hold_threads, isolated


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info()}


def test_every_library_has_one_thread_inside() -> None:
    with threadpool_limits(2):
        torch.set_num_threads(2)
        assert 2 in threads()
        with isolated(changed := []):
            assert threads() == {1}
            assert torch.get_num_threads() == 1
        assert 2 in threads()
        assert torch.get_num_threads() == 2
        assert changed == []
    torch.set_num_threads(1)


def test_libraries_that_came_later_are_held_too() -> None:
    with threadpool_limits(2):
        hold_threads()
        assert threads() == {1}
