"""Two Dask workers as two nodes on the loopback interface, and what happens when they go."""

from __future__ import annotations

import pandas as pd
import pytest
from dask.distributed import Client

from benchmark.engine.cluster import Cluster, inspect
from benchmark.engine.slurm import ClusterError
from tests.engine.conftest import PATIENCE, RUN, kill_all, scheduler, tree, worker


def test_a_run_on_a_cluster_survives_the_loss_of_its_worker(commands, tmp_path, local_frame):
    _, address = scheduler(commands, tmp_path, "boss")
    node = worker(commands, address, "node")
    run = commands(*RUN, "--executor", address, log="run.log")
    run.wait_for("[1/8]")
    kill_all(tree(node.process.pid)[1:])  # its nanny starts another worker
    assert run.end() == 0, run.output
    assert "Traceback" not in run.output
    frame = pd.read_parquet(tmp_path / "results/mini/frame.parquet")
    pd.testing.assert_frame_equal(frame, local_frame)


@pytest.mark.slow
def test_a_suite_survives_the_loss_of_a_worker_a_node_and_the_scheduler(
    commands, tmp_path, local_frame
):
    boss, address = scheduler(commands, tmp_path, "boss")
    first, second = (worker(commands, address, name) for name in ("first", "second"))
    run = commands(*RUN, "--executor", address, log="run.log")
    run.wait_for("[1/8]")
    kill_all(tree(first.process.pid)[1:])  # its nanny starts another worker
    run.wait_for("[2/8]")
    second.kill()
    run.wait_for("[4/8]")
    boss.kill()
    assert run.end() == 2
    assert "the same command goes on from here" in run.output
    assert "Traceback" not in run.output
    first.kill()

    _, address = scheduler(commands, tmp_path, "next")
    worker(commands, address, "third")
    again = commands(*RUN, "--executor", address, log="again.log")
    assert again.end() == 0, again.output
    assert "8 runs, 4 to do" in again.output
    frame = pd.read_parquet(tmp_path / "results/mini/frame.parquet")
    pd.testing.assert_frame_equal(frame, local_frame)


@pytest.mark.slow
def test_a_worker_that_finds_another_benchmark_names_it(commands, tmp_path):
    _, address = scheduler(commands, tmp_path, "boss")
    (tmp_path / "benchmark.py").write_text("x = 1\n")
    worker(commands, address, "first")
    with Client(address, timeout=PATIENCE, set_as_default=False) as client:
        with pytest.raises(ClusterError) as caught:
            inspect(Cluster(client), "cpu", sharing=1)
        assert f"finds `benchmark` in {tmp_path / 'benchmark.py'}; " in str(caught.value)
        assert "\n" not in str(caught.value)
