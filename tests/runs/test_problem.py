import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark import registry
from benchmark.contract.methods import crash
from benchmark.contract.methods import essence as shared_by_runs
from benchmark.runs.log import effective_steps
from benchmark.runs.runner import execute
from benchmark.runs.spec import RunSpec
from benchmark.study import results
from methods.base import Method, Problem
from tasks.base import Candidate
from tests.toy_methods import Descent, Oracle

Spec = Callable[..., RunSpec]


@pytest.fixture
def own_methods(monkeypatch):
    known = registry.all_methods() | {"descent": Descent, "oracle": Oracle}
    monkeypatch.setattr(registry, "all_methods", lambda: known)


def steps_of(spec: RunSpec) -> list[dict]:
    return effective_steps(spec.folder.events())


def essence(spec: RunSpec) -> list[dict]:
    return [shared_by_runs(step) for step in steps_of(spec)]


def test_a_run_spends_its_budget_and_oversteps_by_one_primitive(toy_spec: Spec):
    spec = toy_spec()
    assert execute(spec).status == "finished"
    end = spec.folder.events()[-1]
    assert end["reason"] == "budget"
    assert 2.0 <= end["clock"]["ledgers"]["method"] <= 2.0 + 0.02
    assert spec.folder.events()[-2]["kind"] == "unfinished"


def test_what_is_unfinished_never_becomes_an_incumbent(toy_spec: Spec):
    spec = toy_spec(budget=0.1 / 3600)  # solved at 0.101, not yet scored
    execute(spec)
    assert steps_of(spec) == []
    unfinished = [e for e in spec.folder.events() if e["kind"] == "unfinished"]
    assert len(unfinished) == 1


def test_incumbents_improve_and_carry_metrics(toy_spec: Spec):
    spec = toy_spec()
    execute(spec)
    incumbents = [step for step in steps_of(spec) if step["incumbent"]]
    scores = [step["score"] for step in incumbents]
    assert scores == sorted(scores, reverse=True)
    assert all(step["metrics"] for step in incumbents)
    assert all(step["metrics"] is None for step in steps_of(spec) if not step["incumbent"])


def test_trials_are_paired_across_methods_and_rng_is_not(toy_spec: Spec):
    grid, random = toy_spec("grid"), toy_spec("random")
    for spec in (grid, random):
        execute(spec)
    one, other = steps_of(grid)[1], steps_of(random)[1]  # the first is the default of both
    assert one["params"] != other["params"]
    # Same initial point: undoing ten steps of each step size gives the same start.
    starts = [
        (step["score"]) / (1 - 2 * step["params"]["step_size"]) ** 10 for step in (one, other)
    ]
    assert abs(starts[0]) == pytest.approx(abs(starts[1]), rel=1e-3)


def test_a_run_is_a_function_of_its_seed(toy_spec: Spec, tmp_path):
    one = toy_spec("optuna-tpe", budget=1 / 3600)
    again = dataclasses.replace(one, results=str(tmp_path / "again"))
    other = dataclasses.replace(one, seed=1)
    for spec in (one, again, other):
        execute(spec)
    assert essence(one) == essence(again)
    assert essence(one) != essence(other)


@pytest.mark.parametrize("method", ["random", "default", "successive-halving", "descent", "oracle"])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(crashes=st.lists(st.integers(1, 120), min_size=1, max_size=4))
def test_crashed_runs_end_as_undisturbed_ones(own_methods, toy_spec, tmp_path, method, crashes):
    whole = toy_spec(method, results=str(tmp_path / "whole"))
    if not whole.folder.description.exists():
        execute(whole)
    crashed = toy_spec(method, results=str(tmp_path / "_".join(map(str, crashes))))
    for charges in crashes:
        crash(crashed, charges)
    assert execute(crashed).status == "finished"
    assert essence(crashed) == essence(whole)


