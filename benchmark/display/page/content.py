"""Described figures for the page: numbers for its script, looks for its stylesheet, pictures."""

from __future__ import annotations

import base64
import colorsys
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.display import style
from benchmark.display.chart import Array, Chart, Look, Series

POINTS = 160
"""Points kept of a line: its values there are exact, what lies between is left out."""
DIGITS = 7
DARK_PAGE = "#15171a"
LEAST_CONTRAST = 3.0
"""What WCAG 2.2 asks of graphics against their background (success criterion 1.4.11)."""
LARGEST_TILE = 64
"""Pixels: larger tiles are shrunk, and stored with loss."""
QUALITY = 80
GAP = 0.05
"""Transparent space between tiles, as a share of one."""


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
        """Classes `m0`, `m1`, ... that set `--method`, also for dark pages."""
        light = "\n".join(f".m{k} {{ --method: {look.colour}; }}" for look, k in self.items())
        dark = "\n".join(
            f"  .m{k} {{ --method: {on_dark(look.colour)}; }}" for look, k in self.items()
        )
        return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"


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


def on_dark(colour: str) -> str:
    """The colour itself, or with its lightness mirrored where it would drown on a dark page."""
    if contrast(colour, DARK_PAGE) >= LEAST_CONTRAST:
        return colour
    hue, lightness, saturation = colorsys.rgb_to_hls(*_rgb(colour))
    rgb = colorsys.hls_to_rgb(hue, min(1 - lightness, 0.95), saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours `#rrggbb`, 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red / 255, green / 255, blue / 255


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# -- figures -----------------------------------------------------------------------------------


def described(chart: Chart, looks: Looks) -> dict[str, Any]:
    """A chart for the page's script: the same names, numbers of looks, and null for no value."""
    keys = {key: looks[look] for key, look in chart.looks.items()}
    panels = []
    for panel in chart.panels:
        series = [thin(one) for one in panel.series if len(one.x)]
        rules = [rule for rule in panel.rules if math.isfinite(rule.at)]
        panels.append(plain(replace(panel, series=series, rules=rules)))
        for part in (*panels[-1]["series"], *panels[-1]["notes"]):
            part["look"] = keys.get(part["look"])
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


def thin(series: Series) -> Series:
    """Steps without moments that cannot be told apart."""
    if series.join != "steps" or len(series.x) <= POINTS:
        return series
    kept = thinned(series.x, POINTS)
    parts = {part.name: getattr(series, part.name) for part in fields(series)}
    cut: dict[str, Any] = {k: v[kept] for k, v in parts.items() if isinstance(v, np.ndarray)}
    return replace(series, **cut)


def thinned(places: Array, points: int) -> npt.NDArray[np.int64]:
    """Indices of at most `points` of the increasing `places`, both ends among them.

    Half are even in time and half in its logarithm, so that both axes look smooth.
    """
    if len(places) <= points:
        return np.arange(len(places))
    even = np.linspace(places[0], places[-1], points - points // 2)
    ratios = np.geomspace(max(places[0], places[-1] * 1e-9), places[-1], points // 2)
    nearest = np.searchsorted(places, np.concatenate([even, ratios]), side="right") - 1
    return np.unique(np.clip([0, *nearest, len(places) - 1], 0, len(places) - 1))


# -- pictures ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """What one run would have delivered from a moment on."""

    since: int
    """Index of the first moment at which this is delivered."""
    source: str
    width: int
    height: int
    caption: str
    pixelated: bool


@dataclass(frozen=True)
class Strip:
    """One method's pictures."""

    name: str
    look: int
    pictures: Sequence[Picture]


def strips(chart: Chart, looks: Looks) -> list[Strip]:
    """The rows of a chart of samples, each picture once."""
    found = []
    for key, row in chart.sheet.items():
        pictures: list[Picture] = []
        shown: bytes | None = None
        for moment, tiles in enumerate(row):
            if tiles.images is not None and tiles.images.tobytes() != shown:
                shown = tiles.images.tobytes()
                pictures.append(_picture(tiles.images, moment, tiles.text))
        look = chart.looks[key]
        found.append(Strip(look.name, looks[look], pictures))
    return found


def _picture(tiles: npt.NDArray[np.uint8], since: int, caption: str) -> Picture:
    small = tiles.shape[1] <= LARGEST_TILE
    sheet = mosaic(tiles if small else np.stack([_shrunk(tile) for tile in tiles]))
    buffer = io.BytesIO()
    options: dict[str, Any] = {"lossless": True} if small else {"quality": QUALITY}
    sheet.save(buffer, "WEBP", method=4, **options)
    source = data_uri("image/webp", buffer.getvalue())
    return Picture(since, source, sheet.width, sheet.height, caption, pixelated=small)


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode()


def _shrunk(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    size = (LARGEST_TILE, LARGEST_TILE)
    return np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.LANCZOS))


def mosaic(tiles: npt.NDArray[np.uint8], columns: int = 8) -> Image.Image:
    """`(k, s, s, 3)` tiles in rows of eight with transparent gaps between them."""
    count, side = tiles.shape[:2]
    columns = min(count, columns)
    step = side + max(1, round(GAP * side))
    rows = -(-count // columns)
    gap = step - side
    canvas = np.zeros((rows * step - gap, columns * step - gap, 4), dtype=np.uint8)
    for position, tile in enumerate(tiles):
        row, column = divmod(position, columns)
        place = canvas[row * step :, column * step :][:side, :side]
        place[..., :3], place[..., 3] = tile, 255
    return Image.fromarray(canvas)


def still(chart: Chart, dpi: int = 110) -> str:
    """The figure as a data URI, for readers without scripts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from benchmark.display import canvas

    buffer = io.BytesIO()
    with style.applied():
        made = canvas.figure(chart)
        made.set_dpi(dpi)
        FigureCanvasAgg(made).print_png(buffer)
    return data_uri("image/png", buffer.getvalue())


def places(values: Iterable[float], axis: tuple[float, float, bool]) -> list[float | None]:
    """Places on an axis from 0 to 100; None where a value is not finite."""
    start, end, log = axis

    def scale(value: float) -> float:
        return math.log(max(value, start)) if log else value

    span = scale(end) - scale(start)
    return [
        100 * (scale(value) - scale(start)) / span if math.isfinite(value) else None
        for value in values
    ]
