"""Generated samples of every method over its budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmark.display import formatting, style
from benchmark.display.figures import layout
from benchmark.study.model import Study
from benchmark.study.traces import Trace

TILES = 6
FRACTIONS = (0.25, 0.5, 1.0)
STORED_COLUMNS = 8
"""Tiles per row in a stored sample grid."""
GAP = 0.1
"""White space between tiles, as a share of a tile."""
Block = tuple[np.ndarray | None, str]
"""Tiles of one method at one share of the budget, and the metric in words."""


def draw(study: Study, task: str) -> Figure | None:
    """One row of tiles per method and one block per share of the budget, from the method's first
    seed with samples; None if there are none."""
    metric = study.task(task).primary
    rows: dict[str, list[Block]] = {}
    for method in study.methods:
        runs = study.task(task).runs(method).sort_values("seed")
        for run in runs.to_dict("records"):
            if load(run["samples"], run["tile"]) is not None:
                traces = study.task(task).trace(method, metric.name)
                trace = next((trace for trace in traces if trace.seed == run["seed"]), None)
                rows[method] = _blocks(study, run, trace)
                break
    if not rows:
        return None
    note = (
        f"{task}: the first {TILES} samples (not picked, the same noise where a task keeps it) of "
        f"the incumbent at shares of the budget, from each method's first seed that has any. "
        f"Beside them: its {metric.title}. Empty: nothing delivered yet."
    )
    return _figure(rows, note)


def _blocks(study: Study, run: dict[Any, Any], trace: Trace | None) -> list[Block]:
    """What the run showed last, and its metric, at each of `FRACTIONS`."""
    own = study.task(run["task"]).events(run["method"], run["seed"])
    taken = own[own["incumbent"]].drop_duplicates("event", keep="last").sort_values("event")
    newest = Path(run["samples"])
    stored = [
        (hours, file)
        for hours, trial in zip(taken["gpu_hours"], taken["trial"], strict=True)
        if (file := newest.with_name(f"samples-{trial:06d}.png")).is_file()
    ]
    blocks: list[Block] = []
    for fraction in FRACTIONS:
        moment = fraction * run["budget"]
        files = [file for hours, file in stored if hours <= moment]
        if fraction == 1.0:
            files = [newest]
        tiles = load(files[-1], run["tile"]) if files else None
        value = float(trace.at(moment)) if trace is not None and files else float("nan")
        blocks.append((tiles, formatting.number(value) if files else ""))
    return blocks


def _figure(rows: dict[str, list[Block]], note: str) -> Figure:
    """Blocks side by side at the page's width, rows named on the left, valued beside tiles."""
    left = 0.15 + 0.062 * max(map(len, rows))
    beside = 0.12 + 0.055 * max(len(value) for blocks in rows.values() for _, value in blocks)
    below, above = layout.note_height(note, style.DOUBLE) + 0.05, 0.2
    width = (style.DOUBLE - left) / len(FRACTIONS) - beside
    side = next(
        tiles.shape[1] for blocks in rows.values() for tiles, _ in blocks if tiles is not None
    )
    sheets = [
        np.concatenate([strip(blocks[column][0], side) for blocks in rows.values()])
        for column in range(len(FRACTIONS))
    ]
    height = width * sheets[0].shape[0] / sheets[0].shape[1]
    total = height + below + above
    figure = Figure(figsize=(style.DOUBLE, total))
    tile = 1 / (1 + GAP)  # share of a row that the gap below leaves
    places = (np.arange(len(rows)) + tile / 2) * sheets[0].shape[0] / len(rows)
    for column, (fraction, sheet) in enumerate(zip(FRACTIONS, sheets, strict=True)):
        start = left + column * (width + beside)
        axes = figure.add_axes(
            (start / style.DOUBLE, below / total, width / style.DOUBLE, height / total)
        )
        axes.imshow(sheet, interpolation="nearest", aspect="auto")
        for edge in axes.spines.values():
            edge.set_visible(False)
        axes.set_xticks([])
        axes.set_yticks(places, list(rows) if column == 0 else [""] * len(rows))
        axes.tick_params(length=0, labelsize=style.RC["font.size"])
        for place, blocks in zip(places, rows.values(), strict=True):
            axes.annotate(
                blocks[column][1], (1, place), (3, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=6.5,
            )  # fmt: skip
        axes.annotate(
            f"{formatting.percent(fraction)} of the budget", (0, 1), (0, 3),
            xycoords="axes fraction", textcoords="offset points",
        )  # fmt: skip
    layout.add_note(figure, note)
    return figure


def load(path: object, tile: float, count: int = TILES) -> np.ndarray | None:
    """`(k, tile, tile, 3)` uint8 tiles of a stored grid, k <= `count`; None if there is no file.

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
    return tiles.reshape(-1, side, side, 3)[:count]


def strip(tiles: np.ndarray | None, side: int) -> np.ndarray:
    """`TILES` places of `side` pixels in a row with white gaps, and a gap below."""
    gap = max(1, round(GAP * side))
    canvas = np.full((side + gap, TILES * (side + gap), 3), 255, dtype=np.uint8)
    for position, tile in enumerate(tiles if tiles is not None else ()):
        start = position * (side + gap)
        canvas[:side, start : start + side] = tile
    return canvas
