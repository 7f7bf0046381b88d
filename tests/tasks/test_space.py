import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.space import Space, Variable


@st.composite
def variables(draw, name="x"):
    log = draw(st.booleans())
    low = draw(st.floats(1e-6, 1e3) if log else st.floats(-1e3, 1e3))
    high = low + draw(st.floats(1e-3, 1e4))
    default = min(low + draw(st.floats(0, 1)) * (high - low), high)
    return Variable(name, low, high, default, log)


@st.composite
def whole_variables(draw, name="x"):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    high = low + draw(st.integers(1, 1000))
    return Variable(name, low, high, draw(st.integers(low, high)), log, integer=True)


@st.composite
def categories(draw, name="x"):
    choices = draw(st.lists(st.text(max_size=5), min_size=2, max_size=6, unique=True))
    return Variable.one_of(name, choices, draw(st.sampled_from(choices)))


@st.composite
def spaces(draw):
    kinds = draw(st.lists(st.sampled_from((variables, whole_variables, categories)),
                          min_size=1, max_size=4))  # fmt: skip
    return Space(tuple(draw(kind(name=f"x{i}")) for i, kind in enumerate(kinds)))


@given(space=spaces(), seed=st.integers(0, 2**32))
def test_samples_are_inside_and_survive_the_unit_cube(space, seed):
    params = space.sample(np.random.default_rng(seed))
    assert space.validate(params) == params
    unit = space.to_unit(params)
    assert np.all((unit >= -1e-12) & (unit <= 1 + 1e-12))
    back = space.from_unit(unit)
    for variable in space.variables:
        scale = max(abs(variable.low), abs(variable.high))
        assert back[variable.name] == pytest.approx(
            params[variable.name], rel=1e-6, abs=1e-9 * scale
        )


@given(space=spaces(), position=st.lists(st.floats(-10, 10), min_size=4, max_size=4))
def test_any_position_is_clipped_into_the_box(space, position):
    params = space.from_unit(np.array(position[: len(space)]))
    assert space.validate(params) == params


@given(space=spaces())
def test_the_default_is_valid_and_the_hash_sees_every_field(space):
    assert space.validate(space.default) == space.default
    first = space.variables[0]
    moved = replace(first, high=first.high + 1)
    assert Space((moved, *space.variables[1:])).hash != space.hash
    assert Space(space.variables).hash == space.hash


@given(variable=st.one_of(whole_variables(), categories()))
def test_whole_numbers_and_choices_survive_the_unit_interval_exactly(variable):
    values = np.arange(variable.low, variable.high + 1)
    positions = [variable.to_unit(value) for value in values]
    assert [variable.from_unit(x) for x in positions] == values.tolist()
    assert positions == sorted(positions)
    assert variable.from_unit(0.0) == variable.low
    assert variable.from_unit(1.0) == variable.high


@given(variable=st.one_of(whole_variables(), categories()))
def test_every_whole_number_has_a_share_of_its_own(variable):
    """As long as its logarithms are apart, or the same for all: none is left out by rounding."""
    ends = [variable.to_unit(value - 0.5) for value in np.arange(variable.low, variable.high + 2)]
    assert (ends[0], ends[-1]) == (0, pytest.approx(1))
    inside = zip(ends, ends[1:], np.arange(variable.low, variable.high + 1), strict=False)
    for low, high, value in inside:
        for share in (0.01, 0.99):
            assert variable.from_unit(low + share * (high - low)) == value
    if not variable.log:
        assert np.allclose(np.diff(ends), 1 / len(ends[1:]))


def test_a_real_space_keeps_the_hash_that_results_are_stored_with():
    """Computed before there were whole numbers and choices."""
    space = Space((Variable("x", 0.01, 100, 1, log=True), Variable("y", 0.0, 1.0, 0.5)))
    assert space.hash == "3cbcc28ff24c"


@given(variable=categories())
def test_a_choice_is_said_by_its_name(variable):
    assert [variable.said(float(i)) for i in range(len(variable.choices))] == [*variable.choices]
    assert Variable("n", 1, 3, 2, integer=True).said(2.0) == 2
    assert Variable("r", 1, 3, 2).said(2.5) == 2.5


@pytest.mark.parametrize(
    ("choices", "default", "message"),
    [
        (["a"], "a", "at least two distinct choices"),
        (["a", "a"], "a", "at least two distinct choices"),
        (["a", "b"], "c", "default 'c' is not in"),
    ],
)
def test_choices_that_make_no_sense_are_refused(choices, default, message):
    with pytest.raises(ValueError, match=message):
        Variable.one_of("x", choices, default)


def test_what_is_not_whole_is_refused():
    with pytest.raises(ValueError, match=r"x = 1.5 is not a whole number"):
        Space((Variable("x", 1, 3, 2, integer=True),)).validate({"x": 1.5})
    with pytest.raises(ValueError, match=r"variable 'x': 1.5 is not a whole number"):
        Variable("x", 1, 3, 1.5, integer=True)


def test_log_variables_are_uniform_in_the_logarithm():
    space = Space((Variable("x", 0.01, 100, 1, log=True),))
    rng = np.random.default_rng(0)
    logs = [math.log10(space.sample(rng)["x"]) for _ in range(4000)]
    assert np.mean(logs) == pytest.approx(0, abs=0.08)
    assert np.std(logs) == pytest.approx(4 / math.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"x": 3.0}, "x = 3.0 is outside"),
        ({"x": math.nan}, "x = nan is outside"),
        ({"y": 0.5}, "do not match"),
        ({"x": 0.5, "y": 0.5}, "do not match"),
    ],
)
def test_bad_parameters_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        Space((Variable("x", 0, 1, 0.5),)).validate(params)


@pytest.mark.parametrize(
    "fields",
    [(1, 0, 0.5), (0, 1, 2), (0, math.inf, 1), (0, 1, 0.5, True)],
)
def test_bad_variables_are_refused(fields):
    with pytest.raises(ValueError, match="variable 'x'"):
        Variable("x", *fields)
