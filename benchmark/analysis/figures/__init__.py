"""Figures of a `Results`, written as files. Nothing here runs a task or a method.

Drawing uses matplotlib's object interface alone, so that it works headless, in threads, and
beside a user's own pyplot session. The same results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.analysis import contents, style
from benchmark.analysis.curves import traces
from benchmark.analysis.figures import (
    anytime,
    cost,
    fractions,
    improvement,
    landscape,
    profile,
    samples,
    schedules,
    strip,
    time,
    tradeoff,
    trajectories,
)
from benchmark.analysis.figures.layout import save
from benchmark.results import Results

FORMATS = ("png", "pdf", "svg")


def write_figures(results: Results, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw every figure into `folder`, once per format; returns the paths.

    `metrics-TASK`, `trajectories-TASK`, `landscape-TASK` and `samples-TASK`, for fine-tuning
    tasks `tradeoff-TASK` and `strip-TASK`, and for schedule tasks `schedules-TASK`, are one figure
    per task (`/` becomes `-`).
    Raises ValueError when no run has delivered anything yet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with style.applied():
        return [
            path
            for name, figure in _figures(results)
            for path in save(figure, folder, name, formats)
        ]


def _figures(results: Results) -> Iterator[tuple[str, Figure]]:
    found = traces(results)
    if not any(len(trace.hours) for runs in found.values() for trace in runs):
        states = results.runs["status"].value_counts().to_dict()
        raise ValueError(
            f"no finished trial yet in suite {results.suite!r} ({results.folder}): no run has "
            f"delivered a candidate with a reported metric; runs by status: {states or 'none'}"
        )
    yield "anytime", anytime.draw(results, found)
    yield "fractions", fractions.draw(results, found)
    yield "cost-to-target", cost.draw(results, found)
    yield "time", time.draw(results)
    for name, figure in (
        ("profile", profile.draw(results, found)),
        ("improvement", improvement.draw(results, found)),
    ):
        if figure is not None:
            yield name, figure
    for task in contents.task_names(results):
        slug = task.replace("/", "-")
        for name, figure in (
            ("metrics", anytime.draw_metrics(results, found, task)),
            ("trajectories", trajectories.draw(results, found, task)),
            ("landscape", landscape.draw(results, found, task)),
            ("schedules", schedules.draw(results, found, task)),
            ("samples", samples.draw(results, found, task)),
            ("tradeoff", tradeoff.draw(results, found, task)),
            ("strip", strip.draw(results, task)),
        ):
            if figure is not None:
                yield f"{name}-{slug}", figure
