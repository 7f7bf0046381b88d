"""Train the shipped networks again: `python -m tasks.make.pretrain NAME...` (no name: list them).

A recipe trains on the train split only, from fixed seeds, and saves through
`tasks.assets.networks.save`. Networks trained on another machine differ by rounding and so in
their fingerprint, which is why the files are shipped; all but those of `cifar10`, which need the
user's own copy of that data set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

_FEATURES = "tasks.metrics.training:train"
_UNSEEN = "tasks.metrics.training:train_unseen"

RECIPES: dict[str, str] = {
    "features-digits-first": _FEATURES,
    "features-digits-second": _FEATURES,
    "features-mnist14-first": _FEATURES,
    "features-mnist14-second": _FEATURES,
    "features-mnist28-first": _FEATURES,
    "features-mnist28-second": _FEATURES,
    "features-fashion14-first": _FEATURES,
    "features-fashion14-second": _FEATURES,
    "features-cifar10-first": _FEATURES,
    "features-cifar10-second": _FEATURES,
    "residual-fashion28": _UNSEEN,
    "residual-mnist28": _UNSEEN,
    "mlp-digits": _UNSEEN,
    "mlp-mnist14": _UNSEEN,
    "mlp-fashion14": _UNSEEN,
    "diffusion-digits": "tasks.finetune.training:train_diffusion",
    "diffusion-mnist14": "tasks.finetune.training:train_diffusion",
    "rewards-digits": "tasks.finetune.training:train_rewards",
    "rewards-mnist14": "tasks.finetune.training:train_rewards",
    "diffusion-fashion14": "tasks.finetune.training:train_diffusion",
    "rewards-fashion14": "tasks.make.fashion:train_rewards",
    "reference-fashion14": "tasks.make.fashion:store_reference",
}
"""Name of a network -> `module:function`, which is called with that name, trains the network and
returns the path of its file."""


def make(name: str) -> Path:
    """Run the recipe called `name`; the path of the file."""
    module, function = RECIPES[name].split(":")
    file: Path = getattr(import_module(module), function)(name)
    return file


def main(names: Sequence[str]) -> int:
    """Run the recipes called `names`; the exit status."""
    unknown = [name for name in names if name not in RECIPES]
    if unknown or not names:
        listing = "\n  ".join(RECIPES)
        sys.stderr.write(f"usage: python -m tasks.make.pretrain NAME...\nnames:\n  {listing}\n")
        if unknown:
            sys.stderr.write(f"unknown: {', '.join(unknown)}\n")
        return 2
    for name in names:
        sys.stdout.write(f"{make(name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
