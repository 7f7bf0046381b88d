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

from benchmark.display import style
from benchmark.display.chart import Array, Axis, Chart, Look, Panel, Series, bounded
from benchmark.display.drawing import FORMATS

with style.quiet():
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

SMALL = 6.0
NOTE_SIZE = 6.5
PALE = "#6e6e6e"
"""Text that stands back; 5 : 1 on white."""
LINE_HEIGHT = 0.14
CHARACTERS_PER_INCH = 21
LABEL_STEP = 0.075
"""Share of a panel's height from one name to the next."""
GAP = 0.1
"""White space between sample images, as a share of one."""
WIDE_TICK = 5
"""Characters from which on five tick labels side by side would meet."""


def figure(chart: Chart) -> Figure:
    """The chart with its legend above and its note below the panels."""
    if chart.sheet:
        return _sheet(chart)
    count = len(chart.panels)
    columns = chart.columns or {1: 1, 2: 2, 4: 2}.get(count, 3)
    rows = -(-count // columns)
    width = style.SINGLE if count == 1 and columns == 1 and len(chart.looks) < 15 else style.DOUBLE
    handles = [] if chart.direct else [_handle(chart, key) for key in chart.looks]
    extra = note_height(chart.note, width) + _legend_height(handles, width)
    made = Figure(figsize=(width, rows * chart.height + extra), layout="constrained")
    rowed = bool(chart.panels[0].y.names)
    grid = made.subplots(rows, columns, squeeze=False, sharey=rowed).ravel()
    for unused in grid[count:]:
        unused.remove()
    for axes, panel in zip(grid, chart.panels, strict=False):
        _panel(axes, panel, chart)
    if handles:
        made.legend(
            handles=handles, loc="outside upper center", columnspacing=1.2, borderaxespad=0.2,
            ncols=_legend_columns([str(handle.get_label()) for handle in handles], width),
        )  # fmt: skip
    _add_note(made, chart.note)
    return made


def _panel(axes: Axes, panel: Panel, chart: Chart) -> None:
    axes.set_title(panel.title, pad=11 if panel.remark else None)
    if panel.remark:
        axes.annotate(
            panel.remark, (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
            ha="center", fontsize=SMALL, color=PALE,
        )  # fmt: skip
    if panel.y.names:
        _rows(axes, panel.y)
    if panel.empty:
        axes.text(0.5, 0.5, panel.empty, transform=axes.transAxes, ha="center", color=PALE)
        axes.set_xticks([])
        if not panel.y.names:
            axes.set_yticks([])
        return
    _scale(axes, panel.x, "x")
    if not panel.y.names:
        _scale(axes, panel.y, "y")
        axes.grid()
    for rule in panel.rules:
        draw = axes.axvline if rule.axis == "x" else axes.axhline
        draw(rule.at, color="#888888", lw=0.8, ls="--" if rule.dashed else ":", zorder=1)
    for order, series in enumerate(panel.series):
        _series(axes, panel, series, chart.looks[series.look], order)
    for note in panel.notes:
        place: dict[str, Any] = {"textcoords": "offset points", "xytext": (3, 3), "va": "bottom"}
        if note.x is None:
            place = {"xycoords": axes.get_yaxis_transform(), "va": "center_baseline"}
        edge = 0.02 if note.inside else 1.01
        colour = PALE if note.inside else chart.looks[note.look].colour if note.look else "#444444"
        axes.annotate(
            note.text, (edge if note.x is None else note.x, note.y), color=colour, zorder=6,
            fontsize=SMALL, annotation_clip=False, **place,
        )  # fmt: skip
    if chart.direct:
        _label_ends(axes, panel, chart)


def _series(axes: Axes, panel: Panel, series: Series, look: Look, order: int) -> None:
    x, y = _at(panel.x, series.x), _at(panel.y, series.y)
    if not (np.isfinite(x) & np.isfinite(y)).any():
        return  # an empty line would reach to the corner of the page
    front = 2.2 if series.faint else 3 + order / 100 + look.width * (series.marks != "none")
    pale = 0.35 if series.faint else 1.0
    colour: dict[str, Any] = {"color": look.colour, "alpha": pale}
    if series.join == "bars" and series.left is not None and series.right is not None:
        axes.barh(
            y, series.right - series.left, left=series.left, height=0.7, lw=0.4, fc=look.colour,
            ec="white" if look.colour != "#ffffff" else "#888888", hatch=look.hatch,
        )  # fmt: skip
        return
    if series.low is not None and series.high is not None and series.band:
        low, high = _at(panel.y, series.low), _at(panel.y, series.high)
        if series.join:
            steps: dict[str, Any] = {"step": "post"} if series.join == "steps" else {}
            axes.fill_between(x, low, high, color=look.colour, alpha=0.12, lw=0, **steps)
        else:
            axes.vlines(x, low, high, lw=0.9, zorder=front - 0.5, **colour)
    if series.left is not None and series.right is not None:
        left, right = _at(panel.x, series.left), _at(panel.x, series.right)
        axes.hlines(y, left, right, lw=0.9, zorder=front - 0.5, **colour)
    if series.join:
        axes.plot(
            x, y, drawstyle="steps-post" if series.join == "steps" else "default", zorder=front,
            ls=(0, look.dash) if look.dash else "-", lw=0.5 if series.faint else look.width,
            marker=None if series.marks == "none" else look.marker,
            markevery=_few(len(x), order) if series.marks == "few" else None, **colour,
        )  # fmt: skip
    else:
        hollow = series.marks == "open" or bool(look.dash)
        axes.plot(
            x, y, ls="", marker=look.marker, ms=2 if series.faint else 4.5, mew=0.8,
            mfc="white" if hollow and not series.faint else look.colour, mec=look.colour,
            alpha=pale, zorder=front, clip_on=False,
        )  # fmt: skip


def _few(count: int, order: int) -> list[int]:
    """Places of about six marks, shifted from line to line so that they do not meet."""
    places = np.linspace(0, count - 1, 25)[order * 5 % 4 :: 4] if count > 6 else range(count)
    return sorted({int(place) for place in places})


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


def _label_ends(axes: Axes, panel: Panel, chart: Chart) -> None:
    """Name every line at its end, names apart from each other."""
    to_axes = axes.transScale + axes.transLimits
    places: dict[str, float] = {}
    for series in panel.series:
        known = np.flatnonzero(np.isfinite(series.y))
        if len(known):
            end = panel.x.high, float(_at(panel.y, series.y)[known[-1]])
            places[series.look] = float(np.clip(to_axes.transform(end)[1], 0, 1))
    order = sorted(places, key=lambda look: places[look])
    for key, height in zip(order, spread([places[key] for key in order], LABEL_STEP), strict=True):
        look = chart.looks[key]
        axes.plot(
            1.03, height, transform=axes.transAxes, marker=look.marker, ms=3.5, ls="",
            color=look.colour, clip_on=False,
        )  # fmt: skip
        axes.annotate(
            look.name, (1.08, height), xycoords="axes fraction", va="center_baseline",
            fontsize=NOTE_SIZE, annotation_clip=False,
        )  # fmt: skip


def spread(targets: Sequence[float], step: float) -> list[float]:
    """Places in [0, 1], as near to increasing `targets` as labels `step` apart can be."""
    step = min(step, 1 / max(len(targets) - 1, 1))
    places: list[float] = []
    for target in targets:
        places.append(max(target, places[-1] + step if places else 0.0))
    for index in reversed(range(len(places))):
        places[index] = min(places[index], 1 - step * (len(places) - 1 - index))
    return places


def _handle(chart: Chart, key: str) -> Any:
    look = chart.looks[key]
    own = [series for panel in chart.panels for series in panel.series if series.look == key]
    if any(series.join == "bars" for series in own):
        edge = "white" if look.colour != "#ffffff" else "#888888"
        return Patch(label=look.name, lw=0.4, fc=look.colour, ec=edge, hatch=look.hatch)
    line = (0, look.dash) if look.dash else "-"
    joined = any(series.join for series in own)
    bare = all(series.marks == "none" for series in own)
    return Line2D(
        [], [], label=look.name, color=look.colour, lw=look.width, ls=line if joined else "",
        marker="" if bare else look.marker, mfc="white" if look.dash and not joined else None,
    )  # fmt: skip


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of these labels fit into `width` inches, without a row almost empty."""
    longest = max((len(label) for label in labels), default=1)
    fitting = max(1, min(len(labels), int(width / (longest / 17 + 0.5))))
    return max(1, -(-len(labels) // max(-(-len(labels) // fitting), 1)))


def _legend_height(handles: Sequence[Any], width: float) -> float:
    labels = [str(handle.get_label()) for handle in handles]
    return LINE_HEIGHT * -(-len(labels) // _legend_columns(labels, width)) + 0.1


def wrap(text: str, width: float) -> str:
    return textwrap.fill(text, int(width * CHARACTERS_PER_INCH), break_on_hyphens=False)


def note_height(text: str, width: float) -> float:
    """Inches that the note needs under a figure of `width` inches."""
    return LINE_HEIGHT * (wrap(text, width).count("\n") + 1) + 0.05


def _add_note(made: Figure, text: str) -> None:
    made.supxlabel(
        wrap(text, made.get_figwidth()), fontsize=NOTE_SIZE, color="#444444", x=0.01, ha="left"
    )


def _sheet(chart: Chart) -> Figure:
    """Sample images: one row per method, one block per moment, values beside the tiles."""
    rows = list(chart.sheet.values())
    names = [chart.looks[key].name for key in chart.sheet]
    left = 0.15 + 0.062 * max(map(len, names))
    beside = 0.12 + 0.055 * max(len(tiles.text) for row in rows for tiles in row)
    below, above, blocks = note_height(chart.note, style.DOUBLE) + 0.05, 0.2, len(chart.moments)
    block = (style.DOUBLE - left) / blocks - beside
    known = [tiles.images for row in rows for tiles in row if tiles.images is not None]
    side, count = max(len(images[0]) for images in known), max(map(len, known))
    sheets = [
        np.concatenate([_strip(row[column].images, side, count) for row in rows])
        for column in range(blocks)
    ]
    height = block * sheets[0].shape[0] / sheets[0].shape[1]
    total = height + below + above
    made = Figure(figsize=(style.DOUBLE, total))
    places = (np.arange(len(rows)) + 0.5 / (1 + GAP)) * sheets[0].shape[0] / len(rows)
    for column, (moment, sheet) in enumerate(zip(chart.moments, sheets, strict=True)):
        start = (left + column * (block + beside)) / style.DOUBLE
        axes = made.add_axes((start, below / total, block / style.DOUBLE, height / total))
        axes.imshow(sheet, interpolation="nearest", aspect="auto")
        for edge in axes.spines.values():
            edge.set_visible(False)
        axes.set_xticks([])
        axes.set_yticks(places, names if column == 0 else [""] * len(names))
        axes.tick_params(length=0, labelsize="medium")
        beside_tiles: dict[str, Any] = {"textcoords": "offset points", "fontsize": NOTE_SIZE}
        for place, row in zip(places, rows, strict=True):
            axes.annotate(
                row[column].text, (1, place), (3, 0), xycoords=("axes fraction", "data"),
                va="center", **beside_tiles,
            )  # fmt: skip
        axes.annotate(moment, (0, 1), (0, 3), xycoords="axes fraction", **beside_tiles)
    _add_note(made, chart.note)
    return made


def _strip(images: np.ndarray | None, side: int, count: int) -> np.ndarray:
    """`count` places of `side` pixels in a row with white gaps, and a gap below."""
    gap = max(1, round(GAP * side))
    canvas = np.full((side + gap, count * (side + gap), 3), 255, dtype=np.uint8)
    for position, tile in enumerate(images if images is not None else ()):
        start = position * (side + gap)
        canvas[: len(tile), start : start + len(tile)] = tile
    return canvas


def save(made: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write the figure in each format, without dates, so that a rerun gives the same bytes."""
    FigureCanvasAgg(made)
    if (engine := made.get_layout_engine()) is not None:
        engine.execute(made)
        made.set_layout_engine("none")  # laid out once, for all formats alike
    written = []
    for extension in formats:
        path = folder / f"{name}.{extension}"
        _write(made, path)
        made.set_dpi(style.DPI)  # vector formats leave theirs behind
        written.append(path)
    return written


def _write(made: Figure, path: Path) -> None:
    """Straight to the back ends, each imported where it is asked for: `Figure.savefig` would draw
    each figure a second time for layout."""
    match path.suffix:
        case ".png":
            FigureCanvasAgg(made).print_png(path)
        case ".pdf":
            from matplotlib.backends.backend_pdf import FigureCanvasPdf

            FigureCanvasPdf(made).print_pdf(path, metadata={"CreationDate": None})
        case ".svg":
            from matplotlib.backends.backend_svg import FigureCanvasSVG

            FigureCanvasSVG(made).print_svg(path, metadata={"Date": None})
        case other:
            raise ValueError(f"figures are written as {', '.join(FORMATS)}, not as {other!r}")
