"""Stored runs come out again; those that were changed, or cannot be repeated, are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.contract.results import AGREES, DIFFERS, NOT_REPEATED, UNDECIDED, verify
from benchmark.runs.runner import execute
from benchmark.study.pack import pack
from benchmark.study.stored import open_suite

MINE = '''
from methods.base import Method

class Mine(Method):
    """Halves."""
    name = "mine"

    def run(self, problem):
        position = 1.0
        while True:
            problem.evaluate(problem.space.from_unit([position]))
            position /= 2
'''


def change_log(run: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    log = run / "events.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()]
    edit(records)
    log.write_text("".join(json.dumps(record) + "\n" for record in records))


def steps(run: Path) -> int:
    kinds = [json.loads(line)["kind"] for line in (run / "events.jsonl").read_text().splitlines()]
    return sum(kind in ("trial", "report", "final") for kind in kinds)


@pytest.fixture(params=["priced", "device"])
def run(request, toy_spec) -> Path:
    """A finished run, under either clock."""
    priced = request.param == "priced"
    changes = {} if priced else {"clock": "device", "prices": None, "budget": 0.05 / 3600}
    spec = toy_spec("random", **changes)
    assert execute(spec).status == "finished"
    return spec.folder.path


def found(run: Path) -> tuple[str, str]:
    (finding,) = verify(run.parents[4], seeds=1)
    return finding.outcome, finding.reason


def test_a_run_comes_out_again_under_either_clock(run: Path) -> None:
    number = steps(run)
    assert number > 5
    assert found(run) == (AGREES, f"{number} of {number} steps")


@pytest.mark.parametrize(
    ("what", "edit"),
    [
        ("score", lambda step: step.update(score=step["score"] * 0.99)),
        ("params", lambda step: step["params"].update(step_size=0.5)),
        ("metrics", lambda step: step.update(metrics={"distance": 1e-9})),
        ("clock", lambda step: step["clock"]["work"].update(train_images=9999)),
        ("incumbent", lambda step: step.update(incumbent=not step["incumbent"])),
    ],
)
def test_what_was_changed_is_named(run: Path, what: str, edit: Callable[[Any], object]) -> None:
    change_log(run, lambda records: edit(next(r for r in records if r.get("trial") == 1)))
    outcome, reason = found(run)
    assert outcome == DIFFERS
    assert reason.startswith(f"0 of {steps(run)} steps; then {what} ")


def test_under_prices_the_charged_time_and_the_end_must_come_out_too(toy_spec) -> None:
    first, second = toy_spec("random"), toy_spec("random", seed=1)
    for spec in (first, second):
        execute(spec)
    number = steps(first.folder.path)
    change_log(first.folder.path, lambda records: records.pop(number))  # the last trial
    change_log(second.folder.path, lambda records: records[1]["clock"]["ledgers"].update(method=0))
    reasons = [finding.reason for finding in verify(first.folder.path.parents[4], seeds=2)]
    assert any(reason.startswith(f"{number - 1} of {number - 1} steps; then") for reason in reasons)
    assert any(reason.startswith(f"0 of {number} steps; then clock") for reason in reasons)


def test_what_follows_the_device_clock_is_not_held_against_a_run(toy_spec) -> None:
    spec = toy_spec("default", clock="device", prices=None, budget=0.05 / 3600)
    execute(spec)
    outcome, reason = found(spec.folder.path)
    assert outcome == UNDECIDED
    assert "0 of" in reason
    assert "follows the clock, ends at distance" in reason


def test_what_cannot_be_repeated_says_why(toy_spec, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    spec = toy_spec(str(tmp_path / "mine.py"), label="mine")
    execute(spec)
    packed = tmp_path / "given" / "toy.parquet"
    packed.parent.mkdir()
    pack(open_suite(spec.folder.path.parents[4]), packed)
    (tmp_path / "mine.py").rename(tmp_path / "elsewhere.py")
    result = CliRunner().invoke(app, ["verify", str(packed)])
    assert result.exit_code == 1
    assert f"{NOT_REPEATED} toy/quadratic/mine/0: {tmp_path / 'mine.py'}: no such file" in (
        result.output
    )
    shutil.copy(tmp_path / "elsewhere.py", packed.parent / "mine.py")
    result = CliRunner().invoke(app, ["verify", str(packed)])
    assert result.exit_code == 0, result.output
    assert "1 agrees" in result.output


def test_runs_of_other_versions_are_not_repeated(run: Path) -> None:
    described = json.loads((run / "run.json").read_text())
    described["provenance"]["versions"]["torch"] = "1.0"
    (run / "run.json").write_text(json.dumps(described))
    outcome, reason = found(run)
    assert outcome == NOT_REPEATED
    assert reason.startswith("made with torch 1.0, here ")


def test_so_many_seeds_of_every_method_are_repeated_and_a_difference_fails(toy_spec) -> None:
    specs = [toy_spec(method, seed=seed) for method in ("random", "default") for seed in range(3)]
    for spec in specs:
        execute(spec)
    suite = specs[0].folder.path.parents[4]
    places = [(finding.place.parent.name, finding.outcome) for finding in verify(suite, seeds=2)]
    assert sorted(places) == 2 * [("default", AGREES)] + 2 * [("random", AGREES)]
    for spec in specs[:3]:
        change_log(spec.folder.path, lambda records: records[1].update(score=0.0))
    result = CliRunner().invoke(app, ["verify", str(suite), "--seeds", "2"])
    assert result.exit_code == 1
    assert "2 agrees, 2 DIFFERS" in result.output or "2 DIFFERS, 2 agrees" in result.output
