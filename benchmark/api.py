"""The Python API: run a suite or a part of it, load stored results, show them in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console

from benchmark import launch, registry
from benchmark.errors import UserError
from benchmark.study import model
from methods.base import Method
from tasks.base import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Study(model.Study):
    """A suite's results: `frame`, tables, figures and a verdict."""

    def table(self, name: str = "quality") -> pd.DataFrame:
        """One of the tables that `python -m benchmark table` writes, as numbers.

        Raises KeyError, naming the tables there are, for another name.
        """
        from benchmark.display.tables import tables

        made = tables(self)
        if name not in made:
            raise KeyError(f"no table is called {name!r}; there are {', '.join(made)}")
        return made[name].data

    def plot(self, name: str = "anytime", task: str | None = None) -> Figure:
        """One of the figures that `python -m benchmark plot` writes: of one task, or of all.

        Raises KeyError, naming the kinds there are, for another name, and BadResults where there is
        nothing to show.
        """
        from benchmark.display.figures import plot

        _show_figures()
        return plot(self, name, task)

    def verdict(self) -> str:
        """Who wins where, in sentences of a line each."""
        from benchmark.analysis.verdict import verdict

        return "\n".join(verdict(self))


def _show_figures() -> None:
    """Let a notebook show figures that were made without pyplot, as `%matplotlib inline` does."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        import_module("IPython.core.pylabtools").select_figure_formats(shell, {"png"})


def load(path: Path | str) -> Study:
    """The stored results of a suite, such as `results/quick`. Raises NoRuns and BadResults."""
    return Study.load(path)


def run(
    suite: str = "quick",
    tasks: Sequence[str | type[Task]] = (),
    methods: Sequence[str | type[Method]] = (),
    seeds: int | None = None,
    budget: float | None = None,
    clock: str = "device",
    workers: int | None = 0,
    results: Path | str = "results",
    *,
    device: str | None = None,
    executor: str = "local",
    fresh: bool = False,
    retry_failed: bool = False,
    quiet: bool = False,
) -> Study:
    """Run a suite, or a part of it, and return its results; what is finished is not run again.

    Args:
        suite: A shipped suite, or the path of a TOML file.
        tasks: Names, patterns, `.py` files, or classes; all of the suite's if empty.
        methods: Likewise.
        seeds: Runs per task and method; the suite's number if None.
        budget: GPU-hours of each run; the suite's if None.
        clock: `device` (measured time) or `priced` (calibrated prices: the same numbers at any
            load).
        workers: Worker processes; 0 runs in this process, as classes need that a notebook defines,
            and None starts one for each GPU or CPU core.
        results: Folder of all suites' results.
        device: `cpu`, `cuda` or `cuda:N`; `cuda` if there is one, if None.
        executor: `local`, `slurm`, or the address of a Dask scheduler.
        fresh: Delete the chosen runs and start over, as after a class has been edited.
        retry_failed: Run failed runs again.
        quiet: Print no progress.

    Raises:
        UserError: What is asked for cannot be run; the message says why.
        NoRuns: No run has stored anything.
    """
    classes = [item for item in (*tasks, *methods) if isinstance(item, type)]
    if classes and (workers != 0 or executor != "local"):
        raise UserError(
            f"{classes[0].__name__} is a class of this process, which workers do not know: use "
            "workers=0, or write it to a file and give its path"
        )
    if clock not in ("priced", "device"):
        raise UserError(f"clock must be 'priced' or 'device', got {clock!r}")
    request = launch.Request(
        str(suite), _names(tasks), _names(methods), seeds, budget, Path(results), workers, executor,
        device, clock, fresh, retry_failed,
    )  # fmt: skip
    plan = launch.plan(request)
    console = Console(
        file=sys.stdout, width=200, quiet=quiet, force_terminal=False, force_jupyter=False,
        markup=False, highlight=False, emoji=False,
    )  # fmt: skip
    for line in plan.describe():
        console.print(line, soft_wrap=True)
    for problem in launch.execute(plan, console).problems(plan.folder):
        console.print(problem, soft_wrap=True)
    return load(plan.folder)


def _names(items: Sequence[str | type]) -> list[str]:
    """Names of methods or tasks; classes are made known by theirs."""
    return [registry.add(item) if isinstance(item, type) else str(item) for item in items]
