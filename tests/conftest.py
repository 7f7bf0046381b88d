"""A toy task that costs nothing, so that the harness can be tested apart from diffusion."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: workers of pytest-xdist share cores

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from benchmark import cli, registry
from benchmark.cli import output
from benchmark.runs.spec import RunSpec
from benchmark.study import results
from tasks.base import Candidate, Metric, Task
from tasks.space import Params, Space, Variable
from tests.toy_methods import ToyOracles

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")  # tests assert no timing: a loaded machine fails none

PRICES = {"trial": 0.001, "step": 0.01, "score": 0.02}


class ToyTask(Task):
    """Gradient steps on (x - target)^2, where the upper level chooses the step size."""

    name = "toy/quadratic"
    description = "gradient descent with a step size to tune"
    citation = "-"
    family = "toy"
    space = Space((Variable("step_size", 1e-3, 1.0, 0.01, log=True),))
    metrics = (Metric("distance", "distance", log=True),)
    budget = 2 / 3600
    fidelities = True
    oracles = ToyOracles
    STEPS = 10

    def iterate(
        self, params: Params, stops: Sequence[float], seed: int,
        progress: Callable[[], float] | None = None, resume: dict[str, Any] | None = None,
    ) -> Iterator[Candidate]:  # fmt: skip
        start = float(np.random.default_rng(seed).normal(3, 0.1))
        x, step = (resume["x"], resume["step"]) if resume else (start, 0)
        passed = resume["passed"] if resume else 0
        while passed < len(stops):
            share = progress() if progress else step / self.STEPS
            if share >= stops[passed]:
                passed += 1
                state = {"x": x, "step": step, "passed": passed}
                yield Candidate(params, x, state)
                continue
            with self.meter.charge("step", train_images=1):
                x -= params["step_size"] * 2 * x
                step += 1

    def step(self) -> None:
        with self.meter.charge("step", train_images=1):
            pass

    def score(self, candidate: Candidate, seed: int) -> float:
        with self.meter.charge("score", scored_images=1):
            return abs(float(candidate.state)) + float(np.random.default_rng(seed).normal(0, 1e-6))

    def evaluate(self, candidate: Candidate, seed: int) -> dict[str, float]:
        with self.meter.charge("score"):
            return {"distance": abs(float(candidate.state))}

    def images(self, candidate: Candidate, count: int, seed: int) -> np.ndarray:
        return np.full((count, 4, 4), 7, dtype=np.uint8)


@pytest.fixture(autouse=True)
def free_consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `CliRunner`, which replaces the standard streams, see what commands show."""
    monkeypatch.setattr(output, "console", output.plain(width=output.WIDE))
    monkeypatch.setattr(output, "errors", output.plain(stderr=True))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs in this process end without figures, which take longer than the runs."""
    conclude = lambda folder: results.save_frame(results.load(folder))  # noqa: E731
    monkeypatch.setattr(cli.running, "conclude", conclude)


@pytest.fixture
def in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure with few samples and end closed-form trainings early: most of a small run is that."""
    from tasks.finetune.base import FinetuneTask
    from tasks.schedule.base import ScheduleTask
    from tasks.schedule.gaussian import ScheduleGaussian

    monkeypatch.setattr(ScheduleGaussian, "trial_steps", 100)
    monkeypatch.setattr(ScheduleTask, "selection_samples", 200)
    monkeypatch.setattr(ScheduleTask, "report_samples", 300)
    monkeypatch.setattr(FinetuneTask, "evaluation_samples", 300)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[ToyTask]:
    """Register the toy task."""
    known = registry.all_tasks() | {ToyTask.name: ToyTask}
    monkeypatch.setattr(registry, "all_tasks", lambda: known)
    return ToyTask


@pytest.fixture
def toy_spec(toy: type[ToyTask], tmp_path: Path) -> Callable[..., RunSpec]:
    """A factory of specs on the toy task under the priced clock."""

    def make(method: str = "random", **changes: Any) -> RunSpec:
        values: dict[str, Any] = {
            "suite": "toy", "task": toy.name, "label": method, "method": method, "seed": 0,
            "budget": toy.budget, "results": str(tmp_path / "results"), "clock": "priced",
            "prices": PRICES,
        }  # fmt: skip
        return RunSpec(**(values | changes))

    return make
