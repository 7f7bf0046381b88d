"""The black-box searches on the toy task, whose best step size is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import registry
from benchmark.contract.methods import crash, essence
from benchmark.runs.log import effective_steps
from benchmark.runs.runner import execute
from methods.base import Search
from methods.grid import refining_grid
from methods.grid_smoothed import smoothed_best
from tasks.finetune.gaussian import FinetuneGaussianPerClass
from tasks.space import Space, Variable


@pytest.mark.parametrize(
    "method",
    [
        "grid",
        "random",
        "sobol",
        "optuna-tpe",
        "optuna-gp",
        "skopt-gp",
        "successive-halving",
        "hyperband",
    ],
)
def test_searches_find_the_step_size(toy_spec, method):
    """The residual |1 - 2a|^10 vanishes at a = 0.5; a = 0.01 (the default) leaves 0.82 of 3."""
    spec = toy_spec(method, budget=3 / 3600)
    assert execute(spec).status == "finished"
    incumbents = [s for s in effective_steps(spec.folder.events()) if s["incumbent"]]
    assert incumbents[-1]["metrics"]["distance"] < 0.3
    assert 0.1 < incumbents[-1]["params"]["step_size"] < 0.9


SEARCHES = [name for name, cls in registry.all_methods().items() if issubclass(cls, Search)]


@pytest.mark.parametrize("method", [*SEARCHES, "grid-smoothed", "grid-by-class"])
def test_every_search_starts_from_the_default(toy_spec, method):
    """Told what everybody knows, a search cannot end below it but by a lucky score."""
    prices = {"trial": 1.0} | dict.fromkeys(("denoise", "guided_denoise", "reward"), 1e-6)
    spec = toy_spec(method, task="finetune/gaussian-perclass", prices=prices, budget=3.5 / 3600)
    execute(spec)
    steps = effective_steps(spec.folder.events())
    assert steps[0]["params"] == pytest.approx(FinetuneGaussianPerClass.space.default)


@pytest.mark.parametrize("method", ["successive-halving", "hyperband"])
def test_multi_fidelity_searches_start_from_the_default_too(toy_spec, method):
    spec = toy_spec(method, budget=3 / 3600)
    execute(spec)
    assert effective_steps(spec.folder.events())[0]["params"] == {"step_size": 0.01}


def test_cmaes_starts_from_the_default(toy_spec):
    """Its first generation lies around the default, where the box's middle is a decade away."""
    prices = {"trial": 1.0} | dict.fromkeys(("denoise", "guided_denoise", "reward"), 1e-6)
    spec = toy_spec("optuna-cmaes", task="finetune/gaussian-perclass", prices=prices,
                    options={"spread": 0.02}, budget=8.5 / 3600)  # fmt: skip
    execute(spec)
    steps = effective_steps(spec.folder.events())
    tried = [value for step in steps[1:8] for value in step["params"].values()]
    assert 3 < min(tried) < max(tried) < 30


def test_successive_halving_abandons_bad_trials(toy_spec):
    spec = toy_spec("successive-halving", budget=3 / 3600)
    execute(spec)
    steps = effective_steps(spec.folder.events())
    reached = {}
    for step in steps:
        reached[step["trial"]] = step["fidelity"]
    assert min(reached.values()) < 1 / 3 + 1e-9
    assert max(reached.values()) == 1.0


def test_hyperband_spares_some_trials_the_first_rung(toy_spec):
    """Of two trials that are worse than most, one is abandoned early, another goes on."""
    spec = toy_spec("hyperband", budget=6 / 3600)
    execute(spec)
    reached = {}
    for step in effective_steps(spec.folder.events()):
        reached.setdefault(step["trial"], []).append(step["score"])
    firsts = {trial: scores[0] for trial, scores in reached.items()}
    median = np.median(list(firsts.values()))
    bad = [len(reached[trial]) for trial, first in firsts.items() if first > median]
    assert min(bad) == 1
    assert max(bad) > 1


def test_a_search_can_keep_a_share_for_a_long_last_solve(toy_spec):
    spec = toy_spec("random", options={"finish": 0.5})
    execute(spec)
    steps = effective_steps(spec.folder.events())
    kinds = [step["kind"] for step in steps]
    assert kinds.index("report") == kinds.count("trial")
    best = min((s for s in steps if s["kind"] == "trial"), key=lambda s: s["score"])
    assert steps[-1]["params"] == best["params"]


