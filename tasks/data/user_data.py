"""MNIST, Fashion-MNIST and CIFAR-10 from the user's files: found, checked, fetched and read.

The folder is named by DTB_DATA (default: `data` in the user's cache folder) and laid out as
torchvision leaves it: `MNIST/raw/*-ubyte[.gz]` and `FashionMNIST/raw/*-ubyte[.gz]` (LeCun's idx
format), `cifar-10-batches-py/*_batch*` (Krizhevsky's pickles). Fashion-MNIST is also found where
Debian's package `dataset-fashion-mnist` puts it. The files are parsed here, so torchvision is
needed only to fetch them. Pickles are read without executing code.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from tasks.assets.asset import UNKNOWN, Asset, beside, wrong_hash
from tasks.diffusion import torchvision_shim

VARIABLE = "DTB_DATA"
CLASSES = 10
"""Every data set here has ten, numbered from 0."""
Arrays = tuple[np.ndarray, np.ndarray]
"""Pixels `(n, channels, height, width)` and labels `(n,)`, both uint8."""


@dataclass(frozen=True)
class UserSet:
    """A data set in files of the user."""

    torchvision: str
    """Its name in `torchvision.datasets`."""
    shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    places: tuple[Path, ...]
    """Folders to look in, below `folder()` where relative; the first is where it is fetched to."""
    names: tuple[str, ...]
    """Names of the files, those of the training set first."""
    parse: Callable[[list[Path]], tuple[Arrays, Arrays]]
    """Reads the files named by `names`: training and test set."""
    licence: str
    size: str
    """Size of the download."""


def folder() -> Path:
    """Where data sets are looked for."""
    value = os.environ.get(VARIABLE)
    if value:
        return Path(value).expanduser()
    return Path(user_cache_path(appname="diffusion-tuning-benchmark")) / "data"


def files(name: str) -> list[Path]:
    """The files of the data set called `name`: those that exist, perhaps compressed, otherwise the
    paths where they would be put."""
    known = SETS[name]
    for place in (*known.places, known.places[0]):
        wanted = [folder() / place / file for file in known.names]
        found = [present(file) or file for file in wanted]
        if all(map(Path.is_file, found)):
            break
    return found


def present(file: Path) -> Path | None:
    """`file`, or the same compressed by gzip; None if neither is there."""
    packed = file.with_name(f"{file.name}.gz")
    return next((path for path in (file, packed) if path.is_file()), None)


def unavailable(name: str) -> str | None:
    """The first file missing from the data set called `name` and how to fetch it, in one line; None
    if all are there."""
    missing = next((file for file in files(name) if not file.is_file()), None)
    if missing is None:
        return None
    return f"{missing} is missing: run `{command(name)}`, or set {VARIABLE} to the folder it is in"


def command(name: str) -> str:
    """The command that fetches the data set called `name` with torchvision."""
    return (
        'python -c "from tasks.diffusion.torchvision_shim import ensure; ensure(); '
        f"from torchvision.datasets import {SETS[name].torchvision} as data; "
        f"data('{folder()}', download=True)\""
    )


def asset(name: str) -> Asset:
    """The data set called `name`, to be checked and fetched."""
    return Asset(
        name=f"data set {SETS[name].torchvision}",
        place=str(folder()),
        remedy=f"{command(name)}, or set {VARIABLE} to the folder it is in",
        missing=partial(unavailable, name),
        damage=partial(damage, name),
        fetch=partial(fetch, name),
        licence=SETS[name].licence,
        size=SETS[name].size,
        hashes="MD5 of each file, as torchvision publishes them",
    )


def fetch(name: str) -> None:
    """Have torchvision fetch and check the data set called `name`, then move it into place."""
    root, known = folder(), SETS[name]
    with beside(root / "data") as temporary:
        _torchvision(name)(str(temporary), download=True)
        place = root / known.places[0]
        place.mkdir(parents=True, exist_ok=True)
        for fetched in (temporary / known.places[0]).iterdir():
            if fetched.name.removesuffix(".gz") in known.names:
                fetched.replace(place / fetched.name)


def damage(name: str) -> str | None:
    """The first file that is not the published one, in one line; None if all are.

    A distribution's package compresses its files anew: these are held against the format alone.
    """
    expected = md5s(name)
    fetched_to = folder() / SETS[name].places[0]
    for file in filter(Path.is_file, files(name)):
        problem = _damage(file, expected if file.parent == fetched_to else {})
        if problem:
            return f"{problem}; fetch it again: {command(name)}"
    return None


def _damage(file: Path, expected: dict[str, str]) -> str | None:
    if file.name in expected:
        return wrong_hash(file, "md5", expected[file.name])
    packed = file.with_name(f"{file.name}.gz")
    if packed.name in expected and packed.is_file():
        problem = wrong_hash(packed, "md5", expected[packed.name])
        same = problem is not None or gzip.decompress(packed.read_bytes()) == file.read_bytes()
        return problem if same else f"{file} does not hold what {packed.name} does"
    try:
        read_idx(file)  # the hash of an unpacked file is not published
    except ValueError as error:
        return str(error)
    return None


def md5s(name: str) -> dict[str, str]:
    """File name -> MD5 of the published files, as torchvision holds them."""
    published = _torchvision(name)
    listed = getattr(published, "resources", None)
    return dict(listed or [*published.train_list, *published.test_list])


def _torchvision(name: str) -> Any:
    torchvision_shim.ensure()
    from torchvision import datasets

    return getattr(datasets, SETS[name].torchvision)


def read(name: str) -> tuple[Arrays, Arrays]:
    """Training and test set of the data set called `name`.

    Raises FileNotFoundError with what to fetch, ValueError naming a file that cannot be read or
    holds other images or labels than those of `name`.
    """
    reason = unavailable(name)
    if reason is not None:
        raise FileNotFoundError(reason)
    found = files(name)
    parts = SETS[name].parse(found)
    for part, file in zip(parts, (found[0], found[-1]), strict=True):
        problem = _unlike(name, *part)
        if problem:
            raise ValueError(f"{file}: {problem}")
    return parts


def _unlike(name: str, pixels: np.ndarray, labels: np.ndarray) -> str | None:
    """The first sign that images and labels are not those of `name`, or None."""
    if len(pixels) != len(labels):
        return f"{len(pixels)} images but {len(labels)} labels"
    expected = SETS[name].shape
    if pixels.shape[1:] != expected:
        return f"images of {pixels.shape[1:]} pixels, expected {expected} for {name}"
    if len(labels) and labels.max() >= CLASSES:
        return f"label {labels.max()}, expected 0 to {CLASSES - 1} for {name}"
    rarest = np.bincount(labels, minlength=CLASSES).argmin()
    count = int((labels == rarest).sum())
    return f"{count} images of class {rarest}, expected 2 or more" if count < 2 else None


def _parse_idx(found: list[Path]) -> tuple[Arrays, Arrays]:
    training, training_labels, test, test_labels = (read_idx(file) for file in found)
    return (training[:, None], training_labels), (test[:, None], test_labels)


def _parse_batches(found: list[Path]) -> tuple[Arrays, Arrays]:
    batches = [read_batch(file) for file in found]
    pixels, labels = (np.concatenate(arrays) for arrays in zip(*batches[:-1], strict=True))
    return (pixels, labels), batches[-1]


def read_idx(file: Path) -> np.ndarray:
    """The uint8 array in an idx file, perhaps compressed.

    Two zero bytes, type 8 (unsigned byte), the number of axes, their lengths as big-endian
    32-bit integers, the values. Raises ValueError naming the file if it is anything else.
    """
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        axes = content[3]
        shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).tolist())
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
        raise ValueError(f"{file} is not a whole idx file ({error}); fetch it again") from error
    if content[:3] != b"\x00\x00\x08" or axes not in (1, 3):
        raise ValueError(f"{file} is not an idx file of bytes; fetch it again")
    return values.copy()


def read_batch(file: Path) -> Arrays:
    """Pixels `(n, 3, 32, 32)` and labels `(n,)` of one pickled batch of CIFAR-10.

    Raises ValueError naming the file if it is not whole, or holds more than plain data.
    """
    try:
        batch = _PlainUnpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        pixels = np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32)
        labels = np.asarray(batch[b"labels"]).astype(np.uint8, casting="unsafe")
    except Exception as error:  # a damaged pickle raises anything
        reason = f"{file} is not a whole batch of CIFAR-10 ({error}); fetch it again"
        raise ValueError(reason) from error
    if pixels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(f"{file} is not a batch of CIFAR-10: {pixels.dtype}, {labels.shape}")
    return pixels, labels


class _PlainUnpickler(pickle.Unpickler):
    """Allows what a pickled numpy array needs, and no other callable."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _PLAIN[module, name]


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_PLAIN = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}
_IDX_NAMES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
SETS = {
    "mnist60k": UserSet(
        "MNIST",
        (1, 28, 28),
        (Path("MNIST/raw"),),
        _IDX_NAMES,
        _parse_idx,
        licence="CC BY-SA 3.0, according to the documentation of Keras",
        size="12 MB, 67 MB with the unpacked files",
    ),
    "fashion28": UserSet(
        "FashionMNIST",
        (1, 28, 28),
        (Path("FashionMNIST/raw"), Path("/usr/share/datasets/fashion-mnist")),
        _IDX_NAMES,
        _parse_idx,
        licence="MIT",
        size="31 MB, 86 MB with the unpacked files",
    ),
    "cifar10": UserSet(
        "CIFAR10",
        (3, 32, 32),
        (Path("cifar-10-batches-py"),),
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"),
        _parse_batches,
        licence=f"{UNKNOWN}; its author's page asks to cite Krizhevsky, 2009",
        size="163 MB, more unpacked",
    ),
}
"""Data sets read from the user's files. docs/your-data-and-models.md cites licences and sizes."""
