"""Columns of text as wide as a terminal, of which nothing is cut."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2
NARROWEST = 8


def layout(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines of at most `width` cells: columns that do not fit beside the first one follow below
    it, again with the first one, and longer texts go on in the next line."""
    columns = [
        [" ".join(text.split()) for text in column] for column in zip(head, *rows, strict=True)
    ]
    sizes = [max(map(cell_len, column)) for column in columns]
    if columns and sum(sizes) + GAP * (len(sizes) - 1) > width:
        sizes[0] = min(sizes[0], max(width // 2, NARROWEST))
        sizes[1:] = [min(size, max(width - sizes[0] - GAP, NARROWEST)) for size in sizes[1:]]
    bands: list[list[int]] = [[0]] if columns else []
    for place in range(1, len(columns)):
        beside = sum(sizes[other] + GAP for other in bands[-1])
        if len(bands[-1]) > 1 and beside + sizes[place] > width:
            bands.append([0])
        bands[-1].append(place)
    parts = [_band([columns[k] for k in band], [sizes[k] for k in band]) for band in bands]
    return "\n\n".join(parts).split("\n") if parts else []


def _band(columns: Sequence[Sequence[str]], sizes: Sequence[int]) -> str:
    """The columns side by side, folded to their sizes between words where that is possible."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    for size in sizes:
        table.add_column(width=size, overflow="fold")
    for row in zip(*columns, strict=True):
        table.add_row(*map(Text, row))
    stream = io.StringIO()
    width = sum(sizes) + GAP * len(sizes)
    Console(file=stream, width=width, color_system=None, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
