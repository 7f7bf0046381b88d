"""What the tests of clusters share: a small suite, its local results, processes that get killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
import psutil
import pytest

SUITE = """
seeds = 2
[[tasks]]
name = "finetune/gaussian"
budget = 0.0002
[[tasks]]
name = "schedule/gaussian"
budget = 0.0002
[[methods]]
name = "random"
[[methods]]
name = "bilevel"
"""
RUN = (sys.executable, str(Path(__file__).with_name("undrawn.py")), "run", "--all", "--suite",
       "mini.toml", "--clock", "priced")  # fmt: skip
QUIET = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
PATIENCE = 240.0
"""Seconds to wait for anything; machines that test may be loaded."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until `condition` holds; fails naming `what`."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.1)


class Command:
    """A process of its own group, with what it prints."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, log: str, env: dict[str, str] | None = None
    ) -> None:
        self.log = folder / log
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(
                arguments, cwd=folder, stdout=file, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True, env=os.environ | (env or {}),
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.output or self.process.poll() is not None, repr(text))
        assert text in self.output, self.output

    def end(self) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(timeout=PATIENCE)

    def kill(self) -> None:
        """End it and all it has started, without warning."""
        kill_all(tree(self.process.pid))
        self.process.wait()


def tree(pid: int) -> list[psutil.Process]:
    """A process and all it has started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=PATIENCE)


Start = Callable[..., Command]


def scheduler(commands: Start, folder: Path, name: str) -> tuple[Command, str]:
    """A Dask scheduler on a free port, and its address."""
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


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Start]:
    """Starts commands in a folder with the suite, and ends what is left of them."""
    (tmp_path / "mini.toml").write_text(SUITE)
    started: list[Command] = []

    def start(*arguments: str, log: str, env: dict[str, str] | None = None) -> Command:
        started.append(Command(arguments, tmp_path, log, env))
        return started[-1]

    yield start
    for command in reversed(started):
        command.kill()


@pytest.fixture(scope="session")
def local_frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The frame of an undisturbed run in one process."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "mini.toml").write_text(SUITE)
    subprocess.run([*RUN, "--workers", "0"], cwd=folder, check=True, capture_output=True)
    return pd.read_parquet(folder / "results/mini/frame.parquet")
