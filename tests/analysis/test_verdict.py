"""What is said without planned comparisons, on results whose truth is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark.analysis import pairwise
from benchmark.analysis.verdict import EXPLANATION, verdict, verdicts
from benchmark.study.model import Study

Make = Callable[..., Study]
TASK = "schedule/digits"


def deliver(study: Study, metric: str, values: Mapping[str, np.ndarray]) -> None:
    """Let every run of a method hold one value per seed in `metric` from its first report on."""
    frame = study.frame
    for method, per_seed in values.items():
        for seed, value in enumerate(per_seed):
            rows = (frame["method"] == method) & (frame["seed"] == seed)
            frame.loc[rows & (frame["metric"] == metric), "value"] = value


@pytest.fixture
def ten(make_results: Make) -> Study:
    """`bilevel` 20 % below `random`, which is level with `sobol`; `default` far above."""
    study = make_results(tasks=1, methods=("default", "random", "sobol", "bilevel"), seeds=10)
    rng = np.random.default_rng(1)
    level = 10 * np.exp(0.1 * rng.normal(size=10))
    noise = np.exp(0.02 * rng.normal(size=(4, 10)))
    shares = {"default": 2.0, "random": 1.0, "sobol": 1.0, "bilevel": 0.8}
    values = {name: level * share * noise[i] for i, (name, share) in enumerate(shares.items())}
    for metric in ("fid", "fid2"):
        deliver(study, metric, values)
    return study


def text(study: Study) -> str:
    """What is said of the only task."""
    (found,) = verdicts(study)
    return " ".join([found.headline, *found.sentences])


def test_a_lead_over_all_is_claimed_with_its_family(ten: Study) -> None:
    assert re.fullmatch(
        r"bilevel has the best FID, [\d.]+ \[[\d.]+, [\d.]+\] over 10 seeds; next is "
        r"(random|sobol) with [\d.]+ \[[\d.]+, [\d.]+\]\. "
        r"FID [12]\d % lower than (random|sobol)'s, ahead on 10 of 10 seeds\. "
        r"bilevel is better than default, random and sobol after Holm's correction for 6 pairs\.",
        text(ten),
    )
    assert verdict(ten) == [
        "bilevel has the best result on schedule/digits (exploratory: no comparison was planned "
        "before the runs).",
        "The lead over every other method is shown on schedule/digits.",
    ]
    assert "not evidence that the methods are equal" in EXPLANATION


def test_what_was_asked_for_and_has_no_run_yet_is_said(ten: Study) -> None:
    planned = tuple((TASK, name) for name in ten.methods)
    assert "no run yet" not in text(replace(ten, planned=planned))
    kept = {
        "runs": ten.runs.query("method != 'sobol'"),
        "frame": ten.frame.query("method != 'sobol'"),
    }
    assert "Planned, but with no run yet: sobol." in text(replace(ten, planned=planned, **kept))
    assert "no run yet" not in text(replace(ten, **kept))


def test_the_numbers_are_scipys(ten: Study) -> None:
    row = _row(ten, "bilevel", "random")
    last = _last(ten)
    logs = np.log(last["bilevel"].to_numpy()), np.log(last["random"].to_numpy())
    interval = stats.ttest_rel(*logs).confidence_interval()
    exact = stats.permutation_test((logs[0] - logs[1],), np.sum, permutation_type="samples")
    assert row["p"] == pytest.approx(exact.pvalue)
    assert row["effect"] == pytest.approx(np.exp(logs[0].mean() - logs[1].mean()))
    assert row["low"] == pytest.approx(np.exp(interval.low))
    assert row["high"] == pytest.approx(np.exp(interval.high))
    assert row["lead"] == pytest.approx(1 - row["effect"])
    assert (row["n"], row["wins"], row["pairs"], row["better"]) == (10, 10, 6, True)


def test_both_orders_of_a_pair_agree(ten: Study) -> None:
    table = pairwise.compare(ten)
    keys = ["metric", "method", "other"]
    there = table.set_index(keys)
    back = table.rename(columns={"method": "other", "other": "method"}).set_index(keys)
    there, back = there.align(back)
    assert np.allclose(there["effect"], 1 / back["effect"])
    assert np.allclose(there["low"], 1 / back["high"])
    assert (there["p_holm"] == back["p_holm"]).all()
    assert (there["wins"] + back["wins"] == there["n"]).all()
    assert not (there["better"] & back["better"]).any()


def test_level_methods_are_not_told_apart(ten: Study) -> None:
    ten = _without(ten, "bilevel")
    said = text(ten)
    assert re.search(r"^(random|sobol) has the best FID", said)
    assert re.search(r"(random|sobol) is better than default after Holm's correction for 3", said)
    assert re.search(r"(random|sobol) is not shown to be better than (random|sobol)\.$", said)
    assert verdict(ten)[1] == "The lead over every other method is not shown on schedule/digits."


def test_a_lead_that_the_second_metric_contradicts_is_none(ten: Study) -> None:
    deliver(ten, "fid2", {"bilevel": np.full(10, 50.0)})
    said = text(ten)
    assert "bilevel is not shown to be better than default, random and sobol." in said
    assert re.search(
        r"On schedule/digits the second measure contradicts the lead of bilevel: FID, 2nd net "
        r"[\d.]+ times (random|sobol)'s\.",
        said,
    )


def test_few_seeds_claim_nothing(ten: Study) -> None:
    kept = ten.frame["seed"] < 4
    few = replace(ten, frame=ten.frame[kept], runs=ten.runs[ten.runs["seed"] < 4])
    assert (
        "bilevel is not shown to be better than default, random and sobol: 4 seeds cannot show "
        "anything after correction for 6 pairs, only planned comparisons can."
    ) in text(few)
    assert not pairwise.compare(few)["better"].any()


def test_an_oracle_is_named_and_not_counted(ten: Study) -> None:
    ten.method_facts["bilevel"] |= {"ranked": False, "uses": "hindsight"}
    (found,) = verdicts(ten)
    assert re.match(r"(random|sobol) has the best FID", found.headline)
    assert re.search(
        r"Not ranked: bilevel with .* ahead of the first \(uses: hindsight\)\.", text(ten)
    )
    assert "bilevel, which is not ranked, is better than all that are." in verdict(ten)[2]
    assert "bilevel" not in set(pairwise.compare(ten)["method"])


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_no_sentence_claims_more_than_the_table(make_results: Make, seeds: int) -> None:
    """On noise alone and few seeds: whatever is called better is so in the comparisons."""
    study = make_results(tasks=2, methods=("default", "random", "sobol"), seeds=seeds)
    for found in verdicts(study):
        primary = study.task(found.task).primary.name
        compared = pairwise.compare(study)
        final = compared[(compared["task"] == found.task) & (compared["metric"] == primary)]
        leader = found.headline.split(" has the best ")[0]
        own = final[final["method"] == leader].set_index("other")["better"]
        shown = [line for line in found.sentences if " is better than " in line]
        assert len(shown) == bool(own.any())
        for other, better in own.items():
            assert any(str(other) in line for line in shown) == better


def test_seeds_are_paired_by_name_not_by_position(ten: Study) -> None:
    runs = ten.runs[~((ten.runs["method"] == "random") & (ten.runs["seed"] == 0))]
    row = _row(replace(ten, runs=runs), "bilevel", "random")
    last = _last(ten)
    ratios = np.log(last["bilevel"].to_numpy()[1:] / last["random"].to_numpy()[1:])
    assert row["n"] == 9
    assert row["effect"] == pytest.approx(np.exp(ratios.mean()))


def test_failed_and_unfinished_runs_are_said(ten: Study) -> None:
    early = (ten.runs["method"] == "sobol") & (ten.runs["seed"] < 2)
    ten.runs.loc[early, "status"] = "failed"
    assert "On schedule/digits sobol has no finite result on 2 of 10 seeds." in text(ten)
    assert verdict(ten)[-1] == "On schedule/digits sobol has no finite result on 2 of 10 seeds."
    ten.runs.loc[early, "status"] = "interrupted"
    again = replace(ten, runs=ten.runs.copy())
    assert "Not all runs are finished (2 interrupted of 40), so all this may change." in text(again)
    assert verdict(again)[-1] == "Not all runs are finished, so this may change."


def test_nothing_delivered(make_results: Make) -> None:
    study = make_results(tasks=1)
    study.runs["status"] = "running"
    empty = replace(study, frame=study.frame.iloc[:0])
    assert text(empty).startswith("Nothing finite has been delivered yet, so nothing can be said.")
    assert verdict(empty)[0] == "Nothing finite has been delivered yet, so nothing can be said."


def test_one_method_is_alone(make_results: Make) -> None:
    alone = make_results(tasks=1, methods=("random",))
    assert re.fullmatch(r"Only random has results: .* over 3 seeds\.", text(alone))
    assert len(verdict(alone)) == 1


def _row(study: Study, method: str, other: str) -> pd.Series:
    """The comparison of FID at the end of the budget."""
    table = pairwise.compare(study).query("metric == 'fid'")
    return table.set_index(["method", "other"]).loc[(method, other)]


def _last(study: Study) -> pd.DataFrame:
    """Last FID by method and seed."""
    frame = study.frame[study.frame["metric"] == "fid"]
    return frame.groupby(["method", "seed"])["value"].last()


def _without(study: Study, method: str) -> Study:
    facts = {label: own for label, own in study.method_facts.items() if label != method}
    frame, runs = study.frame, study.runs
    return replace(
        study, frame=frame[frame["method"] != method], runs=runs[runs["method"] != method],
        method_facts=facts,
    )  # fmt: skip
