"""The devices of this machine."""

from __future__ import annotations

import os
import re

from benchmark.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"


class DeviceError(UserError):
    """A device that cannot be used."""


def default_device() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def kind(device: str) -> str:
    """`cpu` or `cuda`: the device as a run knows it, whose process sees no GPU but its own."""
    return device.partition(":")[0]


def gpus(device: str) -> list[int]:
    """Numbers of the GPUs that `device` stands for: all for `cuda`, N for `cuda:N`."""
    import torch

    number = device.partition(":")[2]
    return [int(number)] if number else list(range(torch.cuda.device_count()))


def default_workers(device: str) -> int:
    """One for each GPU, or for each CPU core that this process may use."""
    from dask.system import cpu_count

    return len(gpus(device)) if kind(device) == "cuda" else cpu_count()


def pins(workers: int, device: str, sharing: int) -> list[dict[str, str]]:
    """For each worker, the environment in which it sees one GPU: in turns, of as few as do."""
    if device == "cpu":
        return [{}] * workers
    names = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    chosen = [names[gpu] if names else str(gpu) for gpu in gpus(device)[: -(-workers // sharing)]]
    return [{VISIBLE: chosen[worker % len(chosen)]} for worker in range(workers)]


def check_device(device: str, here: bool = True) -> None:
    """Raise DeviceError unless `device` is `cpu`, `cuda` or `cuda:N` and, if `here`, usable."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise DeviceError(f"--device must be cpu or cuda, got {device!r}")
    if not here and ":" in device:
        raise DeviceError(f"--device {device}: workers elsewhere have a GPU each; say cuda")
    if here and device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise DeviceError(f"--device {device}: this machine has no usable CUDA device")
        count = torch.cuda.device_count()
        if max(gpus(device)) >= count:
            raise DeviceError(f"--device {device}: this machine has {count}, cuda:0 the first")
