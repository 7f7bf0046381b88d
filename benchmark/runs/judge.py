"""Evaluates what a method delivers, with a task that no method is handed."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np

from benchmark.files import write_atomic
from benchmark.runs.clock import Clock, NarrowMeter
from benchmark.runs.folder import RunFolder
from tasks.base import Candidate, Task

SAMPLES_SHOWN = 32
COLUMNS = 8
"""Tiles in a row of a sample grid."""


class Judge:
    """Reported metrics and sample grids of candidates, on the evaluation ledger.

    One report seed per run for every method: methods are compared on the same noise, which
    selection never saw.
    """

    def __init__(self, task: Task, clock: Clock, folder: RunFolder, seed: int) -> None:
        self._task = task.for_evaluation()
        self._task.meter = NarrowMeter(clock)
        self._clock, self._folder, self._seed = clock, folder, seed

    def check(self, candidate: Candidate) -> None:
        """Raise ValueError, naming it, if a setting that is delivered lies outside the box."""
        self._task.check(candidate)

    def evaluate(self, candidate: Candidate, trial: int) -> dict[str, float]:
        """The finite ones of the reported metrics, none if what is delivered is not finite itself;
        samples go to the run's folder."""
        with self._clock.enter("evaluation"):
            self._task.check(candidate)
            if not finite(candidate.state):
                return {}
            values = self._task.evaluate(candidate, self._seed)
            images = self._task.images(candidate, SAMPLES_SHOWN, self._seed)
            if images is not None:
                file = self._folder.artifacts / f"samples-{trial:06d}.png"
                write_atomic(file, png_grid(images))
        return finite_ones(values)

    def evaluate_final(self, candidate: Candidate) -> dict[str, float]:
        """The finite ones of the metrics that are measured at the end of a run alone."""
        with self._clock.enter("evaluation"):
            if not finite(candidate.state):
                return {}
            return finite_ones(self._task.evaluate_final(candidate, self._seed))


def finite_ones(values: Mapping[str, float]) -> dict[str, float]:
    """The entries of `values` that are finite, as plain floats."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def finite(value: Any) -> bool:
    """Whether all numbers in `value` are finite: floats, tensors, arrays and containers of them."""
    if isinstance(value, Mapping):
        return all(map(finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    if is_dataclass(value) and not isinstance(value, type):
        return all(map(finite, vars(value).values()))
    if isinstance(value, float):
        return math.isfinite(value)
    isfinite = getattr(value, "isfinite", None)  # of a tensor
    return bool(isfinite().all()) if callable(isfinite) else True


def png_grid(images: np.ndarray) -> bytes:
    """Whole rows of `COLUMNS` tiles without padding, of `(n, h, w[, 3])` uint8 images."""
    from PIL import Image

    count, height, width, *channels = images.shape
    whole = images[: count - count % COLUMNS].reshape(-1, COLUMNS, height, width, *channels)
    grid = whole.swapaxes(1, 2).reshape(-1, COLUMNS * width, *channels)
    buffer = io.BytesIO()
    Image.fromarray(grid).save(buffer, format="PNG")
    return buffer.getvalue()
