"""What is claimed in words, and what is not, on results whose truth is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark.analysis import overall, pairwise
from benchmark.analysis.verdict import verdicts
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
    verdict = verdicts(study)[0]
    return " ".join([verdict.headline, *verdict.sentences])


def everything(study: Study) -> str:
    """What is said over all tasks."""
    return " ".join(overall.sentences(verdicts(study)))


def test_a_lead_over_all_is_claimed_with_its_test(ten: Study) -> None:
    said = text(ten)
    assert re.match(
        r"bilevel wins with FID [\d.]+ \[[\d.]+, [\d.]+\] \(n = 10\): "
        r"better than all 3 other methods\. Next is (random|sobol) with [\d.]+ \[",
        said,
    )
    assert re.search(r"Better than (random, sobol|sobol, random) and default: p <= 0\.", said)
    assert "in paired t tests over 10 seeds, after Holm's correction for 6 pairs" in said
    assert "Not shown" not in said
    assert re.search(r"At 25 % of the budget bilevel is first with .*; at 50 % bilevel is", said)
    assert "In FID, 2nd net, the second measure of the same, bilevel is first too" in said
    assert "; all its 3 leads are shown there as well." in said
    assert everything(ten) == (
        "bilevel wins on schedule/digits: it is shown to be better than every other method."
    )


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
    expected = stats.ttest_rel(*logs)
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["effect"] == pytest.approx(np.exp(logs[0].mean() - logs[1].mean()))
    assert row["low"] == pytest.approx(np.exp(expected.confidence_interval().low))
    assert (row["n"], row["wins"], row["pairs"], row["better"]) == (10, 10, 6, True)


def test_both_orders_of_a_pair_agree(ten: Study) -> None:
    table = verdicts(ten)[0].comparisons
    keys = ["metric", "fraction", "method", "other"]
    there = table.set_index(keys)
    back = table.rename(columns={"method": "other", "other": "method"}).set_index(keys)
    there, back = there.align(back)
    logs = there.index.get_level_values("metric") != "recall"
    assert np.allclose(there.loc[logs, "effect"], 1 / back.loc[logs, "effect"])
    assert np.allclose(there.loc[~logs, "low"], -back.loc[~logs, "high"])
    assert (there["p_holm"] == back["p_holm"]).all()
    assert not (there["better"] & back["better"]).any()


def test_level_methods_are_not_told_apart(ten: Study) -> None:
    ten = _without(ten, "bilevel")
    said = text(ten)
    assert re.search(r"^(random|sobol) leads with FID .* It is better than 1 of 2 other", said)
    assert re.search(r"and not shown to be better than (random|sobol)\. ", said)
    assert "Not shown to be better than these, nor equal to them" in said
    assert "Better than default: p <=" in said
    assert "wins" not in said
    assert "on schedule/digits (better than 1 of 2 other methods)." in everything(ten)


def test_methods_that_are_all_level_have_no_winner(ten: Study) -> None:
    level = _without(_without(ten, "bilevel"), "default")
    said = text(level)
    assert said.startswith("No method is shown to win. ")
    assert re.search(r"has the best mean: FID .*; it is not shown to be better than", said)
    assert everything(level).startswith("On schedule/digits no method is shown to win: ")


def test_a_lead_that_the_second_metric_does_not_show_is_named(ten: Study) -> None:
    deliver(ten, "fid2", {"bilevel": np.full(10, 50.0)})
    said = text(ten)
    assert "bilevel is number 4 of 4 with 50" in said
    assert re.search(r"; its leads over .*, .* and .* are not shown there\.", said)


def test_few_seeds_claim_nothing(ten: Study) -> None:
    kept = ten.frame["seed"] < 4
    few = _replace(ten, ten.frame[kept], ten.runs[ten.runs["seed"] < 4])
    said = text(few)
    assert said.startswith("No method is shown to win. bilevel has the best mean: FID")
    assert "4 seeds are too few to call a method better, which takes 5." in said
    assert "Better than" not in said
    assert not verdicts(few)[0].comparisons["better"].any()


def test_an_oracle_is_named_and_not_counted(ten: Study) -> None:
    ten.method_facts["bilevel"] |= {"ranked": False, "uses": "hindsight"}
    verdict = verdicts(ten)[0]
    assert verdict.leader in ("random", "sobol")
    assert verdict.unranked_ahead == ["bilevel"]
    assert re.search(
        r"Not ranked: bilevel with .* ahead of the leader \(uses: hindsight\)\.", text(ten)
    )
    assert "bilevel, which is not ranked, has a better mean on schedule/digits." in everything(ten)
    assert "bilevel" not in set(verdict.comparisons["method"])


def test_no_sentence_claims_more_than_the_table(make_results: Make) -> None:
    """On noise alone and few seeds: whatever is called better is so in the comparisons."""
    for seeds in (3, 5, 8):
        study = make_results(tasks=2, methods=("default", "random", "sobol"), seeds=seeds)
        for verdict in verdicts(study):
            table = verdict.comparisons
            primary = study.task_facts[verdict.task]["metrics"][0]["name"]
            final = table[(table["fraction"] == 1.0) & (table["metric"] == primary)]
            own = final[final["method"] == verdict.leader].set_index("other")["better"]
            assert verdict.beaten == own.sum()
            assert (" wins with " in verdict.headline) == bool(own.all())
            shown = [text for text in verdict.sentences if text.startswith("Better than ")]
            assert len(shown) == bool(own.any())
            for other, better in own.items():
                assert any(str(other) in text.partition(":")[0] for text in shown) == better


def test_seeds_are_paired_by_name_not_by_position(ten: Study) -> None:
    gone = (ten.frame["method"] == "random") & (ten.frame["seed"] == 0)
    row = _row(_replace(ten, ten.frame[~gone], ten.runs), "bilevel", "random")
    last = _last(ten)
    ratios = np.log(last["bilevel"].to_numpy()[1:] / last["random"].to_numpy()[1:])
    assert row["n"] == 9
    assert row["effect"] == pytest.approx(np.exp(ratios.mean()))


def test_unfinished_and_missing_runs_are_said(ten: Study) -> None:
    ten.runs.loc[(ten.runs["method"] == "sobol") & (ten.runs["seed"] < 2), "status"] = "failed"
    said = text(ten)
    assert "Not all runs are finished (2 failed of 40)" in said
    assert "finite value: sobol 8 of 10" in said
    assert verdicts(ten)[0].unfinished
    assert everything(ten).endswith("Not all runs are there and finished, so this may change.")


def test_nothing_delivered(make_results: Make) -> None:
    study = make_results(tasks=1)
    empty = _replace(study, study.frame.iloc[:0], study.runs)
    assert text(empty).startswith("No run has delivered anything yet")
    assert "Nothing has been delivered yet on schedule/digits." in everything(empty)


def test_improvement_of_a_better_method(ten: Study) -> None:
    table = pairwise.improvements(ten).set_index(["method", "other"])
    row = table.loc[("bilevel", "default")]
    assert row["probability"] == 1.0
    assert 0.5 < row["low"] < row["high"] == 1.0
    back = table.loc[("default", "bilevel")]
    assert (back["probability"], back["high"]) == (0.0, pytest.approx(1 - row["low"]))


def _row(study: Study, method: str, other: str) -> pd.Series:
    """The comparison of FID at the end of the budget."""
    table = verdicts(study)[0].comparisons.query("metric == 'fid' and fraction == 1")
    return table.set_index(["method", "other"]).loc[(method, other)]


def _last(study: Study) -> pd.Series:
    """Last FID by method and seed."""
    frame = study.frame[study.frame["metric"] == "fid"]
    return frame.groupby(["method", "seed"])["value"].last()


def _replace(study: Study, frame: pd.DataFrame, runs: pd.DataFrame) -> Study:
    return replace(study, frame=frame, runs=runs)


def _without(study: Study, method: str) -> Study:
    frame, runs = study.frame, study.runs
    kept = _replace(study, frame[frame["method"] != method], runs[runs["method"] != method])
    del kept.method_facts[method]
    return kept
