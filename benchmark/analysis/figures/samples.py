"""Generated samples of every method at the end of its budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmark.analysis import contents, formatting, style
from benchmark.analysis.curves import Traces
from benchmark.analysis.figures import layout
from benchmark.results import Results

TILES = 16
STORED_COLUMNS = 8
"""Tiles per row in a stored sample grid."""
GAP = 0.1
"""White space between tiles, as a share of a tile."""


def draw(results: Results, found: Traces, task: str) -> Figure | None:
    """One row of tiles per method, from its first seed with samples; None if there are none."""
    metric = contents.primary(results, task)
    strips, methods, values = [], [], []
    for method in contents.method_names(results):
        runs = contents.runs_of(results, task, method).sort_values("seed")
        for run in runs.to_dict("records"):
            tiles = load(run["samples"], run["tile"])
            if tiles is not None:
                strips.append(strip(tiles))
                methods.append(method)
                value = _final(found, task, method, metric.name, run["seed"])
                values.append(formatting.number(value))
                break
    if not strips:
        return None
    note = (
        f"{task}: the first {TILES} samples (not picked) of the incumbent at the end of the "
        f"budget, from the first seed that has any. Right: {metric.label} of that run."
    )
    return _figure(np.concatenate(strips), methods, values, metric.title, note)


def _figure(
    sheet: np.ndarray, methods: list[str], values: list[str], title: str, note: str
) -> Figure:
    """The sheet of tiles at the page's width, rows named on the left, valued on the right."""
    left = 0.15 + 0.062 * max(map(len, methods))
    right = 0.2 + 0.062 * max(map(len, [*values, title]))
    below, above = layout.note_height(note, style.DOUBLE) + 0.05, 0.2
    width = style.DOUBLE - left - right
    height = width * sheet.shape[0] / sheet.shape[1]
    total = height + below + above
    figure = Figure(figsize=(style.DOUBLE, total))
    box = (left / style.DOUBLE, below / total, width / style.DOUBLE, height / total)
    axes = figure.add_axes(box)
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([])
    tile = 1 / (1 + GAP)  # share of a row that the gap below leaves
    rows = (np.arange(len(methods)) + tile / 2) * sheet.shape[0] / len(methods)
    axes.set_yticks(rows, methods, fontsize=style.RC["font.size"])
    axes.tick_params(length=0)
    for row, value in zip(rows, values, strict=True):
        axes.annotate(
            value, (1, row), (4, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center",
        )  # fmt: skip
    axes.annotate(title, (1, 1), (4, 3), xycoords="axes fraction", textcoords="offset points")
    layout.add_note(figure, note)
    return figure


def load(path: object, tile: float) -> np.ndarray | None:
    """`(k, tile, tile, 3)` uint8 tiles of a stored grid, k <= 16; None if there is no file.

    Raises ValueError if the file is not a grid of 8 columns of that tile.
    """
    if not isinstance(path, str | Path) or not Path(path).is_file():
        return None
    with Image.open(path) as image:
        grid = np.asarray(image.convert("RGB"))
    side = int(tile)
    height, width = grid.shape[:2]
    if width != STORED_COLUMNS * side or height % side:
        raise ValueError(
            f"{path} is {width} x {height} pixels, not rows of {STORED_COLUMNS} tiles of {side}"
        )
    tiles = grid.reshape(height // side, side, STORED_COLUMNS, side, 3).swapaxes(1, 2)
    return tiles.reshape(-1, side, side, 3)[:TILES]


def strip(tiles: np.ndarray) -> np.ndarray:
    """`TILES` places side by side with white gaps, and a gap below."""
    side = tiles.shape[1]
    gap = max(1, round(GAP * side))
    canvas = np.full((side + gap, TILES * (side + gap), 3), 255, dtype=np.uint8)
    for position, tile in enumerate(tiles):
        start = position * (side + gap)
        canvas[:side, start : start + side] = tile
    return canvas


def _final(found: Traces, task: str, method: str, metric: str, seed: int) -> float:
    for trace in found.of(task, method, metric):
        if trace.seed == seed:
            return float(trace.values[-1])
    return float("nan")
