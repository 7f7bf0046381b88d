"""The user's MNIST and CIFAR-10 as assets: whole by torchvision's own hashes, fetched by it."""

from __future__ import annotations

import gzip
import os
from functools import partial
from pathlib import Path
from typing import Any

from tasks.assets import image_files
from tasks.assets.asset import UNKNOWN, Asset, beside, wrong_hash
from tasks.diffusion import torchvision_shim

LICENCES = {
    "mnist60k": "CC BY-SA 3.0, as Keras' documentation says",
    "cifar10": f"{UNKNOWN}; its author's page asks to cite Krizhevsky, 2009",
}
SIZES = {"mnist60k": "12 MB, 67 MB with the unpacked files", "cifar10": "163 MB, more unpacked"}
"""Of downloads. Where licences and sizes are from stands in docs/paper-suite.md."""


def asset(name: str) -> Asset:
    """The data set called `name`."""
    return Asset(
        name=f"data set {image_files.SETS[name]}",
        place=str(image_files.folder()),
        remedy=f"{image_files.fetch(name)}, or set {image_files.VARIABLE} to the folder it is in",
        missing=partial(image_files.unavailable, name),
        damage=partial(damage, name),
        fetch=partial(fetch, name),
        licence=LICENCES[name],
        size=SIZES[name],
        hashes="MD5 of each file, those of torchvision",
    )


def damage(name: str) -> str | None:
    """The first file that a task would read and that is not the published one."""
    expected = md5s(name)
    for file in image_files.files(name):
        found = image_files.present(file)
        problem = _damage(found, expected) if found else None
        if problem:
            return f"{problem}; fetch it again: {image_files.fetch(name)}"
    return None


def _damage(file: Path, expected: dict[str, str]) -> str | None:
    if file.name in expected:
        return wrong_hash(file, "md5", expected[file.name])
    packed = file.with_name(f"{file.name}.gz")
    if packed.is_file():
        problem = wrong_hash(packed, "md5", expected[packed.name])
        same = problem is not None or gzip.decompress(packed.read_bytes()) == file.read_bytes()
        return problem if same else f"{file} does not hold what {packed.name} does"
    try:
        image_files.read_idx(file)  # the hash of an unpacked file is not published
    except ValueError as error:
        return str(error)
    return None


def md5s(name: str) -> dict[str, str]:
    """File name -> MD5 of the published files, as torchvision holds them."""
    data = _torchvision(name)
    if name == "mnist60k":
        return dict(data.resources)
    return dict([*data.train_list, *data.test_list])


def fetch(name: str) -> None:
    """Have torchvision fetch and check the data set called `name`, then move it into place."""
    root = image_files.folder()
    with beside(root / "data") as temporary:
        _torchvision(name)(str(temporary), download=True)
        for file in image_files.files(name):
            file.parent.mkdir(parents=True, exist_ok=True)
            for kept in (file, file.with_name(f"{file.name}.gz")):
                fetched = temporary / kept.relative_to(root)
                if fetched.is_file():
                    os.replace(fetched, kept)


def _torchvision(name: str) -> Any:
    torchvision_shim.ensure()
    from torchvision import datasets

    return getattr(datasets, image_files.SETS[name])