def test_trials_of_a_growing_search_are_longer_where_the_budget_is_larger(toy_spec, tmp_path):
    """Both their number and their length grow; the default is scored at the length of the rest."""
    found = []
    for times in (1, 4, 16):
        spec = toy_spec("random", options={"grow": True, "finish": 0.5},
                        budget=times * 2 / 3600, results=str(tmp_path / str(times)))  # fmt: skip
        execute(spec)
        steps = effective_steps(spec.folder.events())
        trials = [step for step in steps if step["kind"] == "trial"]
        assert trials[0]["fidelity"] == 1.0
        last = trials[-1]["fidelity"]
        same = [step for step in trials if step["fidelity"] == last]
        assert same == trials[len(trials) - len(same) :]
        assert len(same) >= len(trials) - 1
        assert same[0]["params"] == {"step_size": 0.01}
        found.append((len(trials), last))
    (few, short), (more, longer), (most, longest) = found
    assert few < more < most
    assert 1.0 <= short < longer < longest
    assert longest / longer == pytest.approx(2.0, rel=0.1)


def test_an_interrupted_growing_search_ends_the_same(toy_spec, tmp_path):
    def steps(results: str, charges: float) -> list[dict]:
        spec = toy_spec("optuna-tpe", options={"grow": True, "finish": 0.5}, budget=10 / 3600,
                        results=str(tmp_path / results))  # fmt: skip
        crash(spec, charges)
        execute(spec)
        return [essence(step) for step in effective_steps(spec.folder.events())]

    whole = steps("whole", math.inf)
    for charges in (15, 80):
        assert steps(f"after-{charges}", charges) == whole


def test_a_search_ends_after_so_many_trials_and_solves_on_at_the_best(toy_spec):
    spec = toy_spec("skopt-gp", options={"trials": 3})
    outcome = execute(spec)
    steps = effective_steps(spec.folder.events())
    kinds = [step["kind"] for step in steps]
    assert kinds[:3] == ["trial"] * 3
    assert set(kinds[3:]) == {"report"}
    best = min(steps[:3], key=lambda step: step["score"])
    assert steps[-1]["params"] == best["params"]
    assert (outcome.status, outcome.reason) == ("finished", "budget")


def test_where_nothing_is_left_to_solve_such_a_search_returns_and_is_billed_for_that(toy_spec):
    """More samples at given parameters would change no fine-tuned model: the run ends early."""
    prices = {"trial": 1.0} | dict.fromkeys(("denoise", "guided_denoise", "reward"), 1e-6)
    spec = toy_spec("random", task="finetune/gaussian", prices=prices, budget=1.0,
                    options={"trials": 2})  # fmt: skip
    outcome = execute(spec)
    assert (outcome.status, outcome.reason) == ("finished", "returned")
    steps = effective_steps(spec.folder.events())
    assert [step["kind"] for step in steps] == ["trial", "trial", "report"]
    assert steps[-1]["params"] == min(steps[:2], key=lambda step: step["score"])["params"]
    used = spec.folder.events()[-1]["clock"]["ledgers"]["method"]
    assert used == steps[1]["clock"]["ledgers"]["method"] < 3600


def test_an_interrupted_search_of_so_many_trials_ends_the_same(toy_spec, tmp_path):
    def steps(results: str, charges: float) -> list[dict]:
        spec = toy_spec("skopt-gp", options={"trials": 3}, results=str(tmp_path / results))
        crash(spec, charges)
        execute(spec)
        return [essence(step) for step in effective_steps(spec.folder.events())]

    whole = steps("whole", math.inf)
    for charges in (20, 45):  # in the second trial, and in the solve that follows the third
        assert steps(f"after-{charges}", charges) == whole


@given(dimensions=st.integers(1, 3), levels=st.integers(2, 4), seed=st.integers(0, 1000))
def test_grids_visit_every_point_once_ends_included(dimensions, levels, seed):
    space = Space(tuple(Variable(f"x{i}", 0, 1, 0.5) for i in range(dimensions)))
    points = refining_grid(space, levels, np.random.default_rng(seed))
    first = {tuple(next(points).values()) for _ in range(levels**dimensions)}
    assert len(first) == levels**dimensions
    assert {(0.0,) * dimensions, (1.0,) * dimensions} <= first
    finer = {tuple(next(points).values()) for _ in range(3)}
    assert len(finer) == 3
    assert not finer & first


@given(levels=st.integers(2, 6), seed=st.integers(0, 1000))
def test_shifted_grids_are_even_and_refined_by_halves(levels, seed):
    space = Space((Variable("x", 0, 1, 0.5),))
    points = refining_grid(space, levels, np.random.default_rng(seed), shifted=True)
    first = sorted(next(points)["x"] for _ in range(levels))
    assert np.allclose(np.diff(first), 1 / levels)
    assert 0 <= first[0] < 1 / levels
    both = sorted(first + [next(points)["x"] for _ in range(levels)])
    assert np.allclose(np.diff(both), 1 / (2 * levels))


