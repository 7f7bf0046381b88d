"""Results that would mislead a careless reader, with the sentence that is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmark.analysis import contrasts, pairwise
from benchmark.analysis.verdict import _certainty as certainty
from benchmark.analysis.verdict import verdict, verdicts
from benchmark.display.tables import tables
from benchmark.runs.design import Contrast, Design
from benchmark.study.model import Study

Make = Callable[..., Study]
TASK = "schedule/digits"
VERSUS_RANDOM = (Contrast("against random", TASK, "bilevel", ("random",)),)


def deliver(study: Study, metric: str, values: dict[str, Sequence[float] | np.ndarray]) -> None:
    """Let every run of a method hold one value per seed in `metric` from its first report on."""
    frame = study.frame
    for method, per_seed in values.items():
        for seed, value in enumerate(per_seed):
            rows = (frame["method"] == method) & (frame["seed"] == seed)
            frame.loc[rows & (frame["metric"] == metric), "value"] = value


def noisy(level: float, seeds: int, name: str) -> np.ndarray:
    """Values around a level with 1.5 % of noise."""
    return level * np.exp(0.015 * np.random.default_rng([*name.encode()]).normal(size=seeds))


@pytest.fixture
def study(make_results: Make) -> Callable[..., Study]:
    """A study of one task, with FID of three methods per seed; the second network agrees."""

    def make(
        values: dict[str, Any], contrasts: tuple[Contrast, ...] = VERSUS_RANDOM, **design: Any
    ) -> Study:
        seeds = len(next(iter(values.values())))
        made: Study = make_results(tasks=1, methods=tuple(values), seeds=seeds)
        for metric in ("fid", "fid2"):
            deliver(made, metric, values)
        return replace(made, design=Design("bilevel", contrasts=contrasts, **design))

    return make


def levels(seeds: int = 10, **shares: float) -> dict[str, np.ndarray]:
    return {name: noisy(10 * share, seeds, name) for name, share in shares.items()}


def row(study: Study) -> dict[str, Any]:
    (found,) = contrasts.planned(study).to_dict("records")
    return found


def everything(study: Study) -> str:
    """All that is said anywhere."""
    said = [line for found in verdicts(study) for line in (found.headline, *found.sentences)]
    return " ".join([*verdict(study), *said])


def test_an_honest_win_is_the_answer(study: Callable[..., Study]) -> None:
    good = study(levels(random=1.0, bilevel=0.8))
    answer, certainty = verdict(good)
    assert re.fullmatch(
        r"bilevel is better than random on schedule/digits: FID [12]\d % lower over 10 seeds, "
        r"p = 0\.00(2|20)\.",
        answer,
    )
    assert "an exact test over the same 10 seeds" in certainty
    assert "the smallest p that so many can give is 0.002" in certainty
    assert row(good)["p"] == 2 / 2**10


def test_comparisons_of_unlike_size_are_not_said_to_be_alike() -> None:
    said = certainty([{"n": 6}, {"n": 8}])
    assert "over the same 6 to 8 seeds of both methods, corrected for all 2" in said
    assert "the smallest p that 6 can give is 0.031" in said


@pytest.mark.parametrize("kind", ["not finite", "failed"])
def test_failing_on_half_of_the_seeds_is_no_win(study: Callable[..., Study], kind: str) -> None:
    """20 % better on five seeds, nothing on the other five."""
    values = levels(default=2.0, random=1.0, bilevel=0.8)
    if kind == "not finite":
        values["bilevel"][:5] = np.nan
    bad = study(values)
    if kind == "failed":
        gone = (bad.runs["method"] == "bilevel") & (bad.runs["seed"] < 5)
        bad.runs.loc[gone, "status"] = "failed"
    assert row(bad)["outcome"] != "better"
    answer = verdict(bad)[0]
    assert answer == (
        "bilevel does not win: on schedule/digits bilevel has no finite result on 5 of 10 seeds, "
        "which counts as the worst value, random on none."
    )
    assert pairwise.ranking(bad.task(TASK))["method"].iloc[-1] == "bilevel"
    table = pairwise.compare(bad)
    assert not table[table["method"] == "bilevel"]["better"].any()
    exploratory = replace(bad, design=Design())
    assert verdict(exploratory)[0].startswith("random has the best result on schedule/digits")
    assert (
        "on schedule/digits bilevel has no finite result on 5 of 10 seeds"
        in everything(exploratory).lower()
    )


def test_failures_of_the_other_are_named_too(study: Callable[..., Study]) -> None:
    values = levels(random=1.0, bilevel=0.8)
    values["random"][3] = np.nan
    found = row(study(values))
    assert (found["outcome"], found["n"], found["failed_other"]) == ("better", 10, 1)
    assert "; random has no finite result on 1 of 10." in verdict(study(values))[0]


def test_a_second_measure_that_contradicts_takes_the_win_away(study: Callable[..., Study]) -> None:
    """FID halved, the second network's FID 1.5 times worse on all seeds."""
    gamed = study(levels(random=1.0, bilevel=0.5))
    deliver(gamed, "fid2", levels(random=1.0, bilevel=1.5))
    answer = verdict(gamed)[0]
    assert re.fullmatch(
        r"bilevel does not win: on schedule/digits the second measure contradicts: FID \d\d % "
        r"lower, but FID, 2nd net \d\d % higher than random's\.",
        answer,
    )
    assert row(gamed)["confirmed"] == "contradicted"
    table = pairwise.compare(gamed)
    assert not table[table["method"] == "bilevel"]["better"].any()
    exploratory = replace(gamed, design=Design())
    assert "the second measure contradicts the lead of bilevel" in verdict(exploratory)[-1]
    assert " wins" not in everything(gamed) + everything(exploratory)


