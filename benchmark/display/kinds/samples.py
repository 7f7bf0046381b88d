"""How the samples look over the budget."""

from __future__ import annotations

import io
import logging
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.display import style
from benchmark.display.chart import Chart, Tiles
from benchmark.display.formatting import duration, number, percent
from benchmark.study.model import Study, Task

TITLE = "How do the samples look over the budget?"
SHARES = (0.25, 0.5, 1.0)
"""Shares of the budget at which samples are shown."""
TILES = 6
STORED_COLUMNS = 8
"""Tiles per row in a stored sample grid."""
log = logging.getLogger("benchmark.display")


def draw(study: Study, task: Task) -> Chart | None:
    """One row of tiles per method and one block per share of the budget; None without samples.

    All methods show the seed for which most of them have pictures, or else their first one.
    """
    runs = task.runs()
    runs = runs[runs["samples"].notna()].sort_values("seed")
    if runs.empty:
        return None
    common = Counter(runs["seed"].tolist()).most_common(1)[0][0]
    sheet, seeds = {}, {}
    for label in task.methods:
        own = runs[runs["method"] == label]
        own = own.iloc[np.argsort(own["seed"] != common, kind="stable")]
        for run in own.to_dict("records"):
            row = _row(task, run)
            if any(tiles.images is not None for tiles in row):
                sheet[label], seeds[label] = row, run["seed"]
                break
    if not sheet:
        return None
    looks = {label: look for label, look in style.looks(study).items() if label in sheet}
    others = [f"{seed} of {looks[label].name}" for label, seed in seeds.items() if seed != common]
    note = (
        f"{task.name}: the first {TILES} samples, not picked, of what each method would deliver "
        f"(seed {', '.join([str(common), *others])}; the same noise where the task keeps it). "
        f"Beside them: {task.primary.title}. Empty: nothing delivered yet."
    )
    moments = [
        f"{percent(share)} of the budget ({duration(share * task.budget, task.unit)})"
        for share in SHARES
    ]
    return Chart("samples", TITLE, note, looks, moments=moments, sheet=sheet)


def _row(task: Task, run: dict[Any, Any]) -> list[Tiles]:
    """What the run would have delivered at each share of its budget, and its metric."""
    label, seed, newest = run["method"], run["seed"], Path(run["samples"])
    own = task.events(label, seed)
    taken = own[own["incumbent"]].drop_duplicates("event", keep="last").sort_values("event")
    trace = next((t for t in task.trace(label, task.primary.name) if t.seed == seed), None)
    row = []
    for share in SHARES:
        moment = share * run["budget"]
        # A run may pass its budget by one primitive step: that still counts as its end.
        before = taken if share == 1.0 else taken[taken["gpu_hours"] <= moment]
        files = [newest.with_name(f"samples-{trial:06d}.png") for trial in before["trial"]]
        files = [newest] * (share == 1.0) + [f for f in files if task.study.has_picture(f)]
        if not files:
            row.append(Tiles(None, ""))
            continue
        value = float(trace.at(moment)) if trace else float("nan")
        row.append(Tiles(_loaded(task.study, files[-1]), number(value)))
    return row


def _loaded(study: Study, file: Path) -> npt.NDArray[np.uint8] | None:
    """The tiles, or None, with a line that names the file, where it cannot be read."""
    try:
        return load(io.BytesIO(study.picture(file)))
    except (OSError, ValueError, SyntaxError) as error:
        _left_out(file, " ".join(str(error).split()))
        return None


@cache
def _left_out(file: Path, reason: str) -> None:
    """One line about a picture, however often it would have been shown."""
    log.warning("left out picture %s: %s", file, reason)


def load(file: Path | BinaryIO) -> npt.NDArray[np.uint8]:
    """`(k, s, s, 3)` tiles of a stored grid, k <= `TILES`.

    Raises ValueError if the file is not a grid of 8 columns of squares, OSError if it is damaged.
    """
    with Image.open(file) as image:
        grid = np.asarray(image.convert("RGB"))
    height, width = grid.shape[:2]
    side = width // STORED_COLUMNS
    if not side or width % STORED_COLUMNS or height % side:
        raise ValueError(f"{width} x {height} pixels are not rows of {STORED_COLUMNS} squares")
    tiles = grid.reshape(height // side, side, STORED_COLUMNS, side, 3).swapaxes(1, 2)
    return tiles.reshape(-1, side, side, 3)[:TILES]
