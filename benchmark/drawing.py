"""Everything a suite's results folder shows: frame, tables, figures, report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.results import Results

FORMATS = ("png", "pdf", "svg")


def read(folder: Path, suite: str | None = None) -> Results:
    """The results in `folder`, with what is known here of their tasks (stored landscapes),
    methods (who is a rival) and suite (which pairs it runs). `suite` is a name or path as for
    `benchmark.suite.load`, or else the name of the folder."""
    from benchmark.results import load
    from tasks.base import stored_landscape

    results = load(folder)
    tasks = {
        name: described | {"landscape": stored_landscape(name)}
        for name, described in results.tasks.items()
    }
    methods = {
        label: described if "rival" in described else described | {"rival": _is_rival(described)}
        for label, described in results.methods.items()
    }
    planned = _planned(suite or folder.name)
    return replace(results, tasks=tasks, methods=methods, planned=planned)


def _planned(suite: str) -> frozenset[tuple[str, str]] | None:
    """The pairs of task and label that a suite runs; None if it cannot be read here: results
    outlive their suite file, and are shown without it."""
    from benchmark.registry import BrokenModule, UnknownName
    from benchmark.suite import SuiteError, load

    try:
        return frozenset((task.name, method.label) for task, method in load(suite).pairs())
    except (SuiteError, UnknownName, BrokenModule):
        return None


def _is_rival(described: dict[str, Any]) -> bool:
    """Of a method stored before runs said so. Imports all methods, and torch with them."""
    from benchmark import registry

    known = registry.all_methods().get(described["name"])
    return known is None or known.rival


def draw(results: Results, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `frame.parquet`, `tables/` and `figures/` of a suite into its folder.

    There are no figures before the first run has delivered something.
    """
    from benchmark.analysis.figures import write_figures
    from benchmark.analysis.tables import write_tables
    from benchmark.results import save_frame

    paths = [save_frame(results), *write_tables(results, results.folder / "tables")]
    if results.frame.incumbent.any():
        paths += write_figures(results, results.folder / "figures", tuple(formats))
    return paths


def processes() -> int:
    """How many draw at a time, where nothing else works: one per core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def report(results: Results) -> Path:
    """Write `report.html` of a suite into its folder: all of it on one page."""
    from benchmark.analysis.report import write_report

    return write_report(results, results.folder)


def sketch(folder: Path) -> list[Path]:
    """`draw` with PNG figures only: what there is to look at while a suite runs."""
    return draw(read(folder), ("png",))
