"""Everything a suite's results folder shows: frame, tables, figures."""

from pathlib import Path


def draw(folder: Path) -> list[Path]:
    """Write `frame.parquet`, `tables/` and `figures/` of the suite in `folder`."""
    from benchmark.analysis.figures import write_figures
    from benchmark.analysis.tables import write_tables
    from benchmark.results import load, save_frame

    results = load(folder)
    return [
        save_frame(results),
        *write_tables(results, folder / "tables"),
        *write_figures(results, folder / "figures"),
    ]
