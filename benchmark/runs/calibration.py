"""Prices of a task's primitive operations on this machine, measured once and kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import platformdirs

from benchmark import registry
from benchmark.errors import UserError
from benchmark.files import read_json, write_json
from benchmark.runs.description import read_description
from benchmark.runs.isolation import isolated
from benchmark.runs.provenance import code, device_name, digest
from benchmark.runs.spec import RunSpec
from benchmark.runs.watches import device_watch
from tasks.base import Task
from tasks.command.script import ScriptFailed

TRIAL_PRICE = 1e-3
"""Seconds that starting a trial costs under the priced clock, where optimisers are free."""
REPEATS = 3


def cache_folder() -> Path:
    """Where prices and prepared data are kept: the user's cache folder."""
    return Path(platformdirs.user_cache_dir("diffusion-tuning-benchmark"))


def prices(task_name: str, device: str, precision: str = "float32") -> dict[str, float]:
    """Seconds per unit of each primitive of a task on `device`, measured on first use."""
    import torch

    setting = [task_name, device_name(device), precision, torch.__version__, code("tasks")]
    defined = registry.file_of(task_name)
    files = (*([defined] if defined else []), *registry.task(task_name).files)
    setting += [digest(file.read_bytes()) for file in files]
    path = cache_folder() / "prices" / f"{digest(json.dumps(setting).encode())}.json"
    with suppress(KeyError, TypeError, ValueError, AttributeError):  # else measured again
        stored = {name: float(price) for name, price in read_json(path)["prices"].items()}
        if stored and all(price > 0 for price in stored.values()):
            return stored
    measured = measure(task_name, device, precision)
    with suppress(OSError):  # without a writable home they are measured each time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"setting": setting, "prices": measured})
    return measured


def stored(spec: RunSpec) -> dict[str, float] | None:
    """The prices of an earlier run of this task in the same results, if there is one: all runs of a
    task that are compared have the same."""
    runs = Path(spec.results) / spec.suite / "runs" / spec.task
    for file in sorted(runs.glob("*/*/run.json")):
        known = (read_description(file) or {}).get("spec", {})
        kind = known.get("clock"), known.get("device"), known.get("precision", "float32")
        if kind == ("priced", spec.device, spec.precision):
            found: dict[str, float] = known["prices"]
            return found
    return None


def measure(
    task_name: str, device: str, precision: str = "float32", repeats: int = REPEATS
) -> dict[str, float]:
    """Prices of a task on this machine: `rehearse` of a fresh one."""
    task = registry.task(task_name)(device)
    task.precision = precision
    task.setup()
    return rehearse(task, repeats)


def rehearse(task: Task, repeats: int) -> dict[str, float]:
    """Median cost of each primitive over rehearsals of a task that is set up, on one thread.

    Raises UserError for a user's script that fails.
    """
    meter = PriceMeter(task.device)
    task.meter = meter
    with isolated([]):
        for repeat in range(repeats):
            try:
                task.rehearse(repeat)
            except ScriptFailed as error:
                raise UserError(f"{task.name} has no prices: the script failed: {error}") from None
    return {"trial": TRIAL_PRICE, **meter.prices()}


class PriceMeter:
    """A meter that measures the price of each primitive: seconds per unit of count.

    The price is the median over charges, so that a first slow call does not set it.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._watch = device_watch(device)
        self._samples: dict[str, list[float]] = {}

    @contextmanager
    def charge(self, operation: str, count: int = 1, **work: int) -> Iterator[None]:
        self._watch.lap()
        yield
        self._samples.setdefault(operation, []).append(self._watch.lap() / max(count, 1))

    def prices(self) -> dict[str, float]:
        return {name: median(samples) for name, samples in self._samples.items()}
