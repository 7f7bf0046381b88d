"""Everything a suite's results folder shows: frame, tables, figures, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.study.model import Study

FORMATS = ("png", "pdf", "svg")


def draw(study: Study, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `frame.parquet`, `tables/` and `figures/` of a suite into its folder.

    There are no figures before the first run has delivered something.
    """
    from benchmark.display.figures import write_figures
    from benchmark.display.tables import write_tables
    from benchmark.study.results import save_frame

    paths = [save_frame(study), *write_tables(study, study.folder / "tables")]
    if study.frame.incumbent.any():
        paths += write_figures(study, study.folder / "figures", formats)
    return paths


def report(study: Study) -> Path:
    """Write `report.html` of a suite into its folder: all of it on one page."""
    from benchmark.display.page import write_report

    return write_report(study, study.folder)


def sketch(folder: Path) -> list[Path]:
    """`draw` with PNG figures only: what there is to look at while a suite runs."""
    from benchmark.study.model import Study

    return draw(Study.load(folder), ("png",))
