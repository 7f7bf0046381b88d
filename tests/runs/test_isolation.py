"""Runs have one thread in every library, and leave the process as they found it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from benchmark.runs.isolation import POOLS, isolated


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


def test_libraries_that_come_later_are_held_too() -> None:
    code = """
        import sys
        from threadpoolctl import threadpool_info
        from benchmark.runs.isolation import isolated
        before = {library["filepath"] for library in threadpool_info()}
        with isolated([]):
            import sklearn.cluster, scipy.linalg
            found = threadpool_info()
            assert {library["filepath"] for library in found} > before
            print({library["num_threads"] for library in found})
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | dict.fromkeys(POOLS, "2"), capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "{1}", done.stderr


def seeds_changed() -> list[str]:
    with isolated(changed := []):
        random.random()
        np.random.random()  # noqa: NPY002
    return changed


def test_changed_seeds_are_named_but_for_the_one_that_dasks_thread_draws_from() -> None:
    assert seeds_changed() == ["random's seed", "numpy's global seed"]
    with ThreadPoolExecutor() as pool:  # a worker executes runs beside its main thread
        assert pool.submit(seeds_changed).result() == ["numpy's global seed"]


def test_seeds_are_put_back_beside_the_main_thread_too() -> None:
    before = random.getstate()
    with ThreadPoolExecutor() as pool:
        pool.submit(seeds_changed).result()
    assert random.getstate() == before
