"""Related methods share a colour, and no two methods of a study look the same."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import pytest

from benchmark import registry
from benchmark.display import style
from benchmark.study.model import Study
from methods.base import GROUPS

Make = Callable[..., Study]
ALL = sorted(registry.all_methods())


@pytest.fixture
def everything(make_results: Make) -> Study:
    return make_results(tasks=1, methods=ALL, seeds=1, events=2)


def test_no_two_methods_look_the_same(everything: Study) -> None:
    looks = [style.identity(everything, label) for label in ALL]
    assert len({(look.colour, str(look.line), look.marker) for look in looks}) == len(ALL)


def test_methods_of_a_group_share_its_colour(everything: Study) -> None:
    for label in ("grid", "grid-smoothed"):
        assert style.identity(everything, label).colour == GROUPS["grid"]


def test_the_methods_stand_by_group(everything: Study) -> None:
    groups = [method.group for method in everything.methods.values()]
    assert list(dict.fromkeys(groups)) == list(GROUPS)
    assert len(groups) == len(ALL)


def test_the_focus_stands_out(everything: Study) -> None:
    others = [style.identity(everything, label).width for label in ALL if label != "bilevel"]
    assert style.identity(everything, "bilevel").width > max(others)
    assert style.identity(everything, "bilevel").line == style.SOLID


def test_unknown_methods_have_a_stable_look_of_their_own(make_results: Make) -> None:
    look = style.identity(
        make_results(tasks=1, methods=("grid", "my-method"), seeds=1), "my-method"
    )
    assert look.colour not in GROUPS.values()
    assert look == style.Identity("#44AA99", "s", style.SOLID)  # must not change over versions


def test_settings_do_not_leak() -> None:
    before = dict(mpl.rcParams)
    with style.applied():
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert dict(mpl.rcParams) == before
