"""Ctrl-C and SIGTERM: the command ends, nothing goes on without it, and nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from distributed import Client

from benchmark.engine.cluster import Cluster
from benchmark.runs.log import effective_steps
from benchmark.study.stored import FolderSuite
from benchmark.study.survey import survey
from tests.engine.conftest import (
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
HELD = """
seeds = 2
[[tasks]]
name = "finetune/gaussian"
budget = 0.0001
[[methods]]
name = "held.py"
"""
HELD_METHOD = """
import time
from pathlib import Path
from methods.random import RandomSearch

class Held(RandomSearch):
    'Random search that asks no more often than a file says, so that a signal finds it at work.'
    name = 'held'
    asked = 1  # for the default, which a search evaluates first

    def ask(self):
        self.asked += 1
        while self.asked > int(Path('limit').read_text()):
            time.sleep(0.02)
        return super().ask()
"""
ENDLESS_RUN = (*RUN, "--clock", "device")


@pytest.fixture(autouse=True)
def suite(commands, tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(ENDLESS)


def states(folder: Path) -> list[str]:
    suite = folder / "results/mini"
    return [state.status for state in survey(suite)] if any(suite.rglob("events.jsonl")) else []


def tasks_known(client: Client) -> int:
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))


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
    (tmp_path / "mini.toml").write_text(HELD)
    (tmp_path / "held.py").write_text(HELD_METHOD)
    limit = tmp_path / "limit"

    def trials() -> list[int]:
        return [
            len(effective_steps(run.events()))
            for run in FolderSuite(tmp_path / "results/mini").runs
        ]

    for asks, number, stop in ((3, signal.SIGINT, os.killpg), (6, signal.SIGTERM, os.kill)):
        limit.write_text(str(asks))
        run = commands(*RUN, "--workers", "2", log="run.log")
        held = [asks] * 2
        wait_for(lambda run=run, n=held: trials() == n or run.process.poll() is not None, "trials")
        stop(run.process.pid, number)
        require_stopped(run, number)
        assert states(tmp_path) == ["interrupted"] * 2
    limit.write_text("1000")
    last = commands(*RUN, "--workers", "2", log="run.log")
    assert last.end() == 0, last.output
    apart = ("--results", "undisturbed", "--workers", "0")
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
        wait_for(lambda: tasks_known(client) == 0, "the scheduler to forget the runs")
        client.wait_for_workers(2, timeout=PATIENCE)  # for whoever comes next


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_a_run_ends_with_its_session(commands, tmp_path, is_waited_for):
    """Also where nobody waits for it any more, and on no other worker instead."""
    _, address = scheduler(commands, tmp_path, "boss")
    for name in ("first", "second"):
        worker(commands, address, name)
    with (
        Client(address, timeout=PATIENCE, set_as_default=False) as client,
        Client(address, timeout=PATIENCE, set_as_default=False) as another,
    ):
        session, other = Cluster(client), Cluster(another)
        mine, theirs = (each.submit(time.sleep, 1e6) for each in (session, other))

        def working() -> set[object]:
            active = client.run(lambda dask_worker: [*dask_worker.active_threads.values()])
            return {key for keys in active.values() for key in keys}

        wait_for(lambda: working() == {mine.key, theirs.key}, "both runs")
        if not is_waited_for:
            del mine
            wait_for(lambda: tasks_known(client) == 1, "the scheduler to forget the run")
        session.stop()
        other.submit(os.getpid).result(timeout=60)  # somebody is free for what comes next
        assert working() == {theirs.key}
