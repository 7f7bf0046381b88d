"""Two Dask workers as two nodes on the loopback interface, and what happens when they go."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster.conftest import RUN, Command, kill_all, tree, wait_for

Start = Callable[..., Command]
QUIET = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard")


def scheduler(commands: Start, folder: Path, name: str) -> tuple[Command, str]:
    """A scheduler on a free port, and its address."""
    file = folder / f"{name}.json"
    command = commands(
        sys.executable, "-m", "distributed.cli.dask_scheduler", *QUIET, "--port", "0",
        "--scheduler-file", str(file), log=f"{name}.log",
    )  # fmt: skip
    wait_for(file.exists, "the scheduler")
    return command, json.loads(file.read_text())["address"]


def worker(commands: Start, address: str, name: str, *options: str, env=None) -> Command:
    """A node: a nanny with one worker process, which have an own working folder."""
    arguments = (sys.executable, "-m", "distributed.cli.dask_worker", address, *QUIET)
    threads = () if "--nthreads" in options else ("--nthreads", "1")
    command = commands(*arguments, *threads, *options, log=f"{name}.log", env=env)
    command.wait_for("Registered to")
    return command


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