MIXED = Space(
    (
        Variable("lr", 1e-5, 0.1, 0.01, log=True),
        Variable("depth", 1, 8, 2, integer=True),
        Variable("width", 1, 64, 8, log=True, integer=True),
        Variable.one_of("act", ["relu", "silu", "gelu"], "silu"),
    )
)


def mixed_loss(params):
    """Its minimum, 0, is at lr = 1e-3, depth = 5, width = 16 and the last choice."""
    return (
        (math.log10(params["lr"]) + 3) ** 2 / 4
        + (params["depth"] - 5) ** 2 / 16
        + math.log2(params["width"] / 16) ** 2 / 9
        + (params["act"] != 2)
    )


SEARCHES_OF_ANY_SPACE = ["grid", "random", "sobol", "optuna-tpe", "optuna-gp", "optuna-cmaes",
                         "skopt-gp"]  # fmt: skip


@pytest.mark.parametrize("method", SEARCHES_OF_ANY_SPACE)
def test_searches_take_whole_numbers_and_choices(method):
    search = registry.method(method)()
    search.start(MIXED, np.random.default_rng(0))
    search.tell(MIXED.default, mixed_loss(MIXED.default))
    tried, scores = [], []
    for _ in range(14):
        params = search.ask()
        tried.append(MIXED.validate(params))
        scores.append(mixed_loss(params))
        search.tell(params, scores[-1])
    assert min(scores) < mixed_loss(MIXED.default) == pytest.approx(1.92, abs=0.02)
    for variable in MIXED.variables:
        assert len({params[variable.name] for params in tried}) >= 2


def test_cmaes_needs_two_numbers(toy):
    method = registry.method("optuna-cmaes")

    def on(*variables):
        return method.supports(type("Other", (toy,), {"space": Space(variables)}))

    numbers, choice = MIXED.variables[:2], MIXED.variables[3]
    assert on(*numbers)
    assert not on(numbers[0], choice)


def test_a_grid_of_values_that_can_be_counted_ends():
    space = Space((Variable("n", 1, 3, 2, integer=True), Variable.one_of("c", ["a", "b"], "a")))
    points = list(refining_grid(space, 2, np.random.default_rng(0)))
    assert sorted(map(tuple, (point.values() for point in points))) == [
        (n, c) for n in (1, 2, 3) for c in (0, 1)
    ]
    assert {point["n"] for point in points[:4]} == {1, 3}  # the ends first


@pytest.mark.parametrize("method", ["successive-halving", "hyperband"])
def test_multi_fidelity_searches_take_whole_numbers_and_choices(method):
    class Enough(Exception):
        pass

    class Problem:
        space, rng, tried = MIXED, np.random.default_rng(0), []

        def stages(self, params, fidelities):
            if len(self.tried) == 12:
                raise Enough
            self.tried.append(MIXED.validate(params))
            yield from (mixed_loss(params) + 1 / fidelity for fidelity in fidelities)

    with pytest.raises(Enough):
        registry.method(method)().run(Problem())
    assert Problem.tried[0] == MIXED.default
    assert len({params["act"] for params in Problem.tried}) == 3


def test_smoothing_overrules_one_lucky_point():
    rng = np.random.default_rng(3)
    xs = np.linspace(0, 1, 17)
    scores = (xs - 0.7) ** 2 * 4 + rng.normal(0, 0.03, 17)
    scores[1] = scores.min() - 0.02  # lucky, amid bad neighbours
    best = smoothed_best([(np.array([x]), s) for x, s in zip(xs, scores, strict=True)])
    assert abs(best[0] - 0.7) < 0.15


def test_smoothing_survives_scores_that_are_not_finite():
    scored = [(np.array([x]), (x - 0.5) ** 2) for x in np.linspace(0, 1, 9)]
    scored.append((np.array([0.3]), math.inf))
    assert smoothed_best(scored)[0] == pytest.approx(0.5, abs=0.13)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("bilevel", {"finetune": {"batch": -5}}),
        ("bilevel", {"finetune": {"spread": -0.1}}),
        ("grid-smoothed", {"levels": 1}),
        ("grid-by-class", {"fidelity": 0.0}),
        ("weighted-sum", {"fidelity": -1.0}),
        ("skopt-gp", {"trials": 0}),
        ("spsa-crn", {"first": 0.0}),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_run(method, options):
    with pytest.raises(ValueError, match="got"):
        registry.method(method)(**options)
