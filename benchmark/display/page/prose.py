"""Sentences as HTML whose lines break between thoughts, never inside a number or a name."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

WHOLE = re.compile(
    r"\[[^\[\]]{1,40}\]"  # an interval
    r"|[\w.]+ = [\w.-]+"  # n = 10
    r"|p <?= \S+"
    r"|\d[\d.]* (?:of \d+|%(?: t\b)?|(?:s|min|h|seeds?)\b)"
    r"|\S+ [↑↓]"  # a metric and the direction in which it is better
    r"|\b\w+(?:[-/]\w+){1,4}\b"  # names with hyphens
)
LONGEST = 30
"""Characters: longer pieces may break after all."""


def prose(text: str) -> Markup:
    """The escaped text, with what belongs together in spans of class `whole`."""
    parts = []
    at = 0
    for match in WHOLE.finditer(text):
        if match.end() - match.start() > LONGEST:
            continue
        parts += [escape(text[at : match.start()]), _whole(match[0])]
        at = match.end()
    return Markup("").join([*parts, escape(text[at:])])


def _whole(text: str) -> Markup:
    return Markup('<span class="whole">{}</span>').format(text)
