"""Columns of text as wide as a terminal, of which nothing is cut."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

GAP = "  "


def layout(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lines of at most `width` cells: columns that do not fit beside the first one follow below
    it, again with the first one, and longer texts go on in the next line."""
    columns = [
        [" ".join(text.split()) for text in column] for column in zip(head, *rows, strict=True)
    ]
    if not columns:
        return []
    first, others = columns[0], columns[1:]
    sizes = [max(map(cell_len, column)) for column in columns]
    if sizes[0] > max(width // 2, 8) and sum(sizes) + 2 * len(others) > width:
        sizes[0] = max(width // 2, 8)
    room = max(width - sizes[0] - 2, 8)
    bands: list[list[tuple[list[str], int]]] = [[]]
    used = 0
    for column, size in zip(others, sizes[1:], strict=True):
        size = min(size, room)
        if bands[-1] and used + size > room:
            bands.append([])
            used = 0
        bands[-1].append((column, size))
        used += size + 2
    lines: list[str] = []
    for band in bands:
        lines += [""] if lines else []
        for row in zip(first, *(column for column, _ in band), strict=True):
            lines += _cells(row, [sizes[0], *(size for _, size in band)])
    return lines


def _cells(texts: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """One row on as many lines as its longest cell takes."""
    parts = [_folded(text, size) for text, size in zip(texts, sizes, strict=True)]
    height = max(map(len, parts))
    filled = [part + [""] * (height - len(part)) for part in parts]
    return [
        GAP.join(
            text + " " * (size - cell_len(text)) for text, size in zip(line, sizes, strict=True)
        ).rstrip()
        for line in zip(*filled, strict=True)
    ]


def _folded(text: str, size: int) -> list[str]:
    """The text on lines of at most `size` cells, between words where that is possible."""
    if cell_len(text) <= size:
        return [text]
    words = textwrap.wrap(text, size, break_long_words=False, break_on_hyphens=False) or [""]
    return [piece for line in words for piece in (chop_cells(line, size) or [""])]
