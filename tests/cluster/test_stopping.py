"""Ctrl-C and SIGTERM: the command ends, nothing goes on without it, and nothing is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pandas as pd
import psutil
import pytest
from distributed import Client

from benchmark.store import effective_steps, run_folders, status
from benchmark.survey import survey
from tests.cluster.conftest import (
    PATIENCE,
    RUN,
    Command,
    scheduler,
    tree,
    wait_for,
    worker,
)

pytestmark = pytest.mark.slow
ENDLESS = """
seeds = 2
[[tasks]]
name = "finetune/gaussian"
budget = 10
[[methods]]
name = "random"
"""
"""Two runs that would go on for hours: whatever ends them here is the signal."""
SLOW = """
seeds = 2
[[tasks]]
name = "finetune/gaussian"
budget = 0.0001
[[methods]]
name = "slow.py"
"""
SLOW_METHOD = """
import time
from methods.random import RandomSearch

class Slow(RandomSearch):
    'Random search at leisure, so that a signal finds it at work.'
    name = 'slow'

    def ask(self):
        time.sleep(0.1)
        return super().ask()
"""
ENDLESS_RUN = (*RUN, "--clock", "device")


@pytest.fixture(autouse=True)
def suite(commands, tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(ENDLESS)


def states(folder: Path) -> list[str]:
    suite = folder / "results/mini"
    return [state.status for state in survey(suite)] if any(suite.rglob("events.jsonl")) else []


def wait_for_runs(run: Command, folder: Path) -> None:
    def begun() -> bool:
        return states(folder) == ["running"] * 2 or run.process.poll() is not None

    wait_for(begun, "both runs")
    assert run.process.poll() is None, run.output


def require_stopped(run: Command, number: int) -> None:
    """The command says so, and its exit code does."""
    assert run.end() == 128 + number, run.output
    assert "the same command goes on from here" in run.output
    assert "Traceback" not in run.output


def test_ctrl_c_ends_local_workers_too(commands, tmp_path):
    run = commands(*ENDLESS_RUN, "--workers", "2", log="run.log")
    wait_for_runs(run, tmp_path)
    processes = tree(run.process.pid)
    assert len(processes) > 2
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does
    require_stopped(run, signal.SIGINT)
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not alive
    assert states(tmp_path) == ["interrupted"] * 2


def test_runs_that_signals_cut_short_on_local_workers_end_as_undisturbed(commands, tmp_path):
    """Twice, while two worker processes hold runs: Ctrl-C to all, then SIGTERM to the command."""
    (tmp_path / "mini.toml").write_text(SLOW)
    (tmp_path / "slow.py").write_text(SLOW_METHOD)

    def at_work() -> bool:
        """Whether a worker is in the middle of a run."""
        runs = run_folders(tmp_path / "results/mini")
        return any(status(run) == "running" and effective_steps(run.events()) for run in runs)

    for number, stop in ((signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)):
        run = commands(*RUN, "--workers", "2", log="run.log")
        wait_for(lambda run=run: at_work() or run.process.poll() is not None, "a run to begin")
        stop(run.process.pid, number)
        require_stopped(run, number)
        assert "interrupted" in states(tmp_path)
    last = commands(*RUN, "--workers", "2", log="run.log")
    assert last.end() == 0, last.output
    apart = ("--results", "undisturbed", "--workers", "2")
    undisturbed = commands(*RUN, *apart, log="undisturbed.log")
    assert undisturbed.end() == 0, undisturbed.output
    frames = [
        pd.read_parquet(tmp_path / results / "mini/frame.parquet")
        for results in ("results", "undisturbed")
    ]
    pd.testing.assert_frame_equal(*frames)


def test_sigterm_leaves_nothing_on_a_running_cluster(commands, tmp_path):
    _, address = scheduler(commands, tmp_path, "boss")
    for name in ("first", "second"):
        worker(commands, address, name)
    run = commands(*ENDLESS_RUN, "--executor", address, log="run.log")
    wait_for_runs(run, tmp_path)
    run.process.send_signal(signal.SIGTERM)
    require_stopped(run, signal.SIGTERM)
    wait_for(lambda: states(tmp_path) == ["interrupted"] * 2, "the runs to stop")
    assert not list((tmp_path / "results").glob(".probe-*"))
    with Client(address, timeout=PATIENCE, set_as_default=False) as client:

        def tasks_left() -> int:
            return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

        wait_for(lambda: tasks_left() == 0, "the scheduler to forget the runs")
        client.wait_for_workers(2, timeout=PATIENCE)  # for whoever comes next
