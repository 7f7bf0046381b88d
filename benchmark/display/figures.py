"""The figures of a study: eight kinds, each the answer to one question.

============== =====================================================================
anytime        What would each method deliver if it were stopped now?
cost-to-target How long until a quality is reached?
time           What was the device time spent on?
profile        How do the methods do over all tasks?
trajectories   How do the tuned variables move?
schedules      Which schedules are delivered?
samples        How do the samples look over the budget?
tradeoff       Which compromise of the rewards does each method choose?
============== =====================================================================
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.display import canvas, style
from benchmark.display.chart import Chart
from benchmark.display.drawing import FORMATS
from benchmark.display.kinds import (
    anytime,
    cost,
    profile,
    samples,
    schedules,
    time,
    tradeoff,
    trajectories,
)
from benchmark.files import BadResults
from benchmark.study.model import Study, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OVERALL: dict[str, Callable[[Study, Sequence[Task]], Chart | None]] = {
    "anytime": anytime.overview,
    "cost-to-target": cost.draw,
    "time": time.draw,
    "profile": profile.draw,
}
"""Kinds with a panel per task, or over all tasks."""
BY_TASK: dict[str, Callable[[Study, Task], Chart | None]] = {
    "anytime": anytime.of_task,
    "trajectories": trajectories.draw,
    "schedules": schedules.draw,
    "samples": samples.draw,
    "tradeoff": tradeoff.draw,
}
"""Kinds of one task; `anytime` with all its metrics."""
KINDS = tuple(dict.fromkeys([*OVERALL, *BY_TASK]))
log = logging.getLogger("benchmark.display")

Drawing = tuple[str, Callable[[], Chart | None]]
"""The name of a figure, and what describes it or says None, because there is nothing to show."""


def describe(study: Study, kind: str, task: str | None = None) -> Chart | None:
    """The figure of that kind, of one task or over all; None if there is nothing to show.

    Raises KeyError for an unknown kind or task.
    """
    if kind not in KINDS:
        raise KeyError(f"no figure is called {kind!r}; there are {', '.join(KINDS)}")
    if task is not None and task not in study.tasks:
        raise KeyError(f"no task is called {task!r}; there are {', '.join(study.tasks)}")
    if kind in BY_TASK and (task is not None or kind not in OVERALL):
        return BY_TASK[kind](study, study.task(task or next(iter(study.tasks))))
    chosen = list(study.tasks.values()) if task is None else [study.task(task)]
    return OVERALL[kind](study, chosen)


def plot(study: Study, kind: str, task: str | None = None) -> Figure:
    """`describe` as a matplotlib figure. Raises BadResults where there is nothing to show."""
    chart = describe(study, kind, task)
    if chart is None:
        where = kind if task is None else f"{kind}-{task.replace('/', '-')}"
        raise BadResults(f"{study.folder} has nothing to show in a figure {where!r}")
    with style.applied():
        made = canvas.figure(chart)
        made.draw_without_rendering()
    return made


def write_figures(
    study: Study,
    folder: Path,
    formats: Sequence[str] = FORMATS,
    processes: int = 1,
    pattern: str = "*",
) -> list[Path]:
    """Draw every figure whose name fits `pattern` into `folder`, once per format; returns paths.

    Figures are called by their kind, and `KIND-TASK` for one task (`/` becomes `-`). One that
    cannot be drawn is left out with a line that says so. More `processes` are forks of this one, on
    Linux only: it should not have threads that work.

    Raises BadResults when no run has delivered anything yet, or no name fits.
    """
    everything = list(_drawings(study))
    drawings = [drawing for drawing in everything if fnmatchcase(drawing[0], pattern)]
    if not drawings:
        names = ", ".join(name for name, _ in everything)
        raise BadResults(f"no figure is called {pattern!r}; there are {names}")
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(_write, folder, formats)
    with style.applied():
        if processes > 1 and sys.platform == "linux":
            fork = multiprocessing.get_context("fork")  # results are inherited, not pickled
            with ProcessPoolExecutor(processes, fork, _inherit, (drawings, write)) as pool:
                parts = list(pool.map(_write_inherited, range(len(drawings))))
        else:
            parts = [write(drawing) for drawing in drawings]
    written = [path for part in parts for path in part]
    tried, made = {name for name, _ in drawings}, {path.stem for path in written}
    if "profile" in tried - made:  # drawn while fewer tasks had runs, and true no longer
        for extension in FORMATS:
            (folder / f"profile.{extension}").unlink(missing_ok=True)
    return written


def _write(folder: Path, formats: Sequence[str], drawing: Drawing) -> list[Path]:
    name, describe_it = drawing
    try:
        chart = describe_it()
        return [] if chart is None else canvas.save(canvas.figure(chart), folder, name, formats)
    except Exception as error:  # whatever it is, the other figures are made
        left_out(f"figure {name}", error)
        return []


def left_out(what: str, error: Exception) -> None:
    """One line about what is not shown, and why."""
    reason = " ".join(str(error).split())
    log.warning("left out %s: %s: %s", what, type(error).__name__, reason[:300])
    log.debug("left out %s", what, exc_info=error)


_inherited: list[Callable[[], list[Path]]] = []
"""The figures to write, in a forked process."""


def _inherit(drawings: list[Drawing], write: Callable[[Drawing], list[Path]]) -> None:
    gc.freeze()  # else the collector visits, and so copies, all that is inherited
    _inherited[:] = [partial(write, drawing) for drawing in drawings]


def _write_inherited(number: int) -> list[Path]:
    return _inherited[number]()


def _drawings(study: Study) -> Iterator[Drawing]:
    if not study.frame["incumbent"].any() or not study.traces:
        states = study.runs["status"].value_counts().to_dict()
        raise BadResults(
            f"no finished trial yet in suite {study.name!r} ({study.folder}): no run has "
            f"delivered a candidate with a reported metric; runs by status: {states or 'none'}"
        )
    tasks = list(study.tasks.values())
    for kind, overall in OVERALL.items():
        yield kind, partial(overall, study, tasks)
    for task in tasks:
        for kind, of_task in BY_TASK.items():
            if kind != "anytime" or len(task.metrics) > 1:
                yield f"{kind}-{task.name.replace('/', '-')}", partial(of_task, study, task)
