import math

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
def spaces(draw):
    count = draw(st.integers(1, 4))
    return Space(tuple(draw(variables(name=f"x{i}")) for i in range(count)))


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
    moved = Variable(first.name, first.low, first.high + 1, first.default, first.log)
    assert Space((moved, *space.variables[1:])).hash != space.hash
    assert Space(space.variables).hash == space.hash


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
