"""The figures of a study: six kinds, each the answer to one question.

============ =====================================================================
anytime      What would each method deliver if it were stopped now?
time         What was the device time spent on?
trajectories How do the tuned variables move?
schedules    Which schedules are delivered?
samples      How do the samples look over the budget?
tradeoff     Which compromise of the rewards does each method choose?
============ =====================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.display import FORMATS, canvas, style
from benchmark.display.chart import Chart
from benchmark.display.kinds import anytime, samples, schedules, time, tradeoff, trajectories
from benchmark.files import BadResults
from benchmark.study.model import Study, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OVERALL: dict[str, Callable[[Study, Sequence[Task]], Chart | None]] = {
    "anytime": anytime.overview,
    "time": time.draw,
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
        raise BadResults(f"{study.folder} has nothing to show in a figure {_name(kind, task)!r}")
    with style.applied():
        made = canvas.figure(chart)
        made.draw_without_rendering()
    return made


def write_figures(
    study: Study, folder: Path, formats: Sequence[str] = FORMATS, pattern: str = "*"
) -> list[Path]:
    """Draw every figure whose name fits `pattern` into `folder`, once per format; returns paths.

    Figures are called by their kind, and `KIND-TASK` for one task (`/` becomes `-`). One that
    cannot be drawn is left out with a line that says so.

    Raises BadResults when no run has delivered anything yet, or no name fits.
    """
    everything = _everything(study)
    chosen = [name for name in everything if fnmatchcase(name, pattern)]
    if not chosen:
        raise BadResults(f"no figure is called {pattern!r}; there are {', '.join(everything)}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with style.applied():
        for name in chosen:
            with left_out_if_broken(f"figure {name}"):
                if chart := describe(study, *everything[name]):
                    written += canvas.save(canvas.figure(chart), folder, name, formats)
    return written


@contextmanager
def left_out_if_broken(what: str) -> Iterator[None]:
    """Whatever is raised inside, one line says what is not shown and why; the rest is made."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        log.warning("left out %s: %s: %s", what, type(error).__name__, reason[:300])
        log.debug("left out %s", what, exc_info=error)


def _everything(study: Study) -> dict[str, tuple[str, str | None]]:
    """Kind and task of every figure by its name. Raises BadResults where there is nothing."""
    if not study.frame["incumbent"].any() or not study.traces:
        states = study.runs["status"].value_counts().to_dict()
        raise BadResults(
            f"no finished trial yet in suite {study.name!r} ({study.folder}): no run has "
            f"delivered a candidate with a reported metric; runs by status: {states or 'none'}"
        )
    found: dict[str, tuple[str, str | None]] = {kind: (kind, None) for kind in OVERALL}
    for task in study.tasks.values():
        kinds = [kind for kind in BY_TASK if kind != "anytime" or len(task.metrics) > 1]
        found |= {_name(kind, task.name): (kind, task.name) for kind in kinds}
    return found


def _name(kind: str, task: str | None) -> str:
    return kind if task is None else f"{kind}-{task.replace('/', '-')}"
