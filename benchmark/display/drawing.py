"""Everything a suite's results folder shows: frame, tables, figures, report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.study.results import Results

FORMATS = ("png", "pdf", "svg")


def read(folder: Path) -> Results:
    """The results in `folder`, with what is known here of their tasks (stored landscapes) and
    methods (which are ranked)."""
    from benchmark.study.results import load
    from tasks.base import stored_landscape

    results = load(folder)
    tasks = {
        name: described | {"landscape": stored_landscape(name)}
        for name, described in results.tasks.items()
    }
    methods = {
        label: described if "ranked" in described else described | {"ranked": _ranked(described)}
        for label, described in results.methods.items()
    }
    return replace(results, tasks=tasks, methods=methods)


def _ranked(described: dict[str, Any]) -> bool:
    """Of a method stored before runs said so. Imports all methods, and torch with them."""
    from benchmark import registry

    known = registry.all_methods().get(described["name"])
    return known is None or known.ranked


def draw(results: Results, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `frame.parquet`, `tables/` and `figures/` of a suite into its folder.

    There are no figures before the first run has delivered something.
    """
    from benchmark.display.figures import write_figures
    from benchmark.display.tables import write_tables
    from benchmark.study.results import save_frame

    paths = [save_frame(results), *write_tables(results, results.folder / "tables")]
    if results.frame.incumbent.any():
        paths += write_figures(results, results.folder / "figures", tuple(formats))
    return paths


def processes() -> int:
    """How many draw at a time, where nothing else works: one per core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def report(results: Results) -> Path:
    """Write `report.html` of a suite into its folder: all of it on one page."""
    from benchmark.display.page import write_report

    return write_report(results, results.folder)


def sketch(folder: Path) -> list[Path]:
    """`draw` with PNG figures only: what there is to look at while a suite runs."""
    return draw(read(folder), ("png",))
