"""Samples of every method at moments of the budget, as data URIs of bounded size."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmark.analysis import measures
from benchmark.display import formatting
from benchmark.display.figures import samples
from benchmark.study.model import Study

TILES = 16
LARGEST_TILE = 64
"""Pixels: larger tiles are shrunk, and stored with loss."""
QUALITY = 80
GRID = re.compile(r"samples-(\d+)\.png")


@dataclass(frozen=True)
class Picture:
    """What one run would have delivered from a moment on."""

    since: int
    """Index of the first of the gallery's moments at which this is delivered."""
    source: str
    width: int
    height: int
    caption: str
    pixelated: bool


@dataclass(frozen=True)
class Strip:
    """One method's pictures; `method` is its index."""

    name: str
    method: int
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Gallery:
    """All methods of a task, one seed."""

    tiles: int
    """How many samples a picture shows at most."""
    seed: int
    moments: Sequence[str]
    strips: Sequence[Strip]


def gallery(study: Study, task: str) -> Gallery | None:
    """The first seed with pictures of most methods; None if there are none."""
    runs = study.task(task).runs()
    runs = runs[runs["samples"].notna()]
    if runs.empty:
        return None
    counts = Counter(sorted(int(seed) for seed in runs["seed"]))
    seed = counts.most_common(1)[0][0]
    order = list(study.methods)
    strips = []
    for run in sorted(
        runs[runs["seed"] == seed].to_dict("records"), key=lambda run: order.index(run["method"])
    ):
        pictures = _pictures(study, task, run["method"], seed, Path(run["samples"]))
        if pictures:
            strips.append(Strip(run["method"], order.index(run["method"]), pictures))
    unit, budget = study.task(task).unit, study.task(task).budget
    moments = [
        f"{formatting.percent(share)} of the budget ({formatting.duration(share * budget, unit)})"
        for share in measures.FRACTIONS
    ]
    return Gallery(TILES, seed, moments, strips) if strips else None


def _pictures(study: Study, task: str, method: str, seed: int, last: Path) -> list[Picture]:
    grids = _grids(last)
    delivered = _delivered(study.frame, task, method, seed)
    delivered = delivered[delivered["trial"].isin(list(grids))]
    metric = study.task(task).primary
    unit, budget = study.task(task).unit, study.task(task).budget
    trace = next((t for t in study.task(task).trace(method, metric.name) if t.seed == seed), None)
    pictures: list[Picture] = []
    shown = None
    for index, share in enumerate(measures.FRACTIONS):
        # A run may pass its budget by one primitive step: that still counts as its end.
        before = delivered if share == 1.0 else delivered[delivered["hours"] <= share * budget]
        if before.empty or before["trial"].iloc[-1] == shown:
            continue
        shown, hours = before[["trial", "hours"]].iloc[-1]
        value = float(trace.at(min(hours, trace.end))) if trace else float("nan")
        caption = f"{metric.label} {formatting.number(value)}, delivered after "
        pictures.append(
            _picture(grids[int(shown)], index, caption + formatting.duration(hours, unit))
        )
    return pictures


def _grids(last: Path) -> dict[int, Path]:
    """Sample grids of a run by number of trial or report."""
    found = ((GRID.fullmatch(path.name), path) for path in sorted(last.parent.iterdir()))
    return {int(match[1]): path for match, path in found if match}


def _delivered(frame: pd.DataFrame, task: str, method: str, seed: int) -> pd.DataFrame:
    """`trial, hours` of the run's incumbents in order."""
    chosen = (frame["task"] == task) & (frame["method"] == method) & (frame["seed"] == seed)
    rows = frame[chosen & frame["incumbent"].astype(bool)].drop_duplicates("event")
    rows = rows.sort_values("event", kind="stable")
    return rows[["trial", "gpu_hours"]].rename(columns={"gpu_hours": "hours"})


def _picture(path: Path, since: int, caption: str) -> Picture:
    with Image.open(path) as image:
        side = image.width // samples.STORED_COLUMNS
    tiles = samples.load(path, side, TILES)
    assert tiles is not None  # the path was listed a moment ago
    small = side <= LARGEST_TILE
    if not small:
        tiles = np.stack([_shrunk(tile) for tile in tiles])
    sheet = mosaic(tiles)
    buffer = io.BytesIO()
    options = {"lossless": True} if small else {"quality": QUALITY}
    sheet.save(buffer, "WEBP", method=4, **options)
    source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(since, source, sheet.width, sheet.height, caption, pixelated=small)


def _shrunk(tile: np.ndarray) -> np.ndarray:
    size = (LARGEST_TILE, LARGEST_TILE)
    return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS))


def mosaic(tiles: np.ndarray) -> Image.Image:
    """`(k, s, s, 3)` uint8 tiles in rows of eight with transparent gaps between them."""
    count, side = tiles.shape[:2]
    columns = min(count, samples.STORED_COLUMNS)
    rows = -(-count // columns)
    gap = max(1, round(samples.GAP * side / 2))
    step = side + gap
    canvas = np.zeros((rows * step - gap, columns * step - gap, 4), dtype=np.uint8)
    for position, tile in enumerate(tiles):
        row, column = divmod(position, columns)
        top, left = row * step, column * step
        canvas[top : top + side, left : left + side, :3] = tile
        canvas[top : top + side, left : left + side, 3] = 255
    return Image.fromarray(canvas, "RGBA")
