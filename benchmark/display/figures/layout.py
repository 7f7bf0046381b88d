"""Panels at printed size, legends and notes outside the data, and byte-stable files."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmark.display import style
from benchmark.study.model import NOT_RANKED, WHY_NOT_RANKED, Metric, Study

NOTE_SIZE = 6.5
SMALL = 6.0
"""Points of the smallest text."""
PALE = "#6e6e6e"
"""Of text that stands back; 5 : 1 on white."""
MARK = "†"
"""Mark of methods that are not ranked."""
LINE_HEIGHT = 0.14
CHARACTERS_PER_INCH = 21
WIDE_TICK = 5
"""Characters from which on five tick labels side by side would meet."""


def panels(
    count: int,
    height: float,
    columns: int | None = None,
    extra: float = 0.0,
    wide: bool = False,
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels of `height` inches, plus `extra` for legend and note.

    One panel takes a single column unless `wide`, more take the page's width.
    """
    columns = columns or {1: 1, 2: 2, 4: 2}.get(count, 3)
    rows = -(-count // columns)
    width = style.SINGLE if columns == 1 and count == 1 and not wide else style.DOUBLE
    figure = Figure(figsize=(width, rows * height + extra), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options).ravel()
    for unused in grid[count:]:
        unused.remove()
    return figure, list(grid[:count])


def row_panels(
    count: int, rows: int, row_height: float, note: str, legend: Sequence[str] = ()
) -> tuple[Figure, list[Axes]]:
    """Panels that share their rows (one per method), named on the left only."""
    width = style.SINGLE if count == 1 else style.DOUBLE
    extra = note_height(note, width) + legend_height(legend, width)
    return panels(count, row_height * rows + 0.65, extra=extra, sharey=True)


def legend_columns(labels: Sequence[str], width: float, handle: float = 0.5) -> int:
    """How many columns of these labels fit into `width` inches."""
    longest = max((len(label) for label in labels), default=1)
    fitting = max(1, min(len(labels), int(width / (longest / 17 + handle))))
    rows = -(-len(labels) // fitting)
    return max(1, -(-len(labels) // max(rows, 1)))  # no row that is almost empty


def legend_height(labels: Sequence[str], width: float) -> float:
    """Inches that a legend of these labels needs."""
    return LINE_HEIGHT * -(-len(labels) // legend_columns(labels, width)) + 0.1


def add_legend(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend above all panels."""
    labels = [str(handle.get_label()) for handle in handles]
    if labels:
        figure.legend(
            handles=list(handles),
            loc="outside upper center",
            ncols=legend_columns(labels, figure.get_figwidth()),
            columnspacing=1.2,
            borderaxespad=0.2,
        )


def shown_name(study: Study, method: str) -> str:
    """The method as figures name it: with a mark where it is not ranked."""
    return method if study.method(method).ranked else f"{method} {MARK}"


def shown_names(study: Study, methods: Iterable[str]) -> list[str]:
    return [shown_name(study, method) for method in methods]


def not_ranked_note(study: Study, methods: Iterable[str]) -> str:
    """What the mark means, where one of the methods has it."""
    if all(study.method(method).ranked for method in methods):
        return ""
    return f" {MARK}\N{NO-BREAK SPACE}{NOT_RANKED}: {WHY_NOT_RANKED}."


def method_handles(study: Study, methods: Iterable[str]) -> list[Line2D]:
    handles = []
    for method in methods:
        look = identity(study, method)
        handles.append(
            Line2D(
                [], [], color=look.colour, ls=look.line, lw=look.width, marker=look.marker,
                label=shown_name(study, method),
            )
        )  # fmt: skip
    return handles


def identity(study: Study, method: str) -> style.Identity:
    return style.identity(study, method)


def wrap(text: str, width: float) -> str:
    return textwrap.fill(text, int(width * CHARACTERS_PER_INCH), break_on_hyphens=False)


def note_height(text: str, width: float) -> float:
    """Inches that the note needs under a figure of `width` inches."""
    return LINE_HEIGHT * (wrap(text, width).count("\n") + 1) + 0.05


def add_note(figure: Figure, text: str) -> None:
    """What the reader must know, below the panels."""
    figure.supxlabel(
        wrap(text, figure.get_figwidth()), fontsize=NOTE_SIZE, color="#444444", x=0.01, ha="left"
    )


def spread_labels(targets: Sequence[float], step: float, end: float) -> list[float]:
    """Places in [0, end], as near to increasing `targets` as labels `step` apart can be."""
    step = min(step, end / max(len(targets) - 1, 1))
    places: list[float] = []
    for target in targets:
        places.append(max(target, places[-1] + step if places else 0.0))
    for index in reversed(range(len(places))):
        places[index] = min(places[index], end - step * (len(places) - 1 - index))
    return places


def seeds_note(counts: Iterable[int]) -> str:
    """`n = 3 seeds`, or the range where methods differ."""
    present = sorted({count for count in counts if count})
    if not present:
        return "no seeds"
    if len(present) == 1:
        return f"n = {present[0]} seed{'s' if present[0] > 1 else ''}"
    return f"n = {present[0]} to {present[-1]} seeds"


def nothing(axes: Axes, text: str = "no result yet") -> None:
    """Say why the panel shows nothing, and leave its rows."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=PALE)
    axes.set_xticks([])


def empty(axes: Axes, text: str = "no result yet") -> None:
    """A panel that says why it shows nothing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=PALE)
    axes.set_xticks([])
    axes.set_yticks([])


def method_rows(axes: Axes, study: Study, methods: Sequence[str], task: str | None = None) -> None:
    """Methods from top to bottom on the y axis; rows say so that have no run on the task."""
    axes.set_yticks(range(len(methods)), shown_names(study, methods))
    begun = set(methods) if task is None else set(study.task(task).runs()["method"])
    for place, method in enumerate(methods):
        if method not in begun and begun:
            axes.text(
                0.5, place, "not run here", transform=axes.get_yaxis_transform(), ha="center",
                va="center_baseline", fontsize=SMALL, color=PALE,
            )  # fmt: skip
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    between = np.arange(0.5, len(methods) - 1)
    axes.hlines(between, 0, 1, transform=axes.get_yaxis_transform(), color="#eeeeee", lw=0.5)


def plain_ticks(axes: Axes, which: str, log: bool) -> None:
    """Plain numbers on a linear or log axis, few enough not to collide, also under a decade."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if not log:
        low, high = sorted(axis.get_view_interval())
        digits = max(map(len, _ticks(MaxNLocator(5), low, high)))
        axis.set_major_locator(MaxNLocator(3 if which == "x" and digits > WIDE_TICK else 5))
        return
    axes.set(**{f"{which}scale": "log"})
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low)
    if decades < 0.6:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    elif decades < 2.2:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    else:
        axis.set_major_locator(LogLocator(numticks=6 if decades < 4 or which == "y" else 4))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_locator(NullLocator())


def _ticks(locator: MaxNLocator, low: float, high: float) -> list[str]:
    return [f"{tick:.6g}" for tick in locator.tick_values(low, high)]


def metric_axis(axes: Axes, metric: Metric, which: str = "y") -> None:
    axes.set(**{f"{which}label": metric.title})
    plain_ticks(axes, which, metric.log)


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write the figure in each format, without dates, so that a rerun gives the same bytes."""
    FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")  # laid out once, for all formats alike
    written = []
    for extension in formats:
        path = folder / f"{name}.{extension}"
        _WRITERS[extension](figure, path)
        figure.set_dpi(style.DPI)  # vector formats leave theirs behind
        written.append(path)
    return written


def _write_png(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path)


def _write_pdf(figure: Figure, path: Path) -> None:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    FigureCanvasPdf(figure).print_pdf(path, metadata={"CreationDate": None})


def _write_svg(figure: Figure, path: Path) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})


# Straight to the back ends, each imported where it is asked for: `Figure.savefig` would draw each
# figure a second time for layout.
_WRITERS: dict[str, Callable[[Figure, Path], None]] = {
    "png": _write_png,
    "pdf": _write_pdf,
    "svg": _write_svg,
}
