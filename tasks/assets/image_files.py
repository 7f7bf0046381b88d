"""MNIST and CIFAR-10 from files that the user provides; `tasks.assets.image_assets` fetches them.

The folder is named by DTB_DATA (default: `data` in the user's cache folder) and laid out as
torchvision leaves it: `MNIST/raw/*-ubyte[.gz]` (LeCun's idx format) and
`cifar-10-batches-py/*_batch*` (Krizhevsky's pickles). Both are parsed here, so torchvision is
needed only to fetch them. Pickles are read without executing code: numpy arrays and plain
values are let through, anything else is refused.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

VARIABLE = "DTB_DATA"
Arrays = tuple[np.ndarray, np.ndarray]
"""Pixels `(n, channels, height, width)` and labels `(n,)`, both uint8."""
MNIST_PARTS = ("train", "t10k")
CIFAR_PARTS = (tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",))


def folder() -> Path:
    """Where data sets are looked for."""
    value = os.environ.get(VARIABLE)
    if value:
        return Path(value).expanduser()
    return Path(user_cache_path(appname="diffusion-tuning-benchmark")) / "data"


def unavailable(name: str) -> str | None:
    """What to fetch for the data set called `name`, in one line; None if its files are there."""
    lacking = [file for file in files(name) if present(file) is None]
    if not lacking:
        return None
    return f"{lacking[0]} is missing: run `{fetch(name)}`, or set {VARIABLE} to the folder it is in"


def fetch(name: str) -> str:
    """The command that fetches the data set called `name` with torchvision."""
    return (
        'python -c "from tasks.diffusion.torchvision_shim import ensure; ensure(); '
        f"from torchvision.datasets import {SETS[name]} as data; "
        f"data('{folder()}', download=True)\""
    )


def files(name: str) -> list[Path]:
    """The files of the data set called `name`; those of MNIST may also end in .gz."""
    if SETS[name] == "MNIST":
        kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
        return [folder() / "MNIST/raw" / f"{part}-{kind}" for part in MNIST_PARTS for kind in kinds]
    return [folder() / "cifar-10-batches-py" / batch for part in CIFAR_PARTS for batch in part]


def read(name: str) -> tuple[Arrays, Arrays]:
    """Training and test set of the data set called `name`.

    Raises FileNotFoundError with what to fetch, ValueError naming a file that cannot be read.
    """
    reason = unavailable(name)
    if reason is not None:
        raise FileNotFoundError(reason)
    found = [present(file) or file for file in files(name)]
    parts = _mnist(found) if SETS[name] == "MNIST" else _cifar(found)
    for (pixels, labels), file in zip(parts, (found[0], found[-1]), strict=True):
        if len(pixels) != len(labels) or not len(labels):
            raise ValueError(f"{file}: {len(pixels)} images but {len(labels)} labels")
    return parts


def present(file: Path) -> Path | None:
    """`file`, or the same compressed."""
    packed = file.with_name(f"{file.name}.gz")
    return next((path for path in (file, packed) if path.is_file()), None)


def _mnist(found: list[Path]) -> tuple[Arrays, Arrays]:
    training, training_labels, test, test_labels = (read_idx(file) for file in found)
    return (training[:, None], training_labels), (test[:, None], test_labels)


def _cifar(found: list[Path]) -> tuple[Arrays, Arrays]:
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
    """Lets through what a pickled numpy array needs, and no other callable."""

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
SETS = {"mnist60k": "MNIST", "cifar10": "CIFAR10"}
"""Data sets read from the user's files, with torchvision's names for them."""
