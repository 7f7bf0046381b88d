"""Described figures for the page: numbers for its script, looks for its stylesheet, pictures."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from benchmark.display import canvas, style
from benchmark.display.chart import Chart, Look

DIGITS = 7
LIGHTNESS = 0.55
"""Least lightness (OKLCH) of a line on a dark page."""
DPI = 140
"""Pixels per inch of a picture."""


class Looks(dict[Look, int]):
    """Numbers of the looks on a page; figures that draw a method alike share its number."""

    def __missing__(self, look: Look) -> int:
        self[look] = len(self)
        return self[look]

    def for_script(self) -> list[dict[str, Any]]:
        return [
            {"name": look.name, "width": width(look), "dash": dash(look), "marker": outline(look)}
            for look in self
        ]

    def stylesheet(self) -> str:
        """Classes `m0`, `m1`, ... that set `--method`, lighter on dark pages."""
        lighter = f"max(l, 0.95 - l, {LIGHTNESS})"
        return "".join(
            f".m{number} {{ --method: light-dark({c}, oklch(from {c} {lighter} c h)); }}\n"
            for number, c in enumerate(look.colour for look in self)
        )


def width(look: Look) -> float:
    """Pixels."""
    return 1.25 * look.width


def dash(look: Look) -> str:
    """SVG's `stroke-dasharray`; empty for a solid line."""
    return " ".join(f"{width(look) * part:.3g}" for part in look.dash)


def outline(look: Look) -> str:
    """The marker as SVG path data, about one unit wide, centred at the origin, y downwards."""
    from matplotlib.markers import MarkerStyle
    from matplotlib.path import Path as Outline

    commands = {
        Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C",
        Outline.CLOSEPOLY: "Z",
    }  # fmt: skip
    shape = MarkerStyle(look.marker)
    parts = []
    path = shape.get_path().transformed(shape.get_transform())
    for points, code in path.iter_segments(simplify=False):
        pairs = points.reshape(-1, 2) * (1, -1) if code != Outline.CLOSEPOLY else ()
        parts.append(commands[code] + " ".join(f"{x:.3g} {y:.3g}" for x, y in pairs))
    return "".join(parts)


def described(chart: Chart, looks: Looks) -> dict[str, Any]:
    """A chart for the page's script: the same names, numbers of looks, and null for no value."""
    keys = {key: looks[look] for key, look in chart.looks.items()}
    panels = []
    for panel in chart.panels:
        series = [one for one in panel.series if len(one.x)]
        rules = [rule for rule in panel.rules if math.isfinite(rule.at)]
        panels.append(plain(replace(panel, series=series, rules=rules)))
        for part in panels[-1]["series"]:
            part["look"] = keys[part["look"]]
    return {"title": chart.title, "note": chart.note, "looks": [*keys.values()], "panels": panels}


def plain(value: Any) -> Any:
    """What JSON can hold of a description."""
    if is_dataclass(value):
        return {part.name: plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def picture(chart: Chart) -> str:
    """The figure as matplotlib draws it, as a data URI."""
    buffer = io.BytesIO()
    with style.applied():
        canvas.figure(chart).savefig(buffer, format="png", dpi=DPI)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
