"""Normalised scores and their mean over tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import measures, statistics
from benchmark.runs.design import Design
from benchmark.study.model import Study

Make = Callable[..., Study]
FID, REWARD = "schedule/digits", "finetune/digits"


@pytest.fixture
def study(make_results: Make) -> Study:
    found = make_results(tasks=2, methods=("default", "random", "bilevel"), seeds=4)
    found.task_facts[FID] = found.task_facts[FID] | {
        "references": {"default": {"fid": 4.0}, "tuned": {"fid": 1.0}}
    }
    found.task_facts[REWARD] = found.task_facts[REWARD] | {
        "references": {"default": {"r1": 0.0}, "tuned": {"r1": 2.0}}
    }
    return found


def set_final(study: Study, task: str, metric: str, method: str, value: float) -> None:
    frame = study.frame
    rows = (frame["task"] == task) & (frame["metric"] == metric) & (frame["method"] == method)
    frame.loc[rows, "value"] = value


def test_references_are_0_and_1_on_the_metrics_own_scale(study: Study) -> None:
    for method, value in (("default", 4.0), ("random", 2.0), ("bilevel", 0.5)):
        set_final(study, FID, "fid", method, value)
    for method, value in (("default", 0.0), ("random", 1.0), ("bilevel", 3.0)):
        set_final(study, REWARD, "r1", method, value)
    scores = measures.scores(study)
    means = scores.groupby(["method", "task"])["score"].mean()
    assert means["default"].tolist() == pytest.approx([0.0, 0.0])
    assert means["random"].tolist() == pytest.approx([0.5, 0.5])
    assert means["bilevel"].tolist() == pytest.approx([1.5, 1.5])


def test_a_run_without_a_result_has_the_worst_score(study: Study) -> None:
    gone = (study.runs["method"] == "random") & (study.runs["seed"] == 0)
    study.runs.loc[gone, "status"] = "failed"
    scores = measures.scores(study)
    own = scores[scores["method"] == "random"]
    assert len(own) == 8
    assert np.isneginf(own["score"]).sum() == 2


def test_a_task_without_references_has_no_scores(study: Study) -> None:
    study = with_references(study, FID, {})
    assert set(measures.scores(study)["task"]) == {REWARD}
    study = with_references(study, REWARD, {"default": {"r1": 1.0}, "tuned": {"r1": 1.0}})
    assert measures.scores(study).empty


def with_references(study: Study, task: str, references: dict[str, Any]) -> Study:
    described = study.task_facts[task] | {"references": references}
    return replace(study, task_facts=study.task_facts | {task: described})


def test_a_mean_over_tasks_is_for_methods_that_ran_on_all() -> None:
    scores = pd.DataFrame(
        [("a", "m", 0, 0.2), ("a", "m", 1, 0.6), ("b", "m", 0, 1.0), ("a", "n", 0, 0.4)],
        columns=["task", "method", "seed", "score"],
    )
    assert measures.aggregate(scores)["method"].tolist() == ["m"]  # n has no run on b


def test_mean_over_tasks_weighs_tasks_alike() -> None:
    scores = pd.DataFrame(
        {"task": [*"aabbb"], "method": "m", "seed": [0, 1, 0, 1, 2], "score": [0, 0.2, 1, 1.2, 0.8]}
    )
    row = measures.aggregate(scores).iloc[0]
    expected = statistics.mean_of_means([[0.0, 0.2], [1.0, 1.2, 0.8]])
    assert row["mean"] == pytest.approx(0.55)
    assert (row["low"], row["n"], row["tasks"]) == (expected.low, 5, 2)


def test_targets_are_shares_of_the_stored_gain(study: Study) -> None:
    """Between 4 and 1 on the log scale, and between 0 and 2."""
    goals = measures.targets(study)
    assert goals["target"].tolist() == ["50 % of the gain", "90 % of the gain"] * 2
    assert goals["value"].tolist() == pytest.approx([2.0, 4**0.1, 1.0, 1.8])
    stated = replace(study, design=Design(targets=(0.0, 1.0)))
    assert measures.targets(stated)["value"].tolist() == pytest.approx([4.0, 1.0, 0.0, 2.0])
    assert measures.targets(stated)["target"].tolist()[:2] == ["stored default", "stored tuned run"]
    assert measures.targets(with_references(study, FID, {}))["task"].unique().tolist() == [REWARD]


def test_no_method_of_the_comparison_moves_a_target(study: Study) -> None:
    before = measures.targets(study)
    for method in study.methods:
        set_final(study, FID, "fid", method, 1e-9)
    pd.testing.assert_frame_equal(before, measures.targets(replace(study, name="again")))


def test_gain_is_a_share_of_the_stored_gain_at_any_moment(study: Study) -> None:
    for method, value in (("default", 4.0), ("random", 2.0), ("bilevel", 0.5)):
        set_final(study, FID, "fid", method, value)
    table = measures.gains(study).query("task == @FID and fraction == 0.5").set_index("method")
    assert table["mean"].to_dict() == pytest.approx({"default": 0.0, "random": 0.5, "bilevel": 1.5})
    assert (table["runs"] == 4).all()
    assert len(measures.gains(study)) == 2 * 3 * len(measures.FRACTIONS)


@pytest.mark.parametrize("zero", [0.0, -7e-15])
def test_a_perfect_run_has_the_best_score_and_is_counted(study: Study, zero: float) -> None:
    set_final(study, FID, "fid", "random", zero)
    own = measures.scores(study).query("task == @FID and method == 'random'")["score"]
    assert len(own) == 4
    assert np.isfinite(own).all()
    assert (own > 5).all()
    quality = measures.quality(study).query("metric == 'fid' and method == 'random'")
    last = quality[quality["fraction"] == 1.0].iloc[0]
    assert (last["n"], last["runs"], last["mean"]) == (4, 4, 0.0)
    costs = measures.costs(study).query("task == @FID and method == 'random'")
    assert (costs["successes"] == 4).all()