def test_the_task_says_which_metric_confirms(study: Callable[..., Study]) -> None:
    """Of whatever name it is: here the recall."""
    gamed = study(levels(random=1.0, bilevel=0.5))
    facts = gamed.task_facts[TASK]
    metrics = [entry | {"confirms": entry["name"] == "recall"} for entry in facts["metrics"]]
    kept = [entry for entry in metrics if entry["name"] != "fid2"]
    gamed = replace(gamed, task_facts={TASK: dict(facts) | {"metrics": kept}})
    deliver(gamed, "recall", {"random": np.full(10, 0.8), "bilevel": np.full(10, 0.6)})
    assert row(gamed)["second"] == "recall"
    assert "but recall 0.2 lower than random's" in verdict(gamed)[0]


def test_a_gain_that_the_second_measure_does_not_show_is_no_win(
    study: Callable[..., Study],
) -> None:
    gamed = study(levels(random=1.0, bilevel=0.5))
    deliver(gamed, "fid2", {"random": np.arange(10) + 5.0, "bilevel": np.arange(10) + 5.0})
    assert "but no difference in FID, 2nd net" in verdict(gamed)[0]
    assert row(gamed)["outcome"] == "undecided"


def test_a_difference_below_any_interest_is_a_tie(study: Callable[..., Study]) -> None:
    """1e-12 apart on five seeds, always on the same side."""
    first = np.linspace(5.0, 6.0, 5)
    tied = study({"random": first, "bilevel": first * (1 - 1e-12)})
    answer = verdict(tied)[0]
    assert answer == (
        "bilevel does not win: on schedule/digits bilevel and random are tied, within 1 %."
    )
    assert (pairwise.compare(tied)["outcome"] == "tied").all()


def test_the_smallest_effect_is_the_suites(study: Callable[..., Study]) -> None:
    values = levels(random=1.0, bilevel=1.0)
    values["bilevel"] = values["random"] * 0.97
    assert row(study(values))["outcome"] == "better"
    assert row(study(values, smallest_effect=0.05))["outcome"] == "tied"


def test_a_rival_with_results_on_the_easy_seeds_alone_does_not_lead(
    study: Callable[..., Study],
) -> None:
    """Easy seeds are ten times better; the rival is 20 % worse on each of them."""
    easy = np.where(np.arange(10) < 5, 1.0, 10.0)
    values = levels(default=2.0, random=1.2, bilevel=1.0)
    partial = study({name: own * easy for name, own in values.items()})
    late = (partial.runs["method"] == "random") & (partial.runs["seed"] >= 5)
    partial.runs.loc[late, ["status", "gpu_hours"]] = ["interrupted", 0.0]
    assert row(partial)["n"] == 5
    assert row(partial)["lead"] == pytest.approx(1 / 6, abs=0.02)
    ranked = pairwise.ranking(partial.task(TASK))
    assert ranked["method"].tolist() == ["bilevel", "random", "default"]
    assert (ranked["n"] == 5).all()
    exploratory = replace(partial, design=Design())
    assert verdict(exploratory)[0].startswith("bilevel has the best result on schedule/digits")
    assert "random has the best" not in everything(exploratory)
    best = partial.task(TASK).trace("bilevel", "fid")
    mean = np.exp(np.mean([np.log(run.values[-1]) for run in best if run.seed < 5]))
    assert f"bilevel has the best FID, {mean:.3g}" in everything(exploratory)
    assert verdict(exploratory)[-1] == "Not all runs are finished, so this may change."


