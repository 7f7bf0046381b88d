"""Rewards of the user, named in a suite file as `module:function`.

    def reward(images, prompts):
        '''images (n, 3, height, width) in [0, 1], float32 and on the task's device; n prompts.
        Returns a tensor (n,), higher is better, in any unit.'''

The module is a file beside the suite file, or one that is installed. r2 must be differentiable in
the images, because guidance follows its gradient; r1 need not be.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module, util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.assets.asset import digest

PROBES = 2
"""Random images that a reward is tried on before anything is spent."""


@dataclass(frozen=True)
class UserReward:
    """A function of images and prompts, whose values are checked."""

    name: str
    function: Callable[[Tensor, list[str]], Any]
    guides: bool
    """Whether its gradient is asked for; if not, it is given images without a graph."""

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Values `(n,)`. Raises ValueError for what is no tensor of that shape."""
        if self.guides:
            values = self.function(images, list(prompts))
        else:
            with torch.no_grad():
                values = self.function(images.detach(), list(prompts))
        if not isinstance(values, Tensor):
            raise ValueError(f"{self.name} gave a {type(values).__name__}, not a tensor")
        if values.shape != (len(images),):
            shapes = f"{tuple(values.shape)} for {len(images)} images, not ({len(images)},)"
            raise ValueError(f"{self.name} gave a tensor {shapes}")
        return values.to(images.device, images.dtype)

    def has_gradient(self, images: Tensor, prompts: Sequence[str]) -> bool:
        """Whether its values have one in the images."""
        try:
            values = replace(self, guides=True)(images.clone().requires_grad_(), prompts)
        except Exception:  # as of numpy, which takes no tensor with a gradient
            return False
        return values.requires_grad


@dataclass(frozen=True)
class StatedReward:
    """A reward as a suite file names it."""

    role: str
    """`r1` or `r2`."""
    path: str
    """`module:function`."""
    folder: Path
    """Where the module is looked for first."""

    def __str__(self) -> str:
        return f"{self.role} = {self.path!r}"

    @property
    def file(self) -> Path | None:
        """The file of its module, if that lies in `folder`."""
        file = self.folder.joinpath(*self.path.partition(":")[0].split(".")).with_suffix(".py")
        return file if file.is_file() else None

    @property
    def identity(self) -> str:
        """Its name and, for a file in `folder`, the file's hash."""
        return self.path if self.file is None else f"{self.path} {digest(self.file, 'sha256')[:12]}"

    def load(self) -> UserReward:
        """The function, which guides if it is r2. Raises ValueError if there is none, and anything
        that its module raises."""
        module, _, name = self.path.partition(":")
        if self.file is not None:
            loaded = _from_file(self.file, digest(self.file, "sha256"))
        elif util.find_spec(module.partition(".")[0]) is None:
            raise ValueError(f"{self}: no {module}.py in {self.folder}, and none is installed")
        else:
            loaded = import_module(module)
        function = getattr(loaded, name, None)
        if not callable(function):
            raise ValueError(f"{self}: there is no function {name!r} in {loaded.__file__}")
        return UserReward(str(self), function, guides=self.role == "r2")

    def problem(self, prompts: Sequence[str], side: tuple[int, int]) -> str | None:
        """Why it cannot be used on images of `side`, in one line, after a trial; None if it can."""
        try:
            return _tried(self, self.identity, tuple(prompts[:PROBES]), side)
        except (Exception, SystemExit) as error:  # the user's code raises anything
            said = " ".join(str(error).split())
            known = said.startswith(str(self))
            return said if known else f"{self}: {type(error).__name__}: {said}"


def probes(
    prompts: Sequence[str], side: tuple[int, int], device: str = "cpu"
) -> tuple[Tensor, list[str]]:
    """What rewards are tried on: random images `(2, 3, height, width)` and their prompts."""
    images = torch.rand((PROBES, 3, *side), generator=torch.Generator().manual_seed(0))
    return images.to(device), [prompts[i % len(prompts)] for i in range(PROBES)]


@cache
def _tried(
    stated: StatedReward, identity: str, prompts: tuple[str, ...], side: tuple[int, int]
) -> str | None:
    reward, (images, asked) = stated.load(), probes(prompts, side)
    values = replace(reward, guides=False)(images, asked)
    if not values.isfinite().all():
        return f"{stated} gave {values.tolist()} for random images: not finite"
    if not reward.guides:
        return None
    if not reward.has_gradient(images, asked):
        return f"{stated} has no gradient in the images; guidance follows that of r2, r1 needs none"
    leaf = images.requires_grad_()
    (gradient,) = torch.autograd.grad(reward(leaf, asked).sum(), leaf)
    if not gradient.isfinite().all():
        return f"{stated} has a gradient that is not finite"
    if not gradient.any():  # as of what is rounded
        return f"{stated} has a gradient of zero in random images, which guidance cannot follow"
    return None


@cache
def _from_file(file: Path, content: str) -> Any:
    """The module in `file`, which may import others that lie beside it; once per process and
    `content`, its hash."""
    spec = util.spec_from_file_location(f"_reward_{content[:12]}_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
    return module
