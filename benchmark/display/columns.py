"""Columns that several tables share: how a cell follows from a row of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

from benchmark.analysis.measures import FRACTIONS
from benchmark.display.formatting import MISSING, count, duration, estimate, number, percent
from benchmark.display.style import NOT_RANKED
from benchmark.display.table import Cell, Column, Row
from benchmark.study.model import Study, Task

FINAL = "at the end [95 % t]"


def text(title: str, key: str = "") -> Column:
    """A text of the row; its key is the title unless another one is given."""
    return Column(title, lambda row: Cell(str(row[key or title] or MISSING)))


def numeric(
    title: str, key: str = "", written: Callable[[float], str] = number, meaning: str = ""
) -> Column:
    """A number of the row, which the column is sorted by."""
    return Column(title, lambda row: valued(written(row[key or title]), row[key or title]), meaning)


def valued(shown: str, value: float) -> Cell:
    """A text that is sorted by a number; without one it stands last."""
    return Cell(shown, None if math.isnan(value) else float(value))


def interval(title: str = FINAL, value: str = "mean") -> Column:
    """An estimate with its interval."""
    return Column(
        title, lambda row: valued(estimate(row[value], row["low"], row["high"]), row[value])
    )


def runs() -> Column:
    return numeric("n", written=str, meaning="runs with a finite value")


def p_value(title: str, key: str, meaning: str = "") -> Column:
    return numeric(title, key, lambda p: number(p, 2), meaning)


def counted(name: str) -> Column:
    """A mean count, such as `train_images`."""
    return numeric("NFE" if name == "nfe" else name.replace("_", " "), name, count)


def used(task: Task) -> Column:
    """Charged time in the unit of the task."""
    return numeric("used", "gpu_hours", lambda h: duration(h, task.unit), "charged time")


def named(study: Study, title: str = "method", key: str = "method") -> Column:
    """A method, sorted by its place in the study and marked where it is not ranked."""
    places = {label: place for place, label in enumerate(study.methods)}

    def cell(row: Row) -> Cell:
        label = row[key]
        shown = label if study.method(label).ranked else f"{label} {NOT_RANKED}"
        return Cell(shown, places[label], method=label)

    return Column(title, cell)


def shares() -> list[Column]:
    """The mean at every share of the budget but the last, from rows by share; with n in brackets
    where it is not n at the end."""

    def column(share: float) -> Column:
        def cell(row: Row) -> Cell:
            at = row[share]
            few = f" ({at['n']})" if at["n"] not in (0, row["n"]) else ""
            return valued(number(at["mean"]) + few, at["mean"])

        return Column(f"at {percent(share)}", cell)

    return [column(share) for share in FRACTIONS[:-1]]
