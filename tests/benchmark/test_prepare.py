"""`benchmark prepare`: what it shows, what it fetches, its exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmark import cli, prepare, suite
from benchmark.engine.cluster import Executor
from benchmark.launch import Plan
from benchmark.runs.spec import RunSpec
from tasks.assets.asset import Asset, beside
from tasks.base import Task

WHOLE = b"the whole file"


class Shelf:
    """Two files that the toy task asks for, the second one made of the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.breaks_off = False
        self.fetched: list[str] = []

    def asset(self, name: str) -> Asset:
        file = self.folder / name

        def missing() -> str | None:
            return None if file.is_file() else f"{name}: run `get {name}` or set TOY"

        def damage() -> str | None:
            return None if file.read_bytes() == WHOLE else f"{file} is cut short"

        def fetch() -> None:
            self.fetched.append(name)
            with beside(file) as temporary:
                (temporary / name).write_bytes(WHOLE[:5])
                if self.breaks_off:
                    raise RuntimeError("connection\n  lost")
                (temporary / name).write_bytes(WHOLE)
                (temporary / name).replace(file)

        return Asset(name, str(file), f"get {name}", missing, damage, fetch, licence="free")

    def __call__(self) -> tuple[Asset, ...]:
        return self.asset("data"), self.asset("weights")


@pytest.fixture
def shelf(toy: type[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf(tmp_path / "shelf")
    monkeypatch.setattr(toy, "assets", made)
    return made


@pytest.fixture
def run(shelf: Shelf, tmp_path: Path) -> Callable[..., Result]:
    file = tmp_path / "toys.toml"
    file.write_text(
        'description = "toys"\nseeds = 1\n[[tasks]]\nname = "toy/quadratic"\n'
        '[[methods]]\nname = "random"\n'
    )
    return lambda *arguments: CliRunner().invoke(cli.app, ["prepare", str(file), *arguments])


def complaints(result: Result) -> list[str]:
    return [line for line in result.output.splitlines() if line.startswith("error: ")]


def test_check_names_place_and_command_and_fetches_nothing(
    run: Callable[..., Result], shelf: Shelf
) -> None:
    result = run("--check")
    assert result.exit_code == 1
    assert complaints(result) == [
        f"error: {name}, in {shelf.folder / name}: run `get {name}` or set TOY"
        for name in ("data", "weights")
    ]
    assert "licence: free" in result.output
    assert "size: not known" in result.output
    assert "for: toy/quadratic" in result.output
    assert shelf.fetched == []
    assert not shelf.folder.exists()


def test_what_lacks_is_fetched_in_order_and_only_once(
    run: Callable[..., Result], shelf: Shelf
) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert "everything is here" in result.output
    assert shelf.fetched == ["data", "weights"]
    assert run("--check").exit_code == 0
    assert run().exit_code == 0
    assert len(shelf.fetched) == 2


def test_a_folder_filled_by_hand_needs_no_fetching(
    run: Callable[..., Result], shelf: Shelf
) -> None:
    shelf.folder.mkdir()
    for name in ("data", "weights"):
        (shelf.folder / name).write_bytes(WHOLE)
    assert run().exit_code == 0
    assert shelf.fetched == []


def test_a_damaged_file_is_found_though_the_task_is_available(
    run: Callable[..., Result], shelf: Shelf, toy: type[Task]
) -> None:
    assert run().exit_code == 0
    (shelf.folder / "weights").write_bytes(WHOLE[:-1])
    assert toy.unavailable() is None
    result = run("--check")
    assert result.exit_code == 1
    (line,) = complaints(result)
    assert line.endswith("weights is cut short")
    assert run().exit_code == 0
    assert shelf.fetched == ["data", "weights", "weights"]


def test_a_fetch_that_breaks_off_is_one_line_and_leaves_nothing(
    run: Callable[..., Result], shelf: Shelf, toy: type[Task]
) -> None:
    shelf.breaks_off = True
    result = run()
    assert result.exit_code == 1
    assert complaints(result) == [
        f"error: {name}, in {shelf.folder / name}: fetching it failed (connection lost); "
        f"by hand: get {name}"
        for name in ("data", "weights")
    ]
    assert list(shelf.folder.iterdir()) == []
    assert toy.unavailable() == "data: run `get data` or set TOY; " + (
        "weights: run `get weights` or set TOY"
    )


def test_another_reason_not_to_run_is_said(
    run: Callable[..., Result], shelf: Shelf, monkeypatch: pytest.MonkeyPatch, toy: type[Task]
) -> None:
    assert run().exit_code == 0
    monkeypatch.setattr(toy, "unavailable", lambda: "a library is not installed")
    result = run("--check")
    assert result.exit_code == 1
    assert complaints(result) == [
        "error: toy/quadratic cannot run here: a library is not installed"
    ]


def test_an_unknown_suite_is_a_usage_error(shelf: Shelf) -> None:
    assert CliRunner().invoke(cli.app, ["prepare", "nothing", "--check"]).exit_code == 2


def test_the_quick_suite_needs_nothing() -> None:
    result = CliRunner().invoke(cli.app, ["prepare", "quick"])
    assert result.exit_code == 0
    assert "everything is here" in result.output


def test_the_paper_suite_lists_each_asset_once_with_its_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DTB_INCEPTION", raising=False)
    needed = {asset.name: tasks for asset, tasks in prepare.needed(suite.load("paper"))}
    assert needed["Stable Diffusion 1.5"] == ["finetune/sd15"]
    assert needed["data set MNIST"] == ["schedule/mnist60k-published"]
    assert len(needed["inception-2015-12-05.pt"]) == 3
    names = list(needed)
    assert names.index("data set CIFAR10") < names.index("features-cifar10-first")


def test_a_dry_run_says_what_is_missing_and_the_least_time(shelf: Shelf, tmp_path: Path) -> None:
    chosen = ["--task", "toy/*", "--method", "random", "--method", "default", "--seeds", "2"]
    where = ["--budget", "1.5", "--workers", "3", "--results", str(tmp_path / "results")]
    suite_file = tmp_path / "toys.toml"
    suite_file.write_text(
        'description = "toys"\nseeds = 1\n[[tasks]]\nname = "toy/quadratic"\n'
        '[[methods]]\nname = "random"\n[[methods]]\nname = "default"\n'
    )
    arguments = ["run", "--suite", str(suite_file), *chosen, *where]
    result = CliRunner().invoke(cli.app, [*arguments, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "toy/quadratic cannot run here: data: run `get data` or set TOY" in result.output
    assert "6:00:00 with 1, 3:00:00 with 2, 2:00:00 with 3, 1:30:00 with 4" in result.output
    assert not (tmp_path / "results").exists()
    refused = CliRunner().invoke(cli.app, arguments)
    assert refused.exit_code == 2
    assert len(complaints(refused)) == 1


def test_a_run_cannot_be_shared_between_workers(toy_spec: Callable[..., RunSpec]) -> None:
    specs = [toy_spec(budget=budget) for budget in (1.0, 1.0, 4.0)]
    quick = suite.load("quick")
    plan = Plan(quick, Executor(), specs, specs, [])
    assert [plan.least_hours(workers) for workers in (1, 2, 50)] == [6.0, 4.0, 4.0]
    assert Plan(quick, Executor(), specs, [], specs).least_hours(3) == 0
