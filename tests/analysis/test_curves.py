"""Step functions, their alignment, and run-length costs, on cases done by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.analysis.curves import (
    Trace,
    align,
    at_fractions,
    cost_to_target,
    expected_running_time,
)
from benchmark.study.model import Study

Make = Callable[..., Study]


def trace(hours: list[float], values: list[float], end: float = 1.0, seed: int = 0) -> Trace:
    return Trace(seed, np.array(hours), np.array(values), end)


def test_a_trace_is_a_right_continuous_step_function() -> None:
    run = trace([0.2, 0.5], [3.0, 1.0])
    known = run.at([0.1, 0.2, 0.49, 0.5, 1.0, 1.1])
    np.testing.assert_array_equal(known, [np.nan, 3, 3, 1, 1, np.nan])


def test_the_later_of_two_reports_at_one_moment_counts() -> None:
    assert trace([0.2, 0.2], [3.0, 2.0]).at(0.2) == 2


def test_a_diverged_incumbent_is_not_hidden_by_the_one_before() -> None:
    run = trace([0.1, 0.5], [2.0, np.nan])
    assert np.isnan(run.at(0.6))
    assert run.first == 0.1


def test_reaching_a_target() -> None:
    run = trace([0.1, 0.3, 0.6], [3.0, 1.0, 2.0])
    assert run.reaches(1.5, higher_is_better=False) == 0.3
    assert run.reaches(3.0, higher_is_better=True) == 0.1
    assert run.reaches(0.5, higher_is_better=False) == np.inf


def test_alignment_starts_at_the_latest_first_report_and_fills_forward() -> None:
    curve = align([trace([0.1, 0.6], [5, 3]), trace([0.3, 0.5], [4, 2], seed=1)])
    assert curve is not None
    np.testing.assert_array_equal(curve.hours, [0.3, 0.5, 0.6, 1.0])
    np.testing.assert_array_equal(curve.values, [[5, 5, 3, 3], [4, 2, 2, 2]])


def test_an_unfinished_run_leaves_the_curve_where_it_is() -> None:
    curve = align([trace([0.1], [5.0]), trace([0.2], [4.0], end=0.5)])
    assert curve is not None
    np.testing.assert_array_equal(curve.hours, [0.2, 0.5, 1.0])
    np.testing.assert_array_equal(curve.values[1], [4, 4, np.nan])


def test_nothing_to_align() -> None:
    assert align([]) is None
    assert align([trace([0.1], [np.nan])]) is None


steps = st.lists(st.tuples(st.floats(0.01, 1), st.floats(-5, 5)), min_size=1, max_size=8)


@given(st.lists(steps, min_size=1, max_size=4))
def test_aligned_values_are_each_runs_own(runs: list[list[tuple[float, float]]]) -> None:
    found = []
    for seed, points in enumerate(runs):
        points.sort(key=lambda point: point[0])
        found.append(trace([x for x, _ in points], [y for _, y in points], seed=seed))
    curve = align(found)
    assert curve is not None
    assert np.isfinite(curve.values).all()
    assert (np.diff(curve.hours) > 0).all()
    for run, row in zip(found, curve.values, strict=True):
        np.testing.assert_array_equal(run.at(curve.hours), row)


def test_values_at_fractions() -> None:
    run = trace([0.2, 1.0], [3.0, 1.0], end=2.0)
    np.testing.assert_array_equal(at_fractions([run], 2.0, (0.05, 0.25, 1.0)), [[np.nan, 3, 1]])
    assert at_fractions([], 2.0, (0.5, 1.0)).shape == (0, 2)


def test_expected_running_time_is_all_cost_over_successes() -> None:
    """Two hits at 1 and 3 hours, one run of 8 hours without: 12 / 2."""
    cost = expected_running_time([1, 3, np.inf], [8, 8, 8], censored=8)
    assert (cost.gpu_hours, cost.successes, cost.runs) == (6.0, 2, 3)
    assert cost.low < 6.0 < cost.high
    assert expected_running_time([np.inf], [8], censored=8).gpu_hours == np.inf
    assert np.isnan(expected_running_time([], [], censored=np.nan).gpu_hours)


def test_traces_take_incumbents_and_reported_metrics_alone(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=2)
    reported = {metric for _, _, metric in study.traces if not metric.startswith("param:")}
    assert reported == {"fid", "fid2", "recall"}
    frame = study.frame
    chosen = frame[(frame["metric"] == "fid") & (frame["seed"] == 1)]
    assert chosen["incumbent"].all()
    second = study.task("schedule/digits").trace("random", "fid")[1]
    np.testing.assert_array_equal(second.values, chosen["value"])
    assert second.end == chosen["budget"].iloc[0]


def test_a_step_past_the_budget_belongs_to_its_end(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=1)
    last = study.frame["gpu_hours"] == study.frame["gpu_hours"].max()
    study.frame.loc[last, ["gpu_hours", "incumbent"]] = [1.01 * 60 / 3600, True]
    (run,) = study.task("schedule/digits").trace("random", "fid")
    assert run.hours[-1] <= run.end


def test_failed_runs_have_no_trace_and_unfinished_ones_end_early(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=2)
    study.runs.loc[0, "status"] = "failed"
    study.runs.loc[1, ["status", "gpu_hours"]] = ["running", 0.01]
    (run,) = study.task("schedule/digits").trace("random", "fid")
    assert (run.seed, run.end) == (1, 0.01)


def test_cost_to_target_counts_failed_runs_as_misses(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=3)
    study.runs.loc[2, ["status", "gpu_hours"]] = ["failed", 0.002]
    first = [run.hours[0] for run in study.task("schedule/digits").trace("random", "fid")]
    cost = cost_to_target(study, "schedule/digits", "random", target=1e9)
    assert (cost.successes, cost.runs) == (2, 3)
    assert cost.gpu_hours == pytest.approx((sum(first) + 0.002) / 2)


def test_a_target_beyond_reach_is_censored_at_the_budget(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=2)
    cost = cost_to_target(study, "schedule/digits", "random", target=0.0)
    assert cost.gpu_hours == np.inf
    assert cost.censored == pytest.approx(60 / 3600)


def test_an_empty_frame_has_no_traces(make_results: Make) -> None:
    study = make_results(tasks=1)
    assert replace(study, frame=study.frame.iloc[:0]).traces == {}
