"""A machine that seems to have GPUs, for every Python that starts with this folder on its path:

    PYTHONPATH=tests/pretended PRETENDED_GPUS=1 python -m benchmark run --all --device cuda

What is asked of the device "cuda" goes to a device of its own, whose tensors hold a tensor of the
CPU each and are computed there. An operation that is given tensors of both sides raises, as on
CUDA, and so does one that makes the host wait, under `torch.cuda.set_sync_debug_mode("error")`.
Numbers are those of a CPU in full precision, and speed is nobody's. `CUDA_VISIBLE_DEVICES` chooses
among several GPUs, which are one and the same to torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from host_syncs import COPIES, waits
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "pretended"


class Backend(_DummyBackendModule):
    """The functions that torch requires of a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend(NAME, Backend())
AUTOCAST = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
AUTOCAST.fallback(torch.library.fallthrough_kernel)  # mixed precision changes nothing here
aten = torch.ops.aten
sync_debug_mode = "default"
MAKERS = (torch.tensor, torch.as_tensor, torch.asarray)
"""Functions that would allocate on the device before any mode is asked."""


class Remote(Tensor):
    """A tensor of the device, computed as `held`, a tensor of the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Remote:
        made: Remote = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=f"{NAME}:0",
        )
        return made

    def __init__(self, held: Tensor) -> None:
        self.held = held

    __torch_function__ = torch._C._disabled_torch_function_impl

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.held.__reduce_ex__(protocol)  # what is read back is on the CPU, as asked for

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of `func`, on the side where its arguments are or `kwargs` want it."""
    tensors = [leaf for leaf in _leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
    remote = any(isinstance(tensor, Remote) for tensor in tensors)
    copies = func.overloadpacket in COPIES
    if sync_debug_mode == "error" and (remote or copies) and waits(func, args, kwargs):
        raise RuntimeError(f"{func} makes the host wait")
    strangers = [x.shape for x in tensors if not isinstance(x, Remote) and x.ndim]
    if remote and strangers and not copies:
        raise RuntimeError(f"{func} mixes devices: on the CPU are {strangers}")
    if func.overloadpacket is aten.copy_:
        remote = isinstance(args[0], Remote)
    if kwargs.get("device") is not None:
        remote = kwargs["device"].type == NAME
    if remote and "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = func(*_mapped(_held, args), **{name: _mapped(_held, kwargs[name]) for name in kwargs})
    if not remote:
        return result
    result = _mapped(lambda x: Remote(x) if isinstance(x, Tensor) else x, result)
    return return_and_correct_aliasing(func, args, kwargs, result)


def _leaves(values: Any) -> Iterator[Any]:
    """The elements of `values` and of the lists among them; arguments are not nested deeper."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_mapped(function, part) for part in value)
    return function(value)


def _set_sync_debug_mode(mode: str) -> None:
    global sync_debug_mode
    sync_debug_mode = mode


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Remote) else value


class Factories(TorchDispatchMode):
    """Operations without tensors among their arguments."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return computed(func, args, kwargs or {})


class Cuda(TorchFunctionMode):
    """Sends what is asked of "cuda" to the device."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        args = tuple(map(_renamed, args))
        kwargs = {name: _renamed(value) for name, value in (kwargs or {}).items()}
        if func in MAKERS and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


def _renamed(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device(NAME, 0)
    if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")):
        return NAME
    return value


class Generator(torch.Generator):
    """Random numbers are drawn on the CPU, whatever the device."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made: Generator = super().__new__(cls, "cpu")
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass


class Scripted:
    """A module in TorchScript, which cannot hold tensors of a class of its own, on the device."""

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.module, name)
        if isinstance(found, Tensor):
            return Remote(found.detach())
        return Scripted(found) if isinstance(found, torch.jit.ScriptModule) else found

    def __call__(self, rows: Tensor) -> Tensor:
        return Remote(self.module(_held(rows)))

    def eval(self) -> Scripted:
        self.module.eval()
        return self


def _load_script(file: str, map_location: str = "cpu") -> Any:
    module = JIT_LOAD(file)
    return Scripted(module) if map_location.startswith("cuda") else module


JIT_LOAD = torch.jit.load


def enter(gpus: int) -> None:
    """Let this process see so many GPUs, from now on and in every thread."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = list(range(gpus)) if named is None else [int(name) for name in named.split(",")]
    properties = SimpleNamespace(uuid=f"pretended {visible[0]}", total_memory=80 * 2**30)
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: len(visible),
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "set_sync_debug_mode": _set_sync_debug_mode,
        "synchronize": lambda device=None: None,
        "get_device_name": lambda device=None: "Pretended",
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda including_emulation=True: True,
        "max_memory_allocated": lambda device=None: 1_000_000,
        "reset_peak_memory_stats": lambda device=None: None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    torch.Generator = Generator
    torch.jit.load = _load_script
    run = threading.Thread.run

    def run_there(thread: threading.Thread) -> None:
        with Factories(), Cuda():
            run(thread)

    threading.Thread.run = run_there
    Factories().__enter__()
    Cuda().__enter__()
