"""How figures look: printed sizes, fonts, and one look per method.

Colours are Okabe and Ito's ("Color Universal Design", 2008) and Paul Tol's muted scheme
("Colour Schemes", SRON 2021), safe for the common colour-vision deficiencies. Methods of a group
share a hue; line style and marker tell them apart, also in grey.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.display.chart import Look
from benchmark.study.model import Study

FOREIGN = ("MPLBACKEND", "SOURCE_DATE_EPOCH")
"""Variables of a parent process that matplotlib obeys, and refuses to work with if it cannot."""


@contextmanager
def quiet() -> Iterator[None]:
    """Without the settings of a parent process, and without warnings about fonts and layouts."""
    taken = {name: os.environ.pop(name) for name in FOREIGN if name in os.environ}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ.update(taken)


with quiet():
    import matplotlib as mpl

SINGLE = 3.35
"""Width of one column in inches."""
DOUBLE = 6.9
"""Width of a page in inches."""
DPI = 200

STYLE = Path(__file__).with_name("figures.mplstyle")


@contextmanager
def applied() -> Iterator[None]:
    """The settings of `STYLE` and no others, for the time of drawing and saving."""
    with quiet(), mpl.rc_context(fname=STYLE):
        yield


BLACK, GREY, WHITE = "#000000", "#777777", "#ffffff"
HUES = (
    "#44AA99", "#999933", "#56B4E9", "#AA4499", "#BBAA55", "#117733", "#661100", "#6699CC",
)  # fmt: skip
"""Colours of groups that state none."""
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.6), (5, 1.4, 1, 1.4), (1, 1.4))
MARKERS = "oDs^vPX<>ph*"
FOCUS_WIDTH = 1.9
LONGEST_NAME = 30
"""Characters of a name in a figure; a longer one is shortened in its middle."""


def looks(study: Study) -> dict[str, Look]:
    """The look of every method by label: a hue per group, lines and marks within a group.

    Colours that no method class states follow from the name of the group, so that a method looks
    the same in every suite whose groups do not contend for one.
    """
    names = shown_names(study)
    hues: dict[str, str] = {}
    members: dict[str, int] = {}
    found = {}
    for label, method in study.methods.items():
        group = method.group or method.name
        hue = hues.setdefault(group, method.colour or _free_hue(group, hues.values()))
        place = members[group] = members.get(group, -1) + 1
        found[label] = Look(
            name=names[label],
            colour=method.colour or hue,
            marker=MARKERS[(place + list(hues).index(group)) % len(MARKERS)],
            dash=() if label == study.focus else DASHES[place % len(DASHES)],
            width=FOCUS_WIDTH if label == study.focus else 1.2,
        )
    return found


def _free_hue(group: str, taken: Iterable[str]) -> str:
    start = hashlib.sha256(group.encode()).digest()[0]
    ordered = [HUES[(start + step) % len(HUES)] for step in range(len(HUES))]
    return next((hue for hue in ordered if hue not in set(taken)), ordered[0])


NOT_RANKED = "†"
"""Mark of methods that do not compete."""


def not_ranked(study: Study, labels: Iterable[str]) -> str:
    """The meaning of the mark, where one of the methods has it."""
    if all(study.method(label).ranked for label in labels):
        return ""
    why = "an oracle that uses hindsight, or a method that solves another lower level"
    return f" {NOT_RANKED} not ranked: {why}."


def shown_names(study: Study) -> dict[str, str]:
    """Every method as figures name it: on one line, short, marked where it is not ranked, and
    never like another."""
    found: dict[str, str] = {}
    for label, method in study.methods.items():
        name = base = shortened(label)
        number = 2
        while name in found.values():
            name = f"{base} ({number})"
            number += 1
        found[label] = name if method.ranked else f"{name} {NOT_RANKED}"
    return found


def shortened(text: str) -> str:
    """The text on one line, without its middle where it is longer."""
    line = " ".join(text.split())
    half = (LONGEST_NAME - 1) // 2
    return line if len(line) <= LONGEST_NAME else f"{line[:half]}…{line[-half:]}"


FILLS: dict[str, tuple[str, str]] = {
    "training": ("#EE8866", ""),
    "sampling": ("#44BB99", "////"),
    "scoring": ("#77AADD", ""),
    "gradients through samples": ("#EEDD88", "...."),
    "optimiser overhead": ("#BBBBBB", ""),
    "evaluation, not charged": (WHITE, "\\\\\\\\"),
}
"""Fills of kinds of work: Paul Tol's light scheme, areas and not lines, so not mistaken for a
method; hatches tell neighbours apart in grey."""
SPARE_FILLS = ("#99DDFF", "#BBCC33", "#AAAA00", "#FFAABB")


def fill(name: str, position: int) -> Look:
    """Fill of a kind of work; `position` tells those apart that are not known here."""
    colour, hatch = FILLS.get(name, (SPARE_FILLS[position % len(SPARE_FILLS)], ""))
    return Look(name=name, colour=colour, hatch=hatch)
