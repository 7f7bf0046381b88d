"""Tables as wide as a terminal: nothing is cut, and no two names look the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from benchmark.display.layout import layout

WORD = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=60)
HEAD = ["method", "at 10 %", "at the end [95 % t]", "runs"]
ROWS = [
    ["optuna-tpe", "0.313", "0.584 [0.565, 0.602]", "10 finished"],
    ["optuna-cmaes-with-a-name-that-is-longer-than-half-a-terminal", "12.5", "-", "2 failed"],
    ["optuna-cmaes-with-a-name-that-is-longer-than-half-a-terminals", "12.6", "-", "no run yet"],
]


@pytest.mark.parametrize("width", [200, 80, 40, 20])
def test_every_text_is_there_whole(width: int) -> None:
    lines = layout(HEAD, ROWS, width)
    assert max(map(cell_len, lines)) <= width
    text = re.sub(r"\s+", "", "".join(lines))
    for cell in ("0.313", "12.5", "12.6"):
        assert cell in text
    assert "0.584" in text
    assert "[0.565,0.602]" in text


def test_rows_stay_on_one_line_where_they_fit() -> None:
    assert layout(["a", "b"], [["one", "1"], ["three", "33"]], 80) == [
        "a      b", "one    1", "three  33"
    ]  # fmt: skip


def test_columns_that_do_not_fit_follow_below_with_their_names() -> None:
    lines = layout(["name", "first", "second"], [["x", "1234567", "7654321"]], 15)
    assert lines == ["name  first", "x     1234567", "", "name  second", "x     7654321"]


@given(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=5), st.integers(20, 90))
def test_no_character_is_lost(rows: list[tuple[str, str]], width: int) -> None:
    lines = layout(["h", "k"], [list(row) for row in rows], width)
    shown = "".join(lines)
    assert max(map(cell_len, lines)) <= width
    for row in rows:
        for character in "".join(row).strip():
            assert character in shown
    lengths = sum(len(re.sub(r"\s", "", text)) for row in rows for text in row)
    assert len(re.sub(r"\s", "", shown)) == lengths + 2


def test_nothing_to_show() -> None:
    assert layout([], [], 80) == []
    assert layout(["a"], [], 80) == ["a"]
