"""`style.identity` for a page: colours on white and on black, dashes, markers as SVG paths."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.colors import to_hex, to_rgb
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline

from benchmark.display import style
from benchmark.study.model import Study

DARK_PAGE = "#15171a"
LEAST_CONTRAST = 3.0
"""What WCAG 2.2 asks of graphics against their background (success criterion 1.4.11)."""

_COMMANDS = {
    Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C",
    Outline.CLOSEPOLY: "Z",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How one method is drawn."""

    name: str
    colour: str
    dark: str
    """The colour on a dark page."""
    width: float
    dash: str
    """SVG's `stroke-dasharray`; empty for a solid line."""
    marker: str
    """SVG path data, about one unit wide, centred at the origin, y downwards."""

    def for_script(self) -> dict[str, Any]:
        return {
            "name": self.name, "width": self.width, "dash": self.dash, "marker": self.marker
        }  # fmt: skip


def looks(study: Study) -> list[Look]:
    """One per method, in the order of all tables and figures."""
    return [_look(study, method) for method in study.methods]


def _look(study: Study, method: str) -> Look:
    identity = style.identity(study, method)
    width = 1.25 * identity.width
    dash = () if identity.line == style.SOLID else identity.line[1]
    return Look(
        name=method,
        colour=to_hex(identity.colour),
        dark=on_dark(identity.colour),
        width=width,
        dash=" ".join(f"{width * part:.3g}" for part in dash),
        marker=outline(identity.marker),
    )


def stylesheet(drawn: Sequence[Look]) -> str:
    """Classes `m0`, `m1`, ... that set `--method`, also for dark pages."""
    light = "\n".join(f".m{k} {{ --method: {look.colour}; }}" for k, look in enumerate(drawn))
    dark = "\n".join(f"  .m{k} {{ --method: {look.dark}; }}" for k, look in enumerate(drawn))
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


def outline(marker: str) -> str:
    """A matplotlib marker as SVG path data."""
    shape = MarkerStyle(marker)
    path = shape.get_path().transformed(shape.get_transform())
    parts = []
    for points, code in path.iter_segments(simplify=False):
        pairs = points.reshape(-1, 2) * (1, -1) if code != Outline.CLOSEPOLY else ()
        parts.append(_COMMANDS[code] + " ".join(f"{x:.3g} {y:.3g}" for x, y in pairs))
    return "".join(parts)


def on_dark(colour: str) -> str:
    """The colour itself, or with its lightness mirrored where it would drown on a dark page."""
    if contrast(colour, DARK_PAGE) >= LEAST_CONTRAST:
        return to_hex(colour)
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    return to_hex(colorsys.hls_to_rgb(hue, min(1 - lightness, 0.95), saturation))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
