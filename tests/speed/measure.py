"""Times two ways to do the same thing side by side in one process."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Work = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """Two ways to do the same, and how many units (steps, images, ...) one call of each does."""

    ours: Work
    theirs: Work
    count: float = 1
    theirs_count: float | None = None
    """Units of `theirs`, if not `count`: a slow side may do less at a time."""

    @property
    def counts(self) -> tuple[float, float]:
        return self.count, self.theirs_count or self.count


def one_thread() -> None:
    """Let torch, numpy and scipy use one thread each."""
    import scipy.linalg  # noqa: F401 - it brings the last of the libraries that are limited
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def compare(rows: dict[str, Row], repetitions: int, device: str = "cpu") -> list[dict[str, Any]]:
    """Seconds of both sides of every row, repetitions interleaved and in turning order; the
    first, unmeasured repetition warms up. Processor seconds tell what other programs took."""
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in rows}
    busy: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in rows}
    for repetition in range(repetitions + 1):
        for name, row in rows.items():
            for side in (0, 1) if repetition % 2 else (1, 0):
                started = time.process_time()
                taken = timed((row.ours, row.theirs)[side], device)
                if repetition:
                    seconds[name][side].append(taken)
                    busy[name][side].append(time.process_time() - started)
    return [
        _summary(name, row, *seconds[name]) | {"ratio_processor": _ratio(row, *busy[name])}
        for name, row in rows.items()
    ]


def _ratio(row: Row, ours: list[float], theirs: list[float]) -> float:
    mine, other = row.counts
    return (min(theirs) / other) / (min(ours) / mine)


def _summary(name: str, row: Row, ours: list[float], theirs: list[float]) -> dict[str, Any]:
    mine, other = row.counts
    return {
        "row": name,
        "ours_per_second": mine / min(ours),
        "theirs_per_second": other / min(theirs),
        "ratio_min": _ratio(row, ours, theirs),
        "ratio_median": statistics.median(
            (b / other) / (a / mine) for a, b in zip(ours, theirs, strict=True)
        ),
        "counts": [mine, other],
        "ours": ours,
        "theirs": theirs,
    }


def timed(work: Work, device: str = "cpu") -> float:
    """Seconds that `work` takes, its kernels included."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def kept_megabytes(work: Work, *modules: nn.Module) -> float:
    """Megabytes that `work` keeps for its backward pass, without parameters and buffers of
    `modules`."""
    own = {t.untyped_storage().data_ptr() for m in modules for t in (*m.parameters(), *m.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = work()
    size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 1e6
    del result  # until here the graph holds what it keeps
    return size


def machine(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, str]:
    """Description of the machine."""
    import diffusers

    return {
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else _processor(),
        "threads": str(torch.get_num_threads()),
        "precision": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = dict(
        [part.strip() for part in line.split(":", 1)]
        for line in info.read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    if "model name" not in fields:
        return platform.machine()
    return f"{fields['model name']}, model {fields['model']}, {os.cpu_count()} cores"


def show(table: list[dict[str, Any]], unit: str = "") -> None:
    """Print units per second of both sides, and theirs / ours in time and in processor time."""
    print(f"{unit:60} {'ours/s':>9} {'theirs/s':>9} {'min':>7} {'median':>7} {'busy':>7}")
    for row in table:
        print(
            f"{row['row']:60} {row['ours_per_second']:9.4g} {row['theirs_per_second']:9.4g} "
            f"{row['ratio_min']:7.2f} {row['ratio_median']:7.2f} {row['ratio_processor']:7.2f}"
        )
