"""The small suite that faults are injected into, and processes to run it in.

Everything is imported once; each process under test is forked from here, so that it starts warm
and a fault costs a fraction of a second. It runs the real command line, but for the figures.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark import cli, registry
from benchmark.runs import calibration
from benchmark.runs.folder import RunFolder
from benchmark.study import results
from benchmark.study.stored import FolderSuite
from tasks.base import Task
from tests.conftest import PRICES, ToyTask
from tests.toy_methods import Descent, Oracle

SUITE = "faults"
TEXT = """
seeds = 1
hard_limit = {limit}
"""
BUDGETS = {"toy/quadratic": 0.8, "finetune/gaussian": 0.1, "schedule/gaussian": 0.5}
"""Seconds of the priced clock."""
PRICED = {
    "toy/quadratic": PRICES,
    "finetune/gaussian": {
        "trial": 1e-3,
        "guided_denoise": 1e-6,
        "reward": 2e-6,
        "denoise": 1e-6,
    },
    "schedule/gaussian": {
        "trial": 1e-3,
        "train_step": 4e-3,
        "denoise": 4e-6,
        "frechet": 5e-6,
        "loss": 3e-3,
        "loss_gradient": 8e-3,
        "denoise_forward": 1.5e-5,
        "objective_backward": 5e-5,
        "denoise_backward": 2e-5,
        "update": 3e-3,
    },
}
"""About ten times what work costs: runs are short, and the same on every machine."""
LABELS = {
    "toy/quadratic": ("random", "default", "successive-halving", "descent", "oracle"),
    "finetune/gaussian": ("random", "bilevel", "spsa-crn", "default"),
    "schedule/gaussian": ("random", "bilevel", "sampling-search", "default"),
}
TIMEOUT = 120.0
"""Seconds after which a process counts as hung: nothing here takes more than a few."""


@dataclass(frozen=True)
class World:
    """A folder with the suite file."""

    folder: Path

    @staticmethod
    def make(folder: Path) -> World:
        """Register what the suite needs, import all it uses, and write its file."""
        tasks: dict[str, type[Task]] = registry.all_tasks() | {ToyTask.name: ToyTask}
        methods = registry.all_methods() | {"descent": Descent, "oracle": Oracle}
        registry.all_tasks = lambda: tasks  # type: ignore[assignment]
        registry.all_methods = lambda: methods  # type: ignore[assignment]
        calibration.prices = lambda task, device, precision: dict(PRICED[task])  # type: ignore[assignment]
        cli.running.conclude = lambda folder: results.save_frame(results.load(folder))  # type: ignore
        world = World(folder)
        world.write_suite(limit=60)
        world.warm_up()
        return world

    def warm_up(self) -> None:
        """Run everything once in this process, for what is imported on the way."""
        cli.output.console.file = cli.output.errors.file = io.StringIO()
        for task, labels in LABELS.items():
            sys.argv = ["benchmark", *self.command(self.folder / "warm", task, labels)]
            with contextlib.suppress(SystemExit):
                cli.main()
        gc.collect()
        gc.freeze()  # else the collector of each process visits, and so copies, all that is loaded

    @property
    def suite(self) -> Path:
        return self.folder / f"{SUITE}.toml"

    def write_suite(self, limit: float) -> None:
        tables = [
            f'[[tasks]]\nname = "{name}"\nbudget = {seconds / 3600}\n'
            for name, seconds in BUDGETS.items()
        ]
        methods = sorted({label for labels in LABELS.values() for label in labels})
        tables += [
            f'[[methods]]\nname = "{name}"\n'
            f"tasks = {[task for task, labels in LABELS.items() if name in labels]}\n"
            for name in methods
        ]
        self.suite.write_text(TEXT.format(limit=limit) + "".join(tables))

    def command(self, results: Path, task: str, labels: tuple[str, ...], *more: str) -> list[str]:
        """Arguments of `run` for some of the suite."""
        chosen = [f"--method={label}" for label in labels]
        return [
            "run",
            "--suite",
            str(self.suite),
            "--results",
            str(results),
            "--clock",
            "priced",
            "--workers",
            "0",
            "--task",
            task,
            *chosen,
            *more,
        ]

    def run(
        self, arguments: list[str], log: Path, prepare: Callable[[], None] = lambda: None
    ) -> int:
        """Run the command line in a process; returns its exit code, or the negative signal."""
        return wait(self.start(arguments, log, prepare))

    def start(
        self, arguments: list[str], log: Path, prepare: Callable[[], None] = lambda: None
    ) -> int:
        log.touch()
        pid = os.fork()
        if pid:
            return pid
        code = 99
        try:
            atexit._clear()
            _as_a_new_process(log)
            sys.argv = ["benchmark", *arguments]
            prepare()
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.settrace(None)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            atexit._run_exitfuncs()  # those registered in `prepare`
            os._exit(code)


def _as_a_new_process(log: Path) -> None:
    """Write to `log`, and hear signals as a program does that was just started."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    cli.output.console.file, cli.output.errors.file = sys.stdout, sys.stderr
    cli.output.console.width = cli.output.errors.width = 200
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait(pid: int) -> int:
    """Exit code of a process, or the negative signal; it is killed after `TIMEOUT`."""
    give_up = time.monotonic() + TIMEOUT
    while time.monotonic() < give_up:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"process {pid} did not end within {TIMEOUT:.0f} s")


def frame_of(results_folder: Path) -> pd.DataFrame:
    return results.load(results_folder / SUITE).frame


def folders_of(results_folder: Path) -> dict[str, RunFolder]:
    """Run folders by label."""
    return {run.where.parent.name: run.run for run in FolderSuite(results_folder / SUITE).runs}
