"""Make `import torchvision` work beside a torch build without its compiled operators.

A CPU build of torch next to torchvision's registry wheel fails on import with `operator
torchvision::nms does not exist`, and takes clean-fid and diffusers' models down with it.
Defining the two missing operator schemas is enough: nothing here calls them. Call `ensure()`
before the first such import; where torchvision is healthy it does nothing.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_library: torch.library.Library | None = None  # schemas live as long as this object


@cache
def ensure() -> None:
    """Import torchvision, with the missing schemas defined first if that is what it lacks."""
    global _library
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            _library.define(schema)  # type: ignore[no-untyped-call]
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        import_module("torchvision")
