"""Finds on any machine what would make the host wait for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
READS = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten.is_nonzero,
    aten._unique2,
    aten._linalg_eigh,
    aten._linalg_check_errors,
}
"""Operations whose result, or its shape, is read back from the device."""
MADE_ON_THE_HOST = {aten.lift_fresh}
"""Called by `torch.tensor(data)`: on a GPU the data would be copied, blocking the host."""


COPIES = {aten.copy_, aten._to_copy}


def waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation makes the host wait: it reads a value or a count from the device, or
    moves a tensor to another one."""
    packet = func.overloadpacket
    if packet in COPIES:
        source = args[1] if packet is aten.copy_ else args[0]
        there = args[0].device if packet is aten.copy_ else kwargs.get("device") or source.device
        return bool(source.device.type != there.type)
    return packet in READS | MADE_ON_THE_HOST or _by_mask(packet, args)


def _by_mask(packet: Any, args: tuple[Any, ...]) -> bool:
    """Whether it picks entries by a boolean mask, whose number has to be counted first."""
    if packet not in (aten.index, aten.index_put, aten.index_put_):
        return False
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])


class HostSyncs(TorchDispatchMode):
    """Collects in `found` the operations inside that would wait for a GPU, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if waits(func, args, kwargs or {}):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def sync_is_an_error() -> Iterator[None]:
    """Raise, inside, where CUDA would make the host wait."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def host_syncs(work: Callable[[], Any]) -> list[str]:
    """Operations in `work` that would block on a GPU."""
    with HostSyncs() as mode:
        work()
    return mode.found
