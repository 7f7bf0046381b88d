"""Runs that are followed by a tracker of experiments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import watching
from benchmark.errors import UserError
from benchmark.runs.log import effective_steps
from benchmark.runs.runner import execute
from benchmark.study.results import load


class Noted:
    """A tracker that notes what it is handed."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int], dict[str, float]] = {}
        self.seconds: list[float] = []

    def log(self, run, step, seconds, values) -> None:
        assert (run, step) not in self.values
        self.values[run, step] = dict(values)
        self.seconds.append(seconds)


def test_every_record_is_handed_over_once_while_runs_work(toy_spec, tmp_path: Path) -> None:
    spec, noted = toy_spec(), Noted()
    folder = tmp_path / "results/toy"
    looks = iter([False, False, True])

    def ends() -> bool:
        over = next(looks)
        if noted.values or over:
            return over
        execute(spec)  # after a look at a folder that is not there yet
        return over

    watching.follow(folder, noted, ends)
    steps = effective_steps(spec.folder.events())
    assert len(noted.values) == len(steps)
    assert [run for run, _ in noted.values] == ["toy/quadratic/random/0"] * len(steps)
    for step, values in zip(steps, noted.values.values(), strict=True):
        assert values["score"] == step["score"]
        assert values["param/step_size"] == step["params"]["step_size"]
        assert values.get("distance") == (step["metrics"] or {}).get("distance")
    assert noted.seconds == sorted(noted.seconds)
    assert noted.seconds[-1] == steps[-1]["clock"]["ledgers"]["method"]


FOLLOWER = """
import json, sys
from pathlib import Path
from benchmark import watching
class Printed:
    def log(self, run, step, seconds, values):
        print(json.dumps([run, step]))
watching.follow(Path(sys.argv[1]), Printed(), watching.input_ends)
"""


def test_the_follower_ends_with_its_input_after_a_last_look(toy_spec, tmp_path: Path) -> None:
    spec = toy_spec()
    execute(spec)
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWER, str(tmp_path / "results/toy")], input="", text=True,
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(effective_steps(spec.folder.events()))


def test_a_tracker_that_is_not_installed_is_said(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watching, "find_spec", lambda name: None)
    with (
        pytest.raises(UserError, match="--log tensorboard needs the package tensorboard: pip"),
        watching.followed("tensorboard", tmp_path),
    ):
        pass


def test_without_a_tracker_nothing_is_started(tmp_path: Path) -> None:
    with watching.followed(None, tmp_path):
        assert not list(tmp_path.iterdir())


def test_wandb_shows_the_runs_and_leaves_their_folder_as_it_is(
    toy_spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    specs, folder = [toy_spec(seed=seed) for seed in range(2)], tmp_path / "results/toy"
    for spec in specs:
        execute(spec)
    tracker = watching.WandB(folder)
    watching.follow(folder, tracker, lambda: True)
    wandb.teardown()
    place = folder.parent / "wandb"
    kept = {run: place.glob(f"*-{shown.id}/*.wandb") for run, shown in tracker.runs.items()}
    assert sorted(kept) == ["toy/quadratic/random/0", "toy/quadratic/random/1"]
    for (file,), spec in zip(kept.values(), specs, strict=True):
        content = file.read_bytes()
        for step in effective_steps(spec.folder.events())[:3]:
            assert json.dumps(step["score"]).encode() in content
    assert len(load(folder).runs) == 2  # a link in the folder would be refused


def test_tensorboard_shows_the_runs(toy_spec, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec, folder = toy_spec(), tmp_path / "results/toy"
    execute(spec)
    for _ in range(2):  # a command that is given again
        watching.follow(folder, watching.TensorBoard(folder), lambda: True)
    shown = EventAccumulator(str(folder / "tensorboard/toy/quadratic/random/0")).Reload()
    scores = [step["score"] for step in effective_steps(spec.folder.events())]
    assert [event.value for event in shown.Scalars("score")] == pytest.approx(scores)
