"""Ctrl-C and SIGTERM: the command ends, nothing goes on without it, and nothing is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import psutil
import pytest
from distributed import Client

from benchmark.survey import survey
from tests.cluster.conftest import RUN, Command, scheduler, tree, wait_for, worker

pytestmark = pytest.mark.slow
SECONDS_TO_STOP = 60.0
"""Far more than it takes, and far less than the runs would."""


def states(folder: Path) -> set[str]:
    return {state.status for state in survey(folder / "results/mini")}


def require_stopped(run: Command, number: int) -> None:
    """The command says so, and its exit code does."""
    assert run.process.wait(SECONDS_TO_STOP) == 128 + number, run.output
    assert "the same command goes on from here" in run.output
    assert "Traceback" not in run.output


def require_resumed(run: Command, expected: pd.DataFrame) -> None:
    assert run.end() == 0, run.output
    frame = pd.read_parquet(run.log.parent / "results/mini/frame.parquet")
    pd.testing.assert_frame_equal(frame, expected)


def test_ctrl_c_ends_local_workers_too(commands, tmp_path, local_frame):
    run = commands(*RUN, "--workers", "2", log="run.log")
    run.wait_for("[2/8]")
    processes = tree(run.process.pid)
    assert len(processes) > 2
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does
    require_stopped(run, signal.SIGINT)
    _, alive = psutil.wait_procs(processes, timeout=SECONDS_TO_STOP)
    assert not alive
    assert states(tmp_path) <= {"finished", "interrupted"}
    require_resumed(commands(*RUN, "--workers", "2", log="again.log"), local_frame)


def test_sigterm_leaves_nothing_on_a_running_cluster(commands, tmp_path, local_frame):
    _, address = scheduler(commands, tmp_path, "boss")
    for name in ("first", "second"):
        worker(commands, address, name)
    run = commands(*RUN, "--executor", address, log="run.log")
    run.wait_for("[1/8]")
    run.process.send_signal(signal.SIGTERM)
    require_stopped(run, signal.SIGTERM)
    with Client(address, set_as_default=False) as client:
        tasks = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        assert tasks == 0
        client.wait_for_workers(2, timeout=SECONDS_TO_STOP)  # for whoever comes next
    wait_for(lambda: states(tmp_path) <= {"finished", "interrupted"}, "the runs to stop")
    assert not list((tmp_path / "results").glob(".probe-*"))
    require_resumed(commands(*RUN, "--executor", address, log="again.log"), local_frame)
