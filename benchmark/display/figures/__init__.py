"""Figures of a `Results`, written as files. Nothing here runs a task or a method.

Drawing uses matplotlib's object interface alone, so that it works headless, in threads, and
beside a user's own pyplot session. The same results give the same bytes.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.display import style
from benchmark.display.figures import (
    anytime,
    cost,
    fractions,
    landscape,
    profile,
    samples,
    schedules,
    strip,
    time,
    tradeoff,
    trajectories,
)
from benchmark.display.figures.layout import save
from benchmark.files import BadResults
from benchmark.study.model import Study

FORMATS = ("png", "pdf", "svg")
Drawing = tuple[str, Callable[[], Figure | None]]
"""The name of a figure, and what draws it or says None, because there is nothing to show."""


def write_figures(
    study: Study,
    folder: Path,
    formats: Sequence[str] = FORMATS,
    processes: int = 1,
    pattern: str = "*",
) -> list[Path]:
    """Draw every figure whose name fits `pattern` into `folder`, once per format; returns paths.

    More `processes` are forks of this one, on Linux only: it should not have threads that work.

    `metrics-TASK`, `trajectories-TASK`, `landscape-TASK` and `samples-TASK`, for fine-tuning
    tasks `tradeoff-TASK` and `strip-TASK`, and for schedule tasks `schedules-TASK`, are one figure
    per task (`/` becomes `-`).
    Raises BadResults when no run has delivered anything yet, or no name fits.
    """
    drawings = [drawing for drawing in _drawings(study) if fnmatchcase(drawing[0], pattern)]
    if not drawings:
        names = ", ".join(name for name, _ in _drawings(study))
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
    tried = any(name == "profile" for name, _ in drawings)
    if tried and not any(path.stem == "profile" for path in written):
        for extension in FORMATS:  # drawn while fewer tasks had runs, and true no longer
            (folder / f"profile.{extension}").unlink(missing_ok=True)
    return written


def _write(folder: Path, formats: Sequence[str], drawing: Drawing) -> list[Path]:
    name, draw = drawing
    figure = draw()
    return [] if figure is None else save(figure, folder, name, formats)


_inherited: list[Callable[[], list[Path]]] = []
"""What there is to write, in a forked process."""


def _inherit(drawings: list[Drawing], write: Callable[[Drawing], list[Path]]) -> None:
    gc.freeze()  # else the collector visits, and so copies, all that is inherited
    _inherited[:] = [partial(write, drawing) for drawing in drawings]


def _write_inherited(number: int) -> list[Path]:
    return _inherited[number]()


def _drawings(study: Study) -> Iterator[Drawing]:
    if not any(len(trace.hours) for runs in study.traces.values() for trace in runs):
        states = study.runs["status"].value_counts().to_dict()
        raise BadResults(
            f"no finished trial yet in suite {study.name!r} ({study.folder}): no run has "
            f"delivered a candidate with a reported metric; runs by status: {states or 'none'}"
        )
    yield "anytime", partial(anytime.draw, study)
    yield "fractions", partial(fractions.draw, study)
    yield "cost-to-target", partial(cost.draw, study)
    yield "time", partial(time.draw, study)
    yield "profile", partial(profile.draw, study)
    for task in study.tasks:
        slug = task.replace("/", "-")
        for name, draw in (
            ("metrics", anytime.draw_metrics),
            ("trajectories", trajectories.draw),
            ("landscape", landscape.draw),
            ("schedules", schedules.draw),
            ("samples", samples.draw),
            ("tradeoff", tradeoff.draw),
        ):
            yield f"{name}-{slug}", partial(draw, study, task)
        yield f"strip-{slug}", partial(strip.draw, study, task)
