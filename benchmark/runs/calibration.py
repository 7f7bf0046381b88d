"""Prices of a task's primitive operations on this machine, measured once and kept."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import platformdirs

import tasks
from benchmark import registry
from benchmark.files import read_json, write_json
from benchmark.runs.clock import Calibration
from benchmark.runs.provenance import device_name

TRIAL_PRICE = 1e-3
"""Seconds that starting a trial costs under the priced clock, where optimisers are free."""
REPEATS = 3


def cache_folder() -> Path:
    """Where prices and prepared data are kept: the user's cache folder."""
    return Path(platformdirs.user_cache_dir("diffusion-tuning-benchmark"))


def prices(task_name: str, device: str, precision: str = "float32") -> dict[str, float]:
    """Seconds per unit of each primitive of a task on `device`, measured on first use."""
    import torch

    setting = [task_name, device_name(device), precision, torch.__version__, _sources()]
    digest = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
    path = cache_folder() / "prices" / f"{digest}.json"
    with suppress(KeyError, TypeError, ValueError, AttributeError):  # else measured again
        stored = {name: float(price) for name, price in read_json(path)["prices"].items()}
        if stored and all(price > 0 for price in stored.values()):
            return stored
    measured = measure(task_name, device, precision)
    with suppress(OSError):  # without a writable home they are measured each time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"setting": setting, "prices": measured})
    return measured


def _sources() -> str:
    """Identity of the tasks' code: prices of other code are not reused."""
    digest = hashlib.sha256()
    for path in sorted(Path(tasks.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measure(
    task_name: str, device: str, precision: str = "float32", repeats: int = REPEATS
) -> dict[str, float]:
    """Rehearse the task a few times on one thread and take the median cost of each primitive."""
    import torch

    task = registry.task(task_name)(device)
    task.precision = precision
    task.setup()
    meter = Calibration(device)
    task.meter = meter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for repeat in range(repeats):
            task.rehearse(repeat)
    finally:
        torch.set_num_threads(threads)
    return {"trial": TRIAL_PRICE, **meter.prices()}
