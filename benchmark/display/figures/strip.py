"""The stored samples of a fine-tuning task, from over-optimised to under-optimised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from benchmark.display import formatting, style
from benchmark.display.figures import layout
from benchmark.study.model import Metric, Study

LEFT, RIGHT, ABOVE, BELOW = 0.45, 0.06, 0.34, 0.2
"""Inches around the samples."""
LONGEST = 9
"""Characters of a metric's title that fit on the left; a longer one is only in the note."""
GAP = 0.1
"""White space between tiles, as a share of a tile."""


def draw(study: Study, task: str) -> Figure | None:
    """Columns of samples by strength, rows from the same noise; None if none are stored."""
    landscape = study.task(task).landscape
    if landscape is None or not landscape["strip"]:
        return None
    metric = study.task(task).primary
    strip = landscape["strip"]
    strengths = strip["lambdas"]
    known = {point["lambda"]: point[metric.name] for point in landscape["points"]}
    values = [known[strength] for strength in strengths]
    samples = landscape["evaluator"].get("samples")
    classes = len(study.task(task).variables) > 1
    note = (
        f"{task}: samples (not picked) at {len(strengths)} entropy strengths"
        f"{', all classes alike' if classes else ''}; each row from the same noise. "
        f"{metric.label}{f' of {samples} samples' if samples else ''}; framed: the best column."
    )
    sheet = with_gaps(Path(strip["image"]), strip["rows"], len(strengths))
    best = int(np.nanargmax(values) if metric.higher_is_better else np.nanargmin(values))
    return _figure(sheet, strengths, values, best, metric, note)


def with_gaps(file: Path, rows: int, columns: int) -> np.ndarray:
    """The tiled picture as RGB with white gaps below and right of every tile.

    Raises ValueError if the picture cannot be cut into so many tiles.
    """
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    if height % rows or width % columns:
        raise ValueError(f"{file} ({width} x {height}) is not {columns} x {rows} tiles")
    tiles = pixels.reshape(rows, height // rows, columns, width // columns, 3)
    gap = max(1, round(GAP * tiles.shape[1]))
    padded = np.pad(tiles, ((0, 0), (0, gap), (0, 0), (0, gap), (0, 0)), constant_values=255)
    sheet: np.ndarray = padded.reshape(rows * padded.shape[1], columns * padded.shape[3], 3)
    return sheet[:-gap, :-gap]


def _figure(
    sheet: np.ndarray,
    strengths: list[float],
    values: list[float],
    best: int,
    metric: Metric,
    note: str,
) -> Figure:
    """One column of the page wide, strengths and metric above the samples."""
    below = layout.note_height(note, style.SINGLE) + BELOW
    width = style.SINGLE - LEFT - RIGHT
    height = width * sheet.shape[0] / sheet.shape[1]
    total = below + height + ABOVE
    figure = Figure(figsize=(style.SINGLE, total))
    box = (LEFT / style.SINGLE, below / total, width / style.SINGLE, height / total)
    axes = figure.add_axes(box)
    axes.imshow(sheet, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    share = (1 + GAP) / (len(strengths) * (1 + GAP) - GAP)
    for column, (strength, value) in enumerate(zip(strengths, values, strict=True)):
        weight = "bold" if column == best else "normal"
        centre = (column + 0.5 / (1 + GAP)) * share
        for text, height_above in ((f"{float(f'{strength:.2g}'):g}", 13), (_number(value), 4)):
            axes.annotate(
                text, (centre, 1), (0, height_above), xycoords="axes fraction",
                textcoords="offset points", ha="center", fontsize=6.5, weight=weight,
            )  # fmt: skip
    short = metric.title if len(metric.title) <= LONGEST else metric.direction
    for text, height_above in (("λ", 13), (short, 4)):
        axes.annotate(
            text, (0, 1), (-4, height_above), xycoords="axes fraction",
            textcoords="offset points", ha="right", fontsize=6.5,
        )  # fmt: skip
    edge = GAP / 2 / (1 + GAP) * share
    axes.add_patch(
        Rectangle(
            (best * share - edge, -0.008), share / (1 + GAP) + 2 * edge, 1.016,
            transform=axes.transAxes, fill=False, ec=style.BLACK, lw=1.4, clip_on=False,
        )
    )  # fmt: skip
    for x, side, text in ((0, "left", "← over-optimised"), (1, "right", "under-optimised →")):
        axes.annotate(
            text, (x, 0), (0, -5), xycoords="axes fraction", textcoords="offset points",
            ha=side, va="top", fontsize=6.5,
        )  # fmt: skip
    layout.add_note(figure, note)
    return figure


def _number(value: float) -> str:
    return formatting.number(value, 2).replace("-", "\N{MINUS SIGN}")
