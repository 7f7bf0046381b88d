"""The contract suite over every registered method and task: what `check NAME` runs."""

import pytest

from benchmark import contract, registry


@pytest.mark.usefixtures("in_small")  # the contract holds at any size
@pytest.mark.parametrize("name", [*registry.all_tasks(), *registry.all_methods()])
def test_contract(name):
    cls = registry.all_tasks().get(name)
    if cls is not None and cls.unavailable():
        pytest.skip(cls.unavailable())
    if cls is not None and cls.budget >= 0.1:
        pytest.skip("a task of many minutes: a smaller one of the same kind is checked instead")
    broken = [f"{title}: {problem}" for title, problem in contract.check(name) if problem]
    assert not broken, "\n".join(broken)
