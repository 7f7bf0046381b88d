"""What the tables say, also about runs that are not there, and that they can be typeset."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import measures, work
from benchmark.display import formatting, table
from benchmark.display.tables import MAKERS, summary, tables, write_tables
from benchmark.study.model import Study, Unit

Make = Callable[..., Study]
TASK = "schedule/digits"


def texts(study: Study) -> pd.DataFrame:
    blocks = summary(study).blocks
    return pd.concat([block.texts().assign(task=block.task) for block in blocks], ignore_index=True)


def test_final_quality_is_the_last_incumbents_geometric_mean(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=4)
    frame = study.frame[study.frame["metric"] == "fid"].sort_values("event")
    last = frame.groupby("seed")["value"].last().to_numpy()
    quality = measures.quality(study)
    final = quality[(quality["metric"] == "fid") & (quality["fraction"] == 1.0)].iloc[0]
    assert final["mean"] == pytest.approx(np.exp(np.log(last).mean()))
    assert (final["n"], final["runs"]) == (4, 4)


def test_every_pair_has_a_row_also_without_results(make_results: Make) -> None:
    study = make_results(tasks=2, methods=("default", "random", "sobol"))
    study.runs.loc[study.runs["method"] == "random", "status"] = "failed"
    gone = study.runs["method"] == "sobol"
    study = replace(
        study,
        runs=study.runs[~gone],
        frame=study.frame[study.frame["method"] != "sobol"],
        planned=tuple(itertools.product(study.tasks, study.methods)),
    )
    shown = texts(study).set_index(["task", "method"])
    assert len(shown) == 6
    assert shown.loc[(TASK, "random"), "runs"] == "3 failed"
    assert shown.loc[(TASK, "sobol"), "runs"] == "no run yet"
    for method in ("random", "sobol"):
        assert shown.loc[(TASK, method), "at the end [95 % t]"] == formatting.MISSING
        assert shown.loc[(TASK, method), "n"] == "0"
    for made in tables(study).values():
        assert not any(cell.text == "nan" for b in made.blocks for row in b.rows for cell in row)


def test_pairs_that_are_not_planned_are_left_out(make_results: Make) -> None:
    study = make_results(tasks=2, methods=("default", "random", "sobol"))
    first, second = study.tasks
    gone = (study.runs["task"] == second) & study.runs["method"].isin(["random", "sobol"])
    rows = (study.frame["task"] == second) & study.frame["method"].isin(["random", "sobol"])
    planned = {(first, name) for name in study.methods} | {(second, "random")}
    study = replace(
        study,
        runs=study.runs[~gone],
        frame=study.frame[~rows],
        planned=tuple(planned),
    )
    status = texts(study).set_index(["task", "method"])["runs"]
    assert status[second].to_dict() == {"default": "3 finished", "random": "no run yet"}
    assert set(status[first].index) == {"default", "random", "sobol"}
    for made in tables(study).values():
        if "task" in made.data and "method" in made.data:
            assert not ((made.data["task"] == second) & (made.data["method"] == "sobol")).any()


def test_nothing_has_been_run(make_results: Make) -> None:
    study = make_results(tasks=1)
    planned = tuple(itertools.product(study.tasks, study.methods))
    study = replace(study, frame=study.frame.iloc[:0], runs=study.runs.iloc[:0], planned=planned)
    assert (texts(study)["runs"] == "no run yet").all()
    assert set(tables(study)) == set(MAKERS)


def test_a_moment_with_fewer_runs_says_so(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("random",), seeds=3)
    late = (study.frame["seed"] == 0) & (study.frame["gpu_hours"] < 0.4 * 60 / 3600)
    assert "(" not in texts(study).loc[0, "at 25 %"]
    study = replace(study, frame=study.frame[~late])
    assert texts(study).loc[0, "at 25 %"].endswith(" (2)")


def test_kinds_of_work_add_up_to_the_charged_time(make_results: Make) -> None:
    table = work.kinds_of_work(make_results(tasks=2))
    seconds = table[table["task"] == TASK].groupby("method")["seconds"].sum()
    np.testing.assert_allclose(seconds, 60.0)


def test_files(make_results: Make, tmp_path: Path) -> None:
    study = make_results(tasks=2, methods=("default", "random", "my_method|50%"))
    written = write_tables(study, tmp_path / "tables")
    assert len(written) == 3 * len(tables(study))
    assert all(path.exists() for path in written)
    csv = pd.read_csv(tmp_path / "tables" / "quality.csv")
    expected = measures.quality(study)
    pd.testing.assert_frame_equal(csv, expected, check_dtype=False, check_exact=True)
    for path in written:
        if path.suffix == ".md":
            blocks = [b for b in path.read_text().split("\n\n") if b.startswith("|")]
            for block in blocks:
                cells = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
                assert len(cells) == 1


def test_latex_is_well_formed(make_results: Make) -> None:
    study = make_results(tasks=2, methods=("default", "my_method|50%"))
    for made in tables(study).values():
        text = table.latex(made)
        bare = re.sub(r"\\[\\&%$#_{}]", "", text)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert bare.isascii()
        bodies = [part.split(r"\end{tabular}")[0] for part in text.split(r"\begin{tabular}")[1:]]
        assert len(bodies) == len(made.blocks)
        for block, body in zip(made.blocks, bodies, strict=True):
            rows = [
                line for line in body.splitlines()
                if line.endswith(r"\\") and "multicolumn" not in line
            ]  # fmt: skip
            assert len(rows) == 1 + len(block.rows)
            counts = {len(re.findall(r"(?<!\\)&", row)) for row in rows}
            assert counts == {len(block.columns) - 1}


def test_latex_escapes_everything() -> None:
    assert table.escape(r"50% of a_b & {c} \d ~^ λ") == (
        r"50\% of a\_b \& \{c\} \textbackslash{}d \textasciitilde{}\textasciicircum{} $\lambda$"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.034567, "0.0346"), (1234.6, "1235"), (2.5e7, "2.50e+07"), (-0.5, "-0.500"),
        (0.0, "0"), (float("nan"), "-"), (float("inf"), "inf"), (3e-6, "3.00e-06"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert formatting.number(value) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.7634, 0.70, 0.83), "0.763 [0.700, 0.830]"),
        ((123.456, 100, 150), "123 [100, 150]"),
        ((0.51, 0.02, 12.3), "0.51 [0.02, 12.30]"),
        ((2.0, float("nan"), float("nan")), "2.00"),
        ((float("nan"),) * 3, "-"),
        ((0.25, 0.25, 0.25), "0.250 [0.250, 0.250]"),
        ((0.0018, -0.00003, 0.00363), "0.00180 [-0.00003, 0.00363]"),
        ((0.51, 1e-9, 12.3), "0.510 [1.00e-09, 12.3]"),
    ],
)  # fmt: skip
def test_estimates(numbers: tuple[float, float, float], text: str) -> None:
    assert formatting.estimate(*numbers) == text


def test_counts() -> None:
    assert [formatting.count(x) for x in (12, 3.5, 1204, 12500, 7.6e6)] == [
        "12", "3.5", "1204", "12.5k", "7.60M"
    ]  # fmt: skip


def test_a_time_too_short_to_matter_has_no_digits() -> None:
    unit = Unit("s", 3600.0, "device")
    texts = [formatting.duration(hours, unit) for hours in (1e-8, 0.0, 1e-3, float("nan"))]
    assert texts == ["< 0.001 s", "0 s", "3.60 s", "-"]


def test_time_units_follow_the_budget_and_the_device(make_results: Make) -> None:
    study = make_results(tasks=4)
    units = [study.task(task).unit.name for task in study.tasks]
    assert units == ["s", "s", "min", "h"]
    assert study.task(TASK).unit.label == "device time (s)"
    on_a_gpu = replace(study, runs=study.runs.assign(device="cuda: NVIDIA H100"))
    assert on_a_gpu.task(TASK).unit.label == "GPU time (s)"


def test_methods_are_listed_in_a_fixed_order(make_results: Make) -> None:
    study = make_results(tasks=1, methods=("zeta", "bilevel", "alpha", "grid", "default"))
    assert list(study.methods) == ["default", "grid", "bilevel", "alpha", "zeta"]