@pytest.mark.parametrize("zero", [0.0, -7e-15])
def test_zero_is_the_best_value_there_is(study: Callable[..., Study], zero: float) -> None:
    perfect = study({"random": noisy(5.0, 8, "random"), "bilevel": np.full(8, zero)})
    found = row(perfect)
    assert (found["n"], found["wins"], found["failed"]) == (8, 8, 0)
    assert (found["effect"], found["outcome"], found["p"]) == (0.0, "better", 2 / 2**8)
    assert verdict(perfect)[0].startswith(
        "bilevel is better than random on schedule/digits: FID 100 % lower over 8 seeds"
    )
    assert "has the best FID, 0 over 8 seeds" in everything(perfect)


def test_two_perfect_methods_are_level(study: Callable[..., Study]) -> None:
    found = row(study({"random": np.zeros(8), "bilevel": np.full(8, -1e-14)}))
    assert (found["n"], found["wins"], found["outcome"]) == (8, 0, "tied")


def test_a_distance_clearly_below_zero_is_no_distance(study: Callable[..., Study]) -> None:
    found = row(study({"random": noisy(5.0, 8, "random"), "bilevel": np.full(8, -3.0)}))
    assert (found["failed"], found["outcome"]) == (8, "worse")


@pytest.mark.parametrize("seeds", [2, 5])
def test_too_few_seeds_decide_nothing_and_say_so(study: Callable[..., Study], seeds: int) -> None:
    few = study(levels(seeds, random=1.0, bilevel=0.5))
    assert row(few)["outcome"] == "undecided"
    assert f"{seeds} seeds cannot decide against random" in verdict(few)[0]
    assert f"smallest possible p = {2 / 2**seeds:.2g}"[:27] in verdict(few)[0]


def test_losing_is_said_plainly(study: Callable[..., Study]) -> None:
    lost = study(levels(random=1.0, bilevel=3.0))
    assert verdict(lost)[0].startswith(
        "bilevel does not win: on schedule/digits bilevel is worse than random (FID "
    )
    assert "times as high" in verdict(lost)[0]


def test_against_several_the_largest_p_counts(study: Callable[..., Study]) -> None:
    """Better than each of three, or not better than the best of them."""
    three = (Contrast("against all", TASK, "bilevel", ("default", "random", "sobol")),)
    values = levels(default=2.0, random=1.0, sobol=1.1, bilevel=0.8)
    won = row(study(values, three))
    assert (won["other"], won["outcome"], won["p"]) == ("random", "better", 2 / 2**10)
    assert "is better than each of default, random and sobol on" in verdict(study(values, three))[0]
    values["random"] = noisy(8.0, 10, "level")
    level = row(study(values, three))
    assert (level["other"], level["outcome"]) == ("random", "undecided")
    values["random"] = noisy(4.0, 10, "ahead")
    lost = row(study(values, three))
    assert (lost["other"], lost["outcome"], lost["p"]) == ("random", "worse", 3 * 2 / 2**10)


def test_one_of_several_without_results_leaves_the_question_open(
    study: Callable[..., Study],
) -> None:
    two = (Contrast("against both", TASK, "bilevel", ("random", "sobol")),)
    found = study(levels(random=1.0, sobol=1.0, bilevel=0.8), two)
    found.runs.loc[found.runs["method"] == "sobol", ["status", "gpu_hours"]] = ["running", 0.0]
    assert row(found)["outcome"] == "missing"
    assert "bilevel and sobol have ended on no seed in common" in verdict(found)[0]


def test_holm_is_over_the_planned_comparisons_alone(study: Callable[..., Study]) -> None:
    both = (*VERSUS_RANDOM, Contrast("against default", TASK, "bilevel", ("default",)))
    planned = contrasts.planned(
        study(levels(default=2.0, random=1.0, sobol=1.0, bilevel=0.8), both)
    )
    assert planned["p"].tolist() == [2 / 2**10] * 2
    assert planned["p_holm"].tolist() == [2 * 2 / 2**10] * 2


def test_a_contrast_with_a_method_that_was_not_chosen_is_left_out(
    study: Callable[..., Study], caplog: pytest.LogCaptureFixture
) -> None:
    both = (*VERSUS_RANDOM, Contrast("against default", TASK, "bilevel", ("default",)))
    narrowed = study(levels(random=1.0, bilevel=0.8), both)
    assert row(narrowed)["name"] == both[0].name
    assert len(tables(narrowed)["contrasts"].data) == 1
    assert not caplog.records
    assert verdict(narrowed)[0].startswith("bilevel is better than random")


