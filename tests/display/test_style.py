"""Related methods share a colour, and no two methods of a study look the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
    looks = style.looks(everything)
    assert len({(look.colour, look.dash, look.marker) for look in looks.values()}) == len(ALL)
    assert {look.name.removesuffix(f" {style.NOT_RANKED}") for look in looks.values()} == set(ALL)


def test_methods_of_a_group_share_its_colour(everything: Study) -> None:
    for label in ("grid", "grid-smoothed"):
        assert style.looks(everything)[label].colour == GROUPS["grid"]


def test_the_methods_stand_by_group(everything: Study) -> None:
    groups = [method.group for method in everything.methods.values()]
    assert [group for group in dict.fromkeys(groups) if group] == list(GROUPS)
    assert len(groups) == len(ALL)


def test_the_focus_stands_out(everything: Study) -> None:
    looks = style.looks(everything)
    assert looks["bilevel"].width > max(looks[label].width for label in ALL if label != "bilevel")
    assert looks["bilevel"].dash == ()


def test_unknown_methods_have_a_stable_look_of_their_own(make_results: Make) -> None:
    looks = style.looks(make_results(tasks=1, methods=("grid", "my-method"), seeds=1))
    assert looks["my-method"].colour not in GROUPS.values()
    again = style.looks(make_results(tasks=1, methods=("random", "my-method"), seeds=1))
    assert looks["my-method"].colour == again["my-method"].colour


def test_colours_of_the_display_are_not_those_of_groups() -> None:
    assert not set(style.HUES) & set(GROUPS.values())


def test_a_methods_own_colour_is_taken(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("mine", "yours"), seeds=1, events=2)
    facts = {**study.method_facts, "mine": {**study.method_facts["mine"], "colour": "#123456"}}
    looks = style.looks(replace(study, method_facts=facts))
    assert looks["mine"].colour == "#123456"
    assert looks["yours"].colour != "#123456"


def test_long_names_are_shortened_in_the_middle() -> None:
    assert style.shortened("short\n name") == "short name"
    text = style.shortened("a" * 40 + "b" * 40)
    assert len(text) <= style.LONGEST_NAME
    assert (text[0], text[-1]) == ("a", "b")


def test_settings_do_not_leak() -> None:
    before = dict(mpl.rcParams)
    with style.applied():
        assert mpl.rcParams["pdf.fonttype"] == 42
    assert dict(mpl.rcParams) == before
