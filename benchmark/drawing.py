"""Everything a suite's results folder shows: frame, tables, figures, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.results import Results

FORMATS = ("png", "pdf", "svg")


def read(folder: Path) -> Results:
    """The results in `folder`, with what is known here of their tasks (stored landscapes) and
    methods (who is a rival)."""
    from benchmark import registry
    from benchmark.results import load

    results = load(folder)
    known = registry.all_tasks()
    tasks = {
        name: described | {"landscape": known[name].landscape() if name in known else None}
        for name, described in results.tasks.items()
    }
    rivals = {name: cls.rival for name, cls in registry.all_methods().items()}
    methods = {
        label: {"rival": rivals.get(described.get("name", label), True)} | described
        for label, described in results.methods.items()
    }
    return replace(results, tasks=tasks, methods=methods)


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


def report(results: Results) -> Path:
    """Write `report.html` of a suite into its folder: all of it on one page."""
    from benchmark.analysis.report import write_report

    return write_report(results, results.folder)


def sketch(folder: Path) -> list[Path]:
    """`draw` with PNG figures only: what there is to look at while a suite runs."""
    return draw(read(folder), ("png",))
