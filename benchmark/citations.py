"""BibTeX of the suite and of the methods, from `methods/references.bib`.

A new method needs no entry; a method file from elsewhere may have an attribute `bibtex`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from benchmark import registry

FIELD = re.compile(r"^  methods = \{([^}]*)\},\n", flags=re.MULTILINE)


def suite() -> str:
    """The entry of this project."""
    return (
        "@misc{diffusion-tuning-benchmark,\n"
        "  author = {{The diffusion-tuning-benchmark authors}},\n"
        "  title = {Diffusion tuning benchmark},\n"
        f"  version = {{{version('diffusion-tuning-benchmark')}}},\n"
        "  license = {MIT}\n"
        "}"
    )


def of_method(name: str) -> list[str]:
    """What to cite for a method (name or .py file). Raises UnknownName."""
    method = registry.method(name)
    own = str(getattr(method, "bibtex", "")).strip()
    return [own] if own else [text for text, names in _entries() if method.name in names]


def bibliography(names: Sequence[str] = ()) -> str:
    """The suite and the methods called `names` (all of them if none), every entry once."""
    methods = names or list(registry.all_methods())
    entries = dict.fromkeys(entry for name in methods for entry in of_method(name))
    return "\n\n".join([suite(), *sorted(entries, key=_key)])


@cache
def _entries() -> list[tuple[str, frozenset[str]]]:
    """Entries without the field that says whose they are, and whose they are."""
    text = (files("methods") / "references.bib").read_text(encoding="utf-8")
    found = []
    for entry in re.findall(r"^@.*?^\}", text, flags=re.MULTILINE | re.DOTALL):
        field = FIELD.search(entry)
        names = frozenset(field[1].split(", ")) if field else frozenset()
        found.append((FIELD.sub("", entry), names))
    return found


def _key(entry: str) -> str:
    return entry.partition("{")[2].partition(",")[0]
