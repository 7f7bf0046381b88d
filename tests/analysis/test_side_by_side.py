"""Two result sets side by side: numbers, refusals, and the provenance in which they differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import old_results
import pytest
from scipy import stats
from typer.testing import CliRunner

from benchmark.analysis.side_by_side import compare
from benchmark.cli import app
from benchmark.study.results import load

TASK, METHODS = "schedule/digits", ("default", "random", "bilevel")


def copy(folder: Path) -> Path:
    """Three seeds of a few stored runs."""
    for method in METHODS:
        old_results.copy(folder, f"{TASK}/{method}", range(3))
    return folder


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return copy(tmp_path / "a")


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return copy(tmp_path / "b")


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    for file in folder.rglob("run.json"):
        described = json.loads(file.read_text())
        edit(described)
        file.write_text(json.dumps(described))


def finals(folder: Path, method: str) -> np.ndarray:
    frame = load(folder).frame.query("method == @method and metric == 'fid' and incumbent")
    return frame.sort_values("event").groupby("seed")["value"].last().to_numpy()


def scale_fid(folder: Path, method: str, factor: float) -> None:
    for log in (folder / "runs" / TASK / method).rglob("events.jsonl"):
        records = [json.loads(line) for line in log.read_text().splitlines()]
        for record in records:
            if (record.get("metrics") or {}).get("fid"):
                record["metrics"]["fid"] *= factor
        log.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_copy_does_not_differ(a: Path, b: Path) -> None:
    found = compare(load(a), load(b))
    assert found.data["method"].tolist() == list(METHODS)
    assert (found.data["effect"] == 1).all()
    assert (found.data["p_holm"] == 1).all()
    assert (found.data["test"] == "sign flip").all()
    assert (found.refused, found.differences) == ([], [])


def test_the_same_seeds_are_paired(a: Path, b: Path) -> None:
    scale_fid(b, "random", 1.5)
    row = compare(load(a), load(b)).data.set_index("method").loc["random"]
    assert row["effect"] == pytest.approx(1.5)
    assert row["mean_b"] == pytest.approx(np.exp(np.log(finals(a, "random")).mean()) * 1.5)
    assert row["n_a"] == row["n_b"] == 3
    assert not row["differs"]  # three seeds make no claim


def test_other_seeds_are_not_paired(a: Path, b: Path) -> None:
    change(b, lambda d: d["spec"].update(suite_seed=5))
    shutil.rmtree(b / "runs" / TASK / "random" / "2")
    found = compare(load(a), load(b))
    row = found.data.set_index("method").loc["random"]
    x, y = np.log(finals(b, "random")), np.log(finals(a, "random"))
    expected = stats.ttest_ind(x, y, equal_var=False)
    assert row["test"] == "Welch"
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["high"] == pytest.approx(np.exp(expected.confidence_interval().high))
    assert row["n"] == 2
    assert found.differences == ["suite seed: 0 against 5"]


def test_sets_with_other_numbers_of_seeds_are_paired_where_they_can_be(a: Path, b: Path) -> None:
    """A copy with fewer seeds holds the same runs, which are not independent of the others."""
    scale_fid(b, "random", 1.5)
    shutil.rmtree(b / "runs" / TASK / "random" / "2")
    row = compare(load(a), load(b)).data.set_index("method").loc["random"]
    assert (row["test"], row["n"], row["n_a"], row["n_b"]) == ("sign flip", 2, 3, 2)
    assert row["effect"] == pytest.approx(1.5)


def test_what_differs_is_said_with_the_side_that_is_better(a: Path, b: Path) -> None:
    for folder in (a, b):
        old_results.copy(folder, f"{TASK}/random", range(3, 10))
    same = compare(load(a), load(b))
    assert same.conclusion == (
        "Of 3 comparisons 0 show a difference; 2 have too few seeds to show one."
    )
    scale_fid(b, "random", 1.5)
    said = compare(load(a), load(b)).conclusion
    assert said.startswith(
        f"Of 3 comparisons 1 show a difference: random on {TASK} (B is worse); 2 have"
    )


def test_failed_runs_count_and_are_named(a: Path, b: Path) -> None:
    """B is better on two seeds and failed on the third."""
    scale_fid(b, "random", 0.5)
    log = b / "runs" / TASK / "random" / "2" / "events.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    records[-1] |= {"status": "failed", "reason": "error"}
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    found = compare(load(a), load(b))
    row = found.data.set_index("method").loc["random"]
    assert (row["n"], row["n_b"], row["failed_a"], row["failed_b"], row["p"]) == (3, 2, 0, 1, 1.0)
    assert row["effect"] == pytest.approx(0.5)
    assert found.conclusion.endswith("; runs without a finite result: 0 in A, 1 in B.")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["task"]["evaluator"].update(report_samples=5000), "report_samples 5000"),
        (lambda d: d["task"]["evaluator"]["features"].update({"features-digits-first": "0"}),
         "features-digits-first 0"),
        (lambda d: d.update(space_hash="abc"), "against abc"),
    ],
)  # fmt: skip
def test_values_that_mean_different_things_are_refused(
    a: Path, b: Path, edit: Callable[..., object], message: str
) -> None:
    change(b, edit)
    found = compare(load(a), load(b))
    assert found.data.empty
    assert len(found.refused) == 1
    assert message in found.refused[0]
    result = CliRunner().invoke(app, ["compare", str(a), str(b)])
    assert result.exit_code == 1
    assert "is not compared" in result.output


def test_versions_and_devices_are_named(a: Path, b: Path) -> None:
    def elsewhere(described: dict[str, Any]) -> None:
        described["provenance"]["device"] = "cuda: NVIDIA H100"
        described["provenance"]["versions"]["torch"] = "9.9"
        described["spec"]["budget"] = 0.008

    change(b, elsewhere)
    found = compare(load(a), load(b))
    said = "\n".join(found.differences)
    assert "against cuda: NVIDIA H100" in said
    assert "against 9.9" in said
    assert "against 0.008" in said


def test_the_command_prints_both_and_json(a: Path, b: Path) -> None:
    result = CliRunner().invoke(app, ["compare", str(a), str(b)])
    assert result.exit_code == 0, result.output
    assert f"A: {a}" in result.output.replace("\n", "")
    assert "ratio B / A" in " ".join(result.output.split())
    assert "Of 3 comparisons 0 show a difference" in result.output
    result = CliRunner().invoke(app, ["compare", str(a), str(b), "--json"])
    assert [row["method"] for row in json.loads(result.output)["rows"]] == list(METHODS)
    result = CliRunner().invoke(app, ["compare", str(a), str(b / "none")])
    assert result.exit_code == 2
    assert "holds no runs" in result.stderr
