"""The devices of this machine."""

from __future__ import annotations

import os
import re


class DeviceError(ValueError):
    """A device that cannot be used; the message says why."""


def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers(device: str) -> int:
    """The devices here, a worker each: the GPUs, or the CPU cores this process may use."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(device: str, here: bool = True) -> None:
    """Raise DeviceError unless `device` is `cpu`, `cuda` or `cuda:N` and, if `here`, usable."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise DeviceError(f"--device must be cpu or cuda, got {device!r}")
    if here and device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise DeviceError(f"--device {device}: this machine has no usable CUDA device")
        count = torch.cuda.device_count()
        if int(device.removeprefix("cuda").lstrip(":") or 0) >= count:
            raise DeviceError(f"--device {device}: this machine has {count}, cuda:0 the first")