def test_a_search_cut_off_in_its_last_solve_ends_as_an_undisturbed_one(toy_spec, tmp_path):
    """Before the first report of the last solve there is no checkpoint: the trials are replayed."""
    options = {"finish": 0.5}
    whole = toy_spec(results=str(tmp_path / "whole"), options=options)
    crashed = toy_spec(results=str(tmp_path / "crashed"), options=options)
    execute(whole)
    trials = sum(step["kind"] == "trial" for step in steps_of(whole))
    crash(crashed, 12 * trials + 3)  # a trial is ten steps, a score and its start
    assert [step["kind"] for step in steps_of(crashed)] == ["trial"] * trials
    assert execute(crashed).status == "finished"
    assert essence(crashed) == essence(whole)


def test_what_a_candidate_shows_is_recorded_and_loaded(toy_spec: Spec, monkeypatch):
    class Showing(Method):
        """Reports a candidate with a number beside its parameters."""

        name = "showing"
        citation = "-"

        def run(self, problem: Problem) -> None:
            params = problem.space.default
            problem.report(Candidate(params, 1.0))
            problem.report(Candidate(params, 1.0, shown={"role: step_size": 0.25}))

    known = registry.all_methods() | {"showing": Showing}
    monkeypatch.setattr(registry, "all_methods", lambda: known)
    spec = toy_spec("showing")
    execute(spec)
    assert [step.get("shown") for step in steps_of(spec)] == [None, {"role: step_size": 0.25}]
    frame = results.load(Path(spec.results) / "toy").frame
    shown = frame[frame["metric"] == "shown:role: step_size"]
    assert shown["value"].tolist() == [0.25]
    assert shown["kind"].tolist() == ["report"]


def test_raising_the_budget_continues(toy_spec: Spec, tmp_path):
    spec = toy_spec()
    execute(spec)
    before = essence(spec)
    longer = dataclasses.replace(spec, budget=2 * spec.budget)
    execute(longer)
    whole = dataclasses.replace(longer, results=str(tmp_path / "whole"))
    execute(whole)
    assert essence(longer)[: len(before)] == before
    assert essence(longer) == essence(whole)


def test_replay_that_differs_names_both(toy_spec: Spec, own_methods):
    spec = toy_spec("oracle", budget=0.5 / 3600)
    execute(spec)
    log = spec.folder.log.read_text().splitlines()
    changed = [line.replace('"fidelity": 0.5', '"fidelity": 0.25') for line in log]
    spec.folder.log.write_text("\n".join(changed) + "\n")
    outcome = execute(dataclasses.replace(spec, budget=1 / 3600))
    assert outcome.status == "failed"
    assert "0.25" in outcome.reason
    assert "0.5" in outcome.reason


def test_reports_are_evaluated_at_a_spacing_and_at_the_end(toy_spec: Spec, own_methods):
    spec = toy_spec("descent")
    execute(spec)
    events = spec.folder.events()
    evaluated = [step for step in steps_of(spec) if step["metrics"]]
    assert 6 <= len(evaluated) <= 14
    last = steps_of(spec)[-1]
    assert last["metrics"] or [e for e in events if e["kind"] == "final"][-1]["metrics"]


def test_default_reports_at_its_stops_and_within_the_budget(toy_spec: Spec):
    spec = toy_spec("default")
    execute(spec)
    used = [step["clock"]["ledgers"]["method"] for step in steps_of(spec)]
    assert [round(share / 2.0, 2) for share in used] == pytest.approx(
        [0.1, 0.25, 0.5, 0.74, 0.99], abs=0.02
    )
    assert used[-1] <= 2.0


def test_bad_parameters_fail_the_run_with_their_name(toy_spec: Spec, monkeypatch):
    class Outside(Method):
        """Leaves the space."""

        name = "outside"
        citation = "-"

        def run(self, problem: Problem) -> None:
            problem.evaluate({"step_size": 7.0})

    known = registry.all_methods() | {"outside": Outside}
    monkeypatch.setattr(registry, "all_methods", lambda: known)
    spec = toy_spec("outside")
    outcome = execute(spec)
    assert outcome.status == "failed"
    assert "step_size = 7.0 is outside" in outcome.reason
    assert "Traceback" in spec.folder.error.read_text()