def test_several_claims_are_counted_and_the_shortfalls_named(study: Callable[..., Study]) -> None:
    both = (*VERSUS_RANDOM, Contrast("against default", TASK, "bilevel", ("default",)))
    mixed = study(levels(default=2.0, random=0.5, bilevel=1.0), both)
    answer, evidence, rest, _ = verdict(mixed)
    assert answer == "bilevel wins 1 of its 2 planned comparisons."
    assert evidence.startswith("It is better than default on schedule/digits (FID ")
    assert rest.startswith("On schedule/digits bilevel is worse than random (FID ")
    won = study(levels(default=2.0, random=1.5, bilevel=1.0), both)
    assert verdict(won)[0] == "bilevel wins all of its 2 planned comparisons."
    lost = study(levels(default=0.2, random=0.5, bilevel=1.0), both)
    assert verdict(lost)[0] == (
        "bilevel does not win: none of its 2 planned comparisons is decided in its favour."
    )


def test_without_a_plan_everything_is_exploratory(study: Callable[..., Study]) -> None:
    unplanned = replace(study(levels(random=1.0, bilevel=0.8)), design=Design())
    said = verdict(unplanned)
    assert said[0] == (
        "bilevel has the best result on schedule/digits (exploratory: no comparison was planned "
        "before the runs)."
    )
    assert said[1] == "The lead over every other method is shown on schedule/digits."


def test_a_plan_that_was_changed_after_runs_is_none(study: Callable[..., Study]) -> None:
    changed = study(levels(random=1.0, bilevel=0.8), changed=True)
    assert "the planned comparisons were changed after runs had begun" in verdict(changed)[0]


def test_a_reward_is_compared_by_its_difference(make_results: Make) -> None:
    made = make_results(tasks=2, methods=("random", "bilevel"), seeds=8)
    values = {"random": noisy(0.5, 8, "random"), "bilevel": noisy(0.6, 8, "bilevel")}
    deliver(made, "r1", values)
    plan = (Contrast("against random", "finetune/digits", "bilevel", ("random",)),)
    made = replace(made, design=Design("bilevel", contrasts=plan))
    found = row(made)
    assert found["effect"] == pytest.approx(np.mean(values["bilevel"] - values["random"]))
    assert found["lead"] == pytest.approx(0.2, abs=0.02)
    assert re.search(r"E\[r1\] 0\.(1|09)\d* higher over 8 seeds", verdict(made)[0])


def test_both_failing_everywhere_is_said_without_numbers(study: Callable[..., Study]) -> None:
    bad = study({"random": np.full(8, np.nan), "bilevel": np.full(8, np.nan)})
    assert row(bad)["outcome"] == "undecided"
    assert "no FID of both on any seed" in verdict(bad)[0]
    assert "No method has delivered a finite FID." in everything(bad)
    assert "nan" not in everything(bad)


def test_failing_on_different_seeds_is_level(study: Callable[..., Study]) -> None:
    values = levels(8, random=1.0, bilevel=0.5)
    values["random"][:4], values["bilevel"][4:] = np.nan, np.nan
    mixed = study(values)
    assert row(mixed)["outcome"] == "undecided"
    assert (
        "bilevel has no finite result on 4 and random has no finite result on 4 of 8"
        in verdict(mixed)[0]
    )
    assert "nan" not in everything(mixed)


def test_one_perfect_seed_is_no_perfect_method(study: Callable[..., Study]) -> None:
    """One zero among values that are 20 % better, or 20 % worse."""
    for share, outcome in ((0.8, "better"), (1.2, "undecided")):
        values = levels(8, random=1.0, bilevel=share)
        values["bilevel"][0] = 0.0
        found = row(study(values))
        assert found["outcome"] == outcome
        assert found["effect"] == pytest.approx(share, abs=0.03)


def test_no_second_value_confirms_nothing(study: Callable[..., Study]) -> None:
    gamed = study(levels(random=1.0, bilevel=0.5))
    deliver(gamed, "fid2", {"bilevel": np.full(10, np.nan)})
    assert row(gamed)["outcome"] == "undecided"
    assert "the second measure contradicts" in verdict(gamed)[0]
    assert "nan" not in everything(gamed)


def test_identical_second_values_do_not_contradict(study: Callable[..., Study]) -> None:
    same = study(levels(random=1.0, bilevel=0.5), smallest_effect=0.0)
    deliver(same, "fid2", {name: np.ones(10) for name in ("random", "bilevel")})
    assert row(same)["confirmed"] == "absent"


def test_a_plan_that_was_not_run_leaves_an_exploratory_answer(study: Callable[..., Study]) -> None:
    """Somebody runs their own method and one baseline of a suite."""
    mine = study(levels(random=1.0, mine=0.8))
    assert verdict(mine)[0] == (
        "mine has the best result on schedule/digits (exploratory: no planned comparison has been "
        "run)."
    )


def test_a_better_method_that_nobody_planned_for_is_named(study: Callable[..., Study]) -> None:
    said = verdict(study(levels(random=1.0, mine=0.4, bilevel=0.8)))
    assert said[0].startswith("bilevel is better than random")
    assert said[-1] == "Exploratory: mine has the best result on schedule/digits."
