"""A described figure as a matplotlib figure at printed size, and as byte-stable files.

Only matplotlib's object interface is used, so that it works headless, in threads, and beside a
user's own pyplot session.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.display import style
from benchmark.display.chart import Array, Axis, Chart, Look, Panel, Series, bounded

with style.quiet():
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

SMALL = 6.0
NOTE_SIZE = 6.5
PALE = "#6e6e6e"
"""Text that stands back; 5 : 1 on white."""
LINE_HEIGHT = 0.14
"""Inches of a line of a note or a legend."""
CHARACTERS_PER_INCH = 21
"""Characters of a note."""
MANY, MANY_COLUMNS = 10, 5
"""From how many panels on they are small, and how many of those stand side by side."""
WIDE_TICK = 5
"""Characters from which on five tick labels side by side would meet."""
GAP = 0.08
"""Space between sample images, as a share of one."""
MARK_STEP = 0.15
"""Distance of marks on a line, as a share of a panel's diagonal."""


def figure(chart: Chart) -> Figure:
    """The chart with its legend above and its note below the panels."""
    if chart.sheet:
        return _sheet(chart)
    count = len(chart.panels)
    columns = {1: 1, 2: 2, 4: 2}.get(count, 3 if count < MANY else MANY_COLUMNS)
    rows = -(-count // columns)
    width = style.SINGLE if count == 1 else style.DOUBLE
    names = chart.panels[0].y.names
    height = 0.2 * len(names) + 0.65 if names else 2.1 if count < MANY else 1.6
    beside = _legend_columns(chart, width)
    lines = -(-len(chart.looks) // beside) + wrap(chart.note, width).count("\n") + 1
    size = (width, rows * height + lines * LINE_HEIGHT + 0.15)
    made = Figure(figsize=size, layout="constrained")
    grid = made.subplots(rows, columns, squeeze=False, sharey=bool(names)).ravel()
    for unused in grid[count:]:
        unused.remove()
    for axes, panel in zip(grid, chart.panels, strict=False):
        axes.set_title(
            textwrap.fill(panel.title, int(14 * width / columns)), pad=11 if panel.remark else None
        )
        _panel(axes, panel, chart)
    artists: list[Any] = [
        artist for axes in made.axes for artist in (*axes.lines, *axes.containers)
    ]
    known = {artist.get_label(): artist for artist in artists}
    handles = [known[look.name] for look in chart.looks.values() if look.name in known]
    made.legend(handles=handles, loc="outside upper center", ncols=beside, columnspacing=1.2)
    _add_note(made, chart.note)
    return made


def _panel(axes: Axes, panel: Panel, chart: Chart) -> None:
    if panel.remark:
        axes.annotate(
            panel.remark, (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
            ha="center", fontsize=SMALL, color=PALE,
        )  # fmt: skip
    if panel.y.names:
        _rows(axes, panel.y)
    if panel.empty:
        axes.text(0.5, 0.5, panel.empty, transform=axes.transAxes, ha="center", color=PALE)
        axes.set(xticks=[], **({} if panel.y.names else {"yticks": []}))
        return
    _scale(axes, panel.x, "x")
    if not panel.y.names:
        _scale(axes, panel.y, "y")
        axes.grid()
    for rule in panel.rules:
        draw = axes.axvline if rule.axis == "x" else axes.axhline
        draw(rule.at, color="#888888", lw=0.8, ls="--", zorder=1)
    for order, series in enumerate(panel.series):
        _series(axes, panel, series, chart.looks[series.look], order)


def _series(axes: Axes, panel: Panel, series: Series, look: Look, order: int) -> None:
    x, y = _at(panel.x, series.x), _at(panel.y, series.y)
    if not (np.isfinite(x) & np.isfinite(y)).any():
        return  # an empty line would reach to the corner of the page
    if series.join == "bars" and series.left is not None:
        axes.barh(
            y, x - series.left, left=series.left, height=0.7, label=look.name, lw=0.4,
            fc=look.colour, ec="#888888" if look.colour == style.WHITE else "white",
            hatch=look.hatch,
        )  # fmt: skip
        return
    front = 2.2 if series.faint else 3 + order / 100 + look.width * (series.marks != "none")
    _intervals(axes, panel, series, look, front - 0.5)
    drawn: dict[str, Any] = {
        "color": look.colour, "alpha": 0.35 if series.faint else 1.0, "zorder": front,
        "label": None if series.faint else look.name,
    }  # fmt: skip
    if series.join:
        axes.plot(
            x, y, drawstyle="steps-post" if series.join == "steps" else "default",
            ls=(0, look.dash) if look.dash else "-", lw=0.5 if series.faint else look.width,
            marker=None if series.marks == "none" else look.marker,
            markevery=_few(order) if series.marks == "few" and len(x) > 6 else None, **drawn,
        )  # fmt: skip
    else:
        hollow = not series.faint and (series.marks == "open" or bool(look.dash))
        axes.plot(
            x, y, ls="", marker=look.marker, ms=2 if series.faint else 4.5, mew=0.8,
            mfc="white" if hollow else look.colour, clip_on=False, **drawn,
        )  # fmt: skip


def _intervals(axes: Axes, panel: Panel, series: Series, look: Look, front: float) -> None:
    """A band around a line, and bars through single points."""
    x, y = _at(panel.x, series.x), _at(panel.y, series.y)
    bars: dict[str, Any] = {"color": look.colour, "lw": 0.9, "zorder": front}
    if series.left is not None and series.right is not None:
        axes.hlines(y, _at(panel.x, series.left), _at(panel.x, series.right), **bars)
    if series.low is not None and series.high is not None and series.band:
        low, high = _at(panel.y, series.low), _at(panel.y, series.high)
        if series.join:
            step: Any = "post" if series.join == "steps" else None
            axes.fill_between(x, low, high, color=look.colour, alpha=0.12, lw=0, step=step)
        else:
            axes.vlines(x, low, high, **bars)


def _few(order: int) -> tuple[float, float]:
    """First mark and distance of marks on a line, shifted from line to line."""
    return order * 0.04 % MARK_STEP, MARK_STEP


def _at(axis: Axis, values: Array) -> Array:
    """Values as the axis shows them: zero at the edge of a log axis, nothing beyond all numbers."""
    shown = bounded(values)
    return np.where(shown <= 0, axis.low, shown) if axis.log else shown


def _scale(axes: Axes, axis: Axis, which: str) -> None:
    axes.set(**{f"{which}scale": "log" if axis.log else "linear"})
    axes.set(**{f"{which}lim": (axis.low, axis.high), f"{which}label": axis.label})
    own = axes.xaxis if which == "x" else axes.yaxis
    if not axis.log:
        digits = max(len(f"{tick:.6g}") for tick in MaxNLocator(5).tick_values(axis.low, axis.high))
        own.set_major_locator(MaxNLocator(3 if which == "x" and digits > WIDE_TICK else 5))
        return
    decades = np.log10(axis.high) - np.log10(axis.low)
    if decades < 0.6:
        own.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    elif decades < 2.2:
        own.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    else:
        own.set_major_locator(LogLocator(numticks=6 if decades < 4 or which == "y" else 4))
    own.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    own.set_minor_locator(NullLocator())
    if axis.zero:
        ticks = [tick for tick in own.get_majorticklocs() if 1.2 * axis.low < tick <= axis.high]
        own.set_ticks([axis.low, *ticks], ["0", *(f"{tick:g}" for tick in ticks)])


def _rows(axes: Axes, axis: Axis) -> None:
    count = len(axis.names)
    axes.set_yticks(range(count), axis.names)
    axes.set_ylim(count - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    between = np.arange(0.5, count - 1)
    axes.hlines(between, 0, 1, transform=axes.get_yaxis_transform(), color="#eeeeee", lw=0.5)


def _legend_columns(chart: Chart, width: float) -> int:
    """How many columns of names fit into `width` inches, without a row almost empty."""
    names = [len(look.name) for look in chart.looks.values()]
    fitting = max(1, int(width / (max(names, default=1) / 17 + 0.5)))
    rows = max(-(-len(names) // fitting), 1)
    return max(-(-len(names) // rows), 1)


def wrap(text: str, width: float) -> str:
    """A note on lines of `width` inches."""
    return textwrap.fill(text, int(width * CHARACTERS_PER_INCH), break_on_hyphens=False)


def _add_note(made: Figure, text: str) -> None:
    made.supxlabel(
        wrap(text, made.get_figwidth()), fontsize=NOTE_SIZE, color="#444444", x=0.01, ha="left"
    )


def _sheet(chart: Chart) -> Figure:
    """Sample images: one row per method, one column per moment, values beside the tiles."""
    rows, columns = len(chart.sheet), len(chart.moments)
    known = [t.images for row in chart.sheet.values() for t in row if t.images is not None]
    count = max(map(len, known))
    lines = wrap(chart.note, style.DOUBLE).count("\n") + 3
    # A row is as high as one of its tiles; names and values take about the width of four.
    height = rows * style.DOUBLE / (columns * (count + 2) + 2) + lines * LINE_HEIGHT
    close = ConstrainedLayoutEngine(compress=True, h_pad=0.015, w_pad=0.02, hspace=0, wspace=0)
    made = Figure(figsize=(style.DOUBLE, height), layout=close)
    grid = made.subplots(rows, columns, squeeze=False)
    for line, (key, row) in zip(grid, chart.sheet.items(), strict=True):
        line[0].set_ylabel(chart.looks[key].name, rotation=0, ha="right", va="center")
        for axes, tiles in zip(line, row, strict=True):
            axes.imshow(_strip(known[0][:0] if tiles.images is None else tiles.images, count))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.annotate(
                tiles.text, (1, 0.5), (2, 0), xycoords="axes fraction", textcoords="offset points",
                va="center", fontsize=NOTE_SIZE,
            )  # fmt: skip
    for axes, moment in zip(grid[0], chart.moments, strict=True):
        axes.set_title(moment, fontsize=NOTE_SIZE, loc="left", pad=3)
    _add_note(made, chart.note)
    return made


def _strip(images: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """Up to `count` images in a row with white gaps; white where there are fewer."""
    side = images.shape[1]
    gap = max(1, round(GAP * side))
    strip = np.full((side, count, side + gap, 3), 255, np.uint8)
    strip[:, : len(images), :side] = images.swapaxes(0, 1)
    return strip.reshape(side, -1, 3)


def save(made: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write the figure in each format, without dates, so that a rerun gives the same bytes."""
    if (engine := made.get_layout_engine()) is not None:
        engine.execute(made)
        made.set_layout_engine(None)  # laid out once, for all formats alike
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    paths = [folder / f"{name}.{extension}" for extension in formats]
    for path, extension in zip(paths, formats, strict=True):
        made.savefig(path, dpi=style.DPI, metadata=undated.get(extension))
    return paths
