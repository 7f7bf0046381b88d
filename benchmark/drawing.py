"""Everything a suite's results folder shows: frame, tables, figures."""

from collections.abc import Sequence
from pathlib import Path

FORMATS = ("png", "pdf", "svg")


def draw(folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write `frame.parquet`, `tables/` and `figures/` of the suite in `folder`.

    There are no figures before the first run has delivered something.
    """
    from benchmark.analysis.figures import write_figures
    from benchmark.analysis.tables import write_tables
    from benchmark.results import load, save_frame

    results = load(folder)
    paths = [save_frame(results), *write_tables(results, folder / "tables")]
    if results.frame.incumbent.any():
        paths += write_figures(results, folder / "figures", tuple(formats))
    return paths


def sketch(folder: Path) -> list[Path]:
    """`draw` with PNG figures only: what there is to look at while a suite runs."""
    return draw(folder, ("png",))
