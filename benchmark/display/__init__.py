"""Everything that a suite's results folder shows: frame, tables, figures, and a page with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.study.model import Study

FORMATS = ("png", "pdf", "svg")


def draw(study: Study, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `frame.parquet`, `tables/` and `figures/` of a suite into its folder; returns paths.

    There are no figures before the first run has delivered something.
    """
    from benchmark.display.figures import write_figures
    from benchmark.display.tables import write_tables
    from benchmark.study.results import save_frame

    paths = [save_frame(study), *write_tables(study, study.folder / "tables")]
    if study.frame.incumbent.any():
        paths += write_figures(study, study.folder / "figures", formats)
    return paths
