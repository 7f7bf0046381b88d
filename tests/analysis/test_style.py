"""Every method keeps one look, and no two known ones share it."""

from __future__ import annotations

import matplotlib as mpl

from benchmark.display import style
from benchmark.study import contents


def test_known_methods_look_different() -> None:
    looks = [(look.colour, str(look.line)) for look in style.KNOWN.values()]
    assert len(set(looks)) == len(looks)
    assert set(style.KNOWN) == set(contents.METHODS)


def test_bilevel_stands_out() -> None:
    others = [look.width for name, look in style.KNOWN.items() if name != "bilevel"]
    assert style.KNOWN["bilevel"].width > max(others)


def test_unknown_methods_have_a_stable_look_of_their_own() -> None:
    look = style.identity("my-method")
    assert look == style.identity("my-method")
    assert look.colour not in {known.colour for known in style.KNOWN.values()}
    assert look == style.Identity("#44AA99", "p", style.DOTTED)  # must not change over versions


def test_a_variant_keeps_the_colour_of_its_method() -> None:
    assert style.identity("grid-20", "grid").colour == style.KNOWN["grid"].colour


def test_settings_do_not_leak() -> None:
    before = dict(mpl.rcParams)
    with style.applied():
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert dict(mpl.rcParams) == before
