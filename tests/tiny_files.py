"""Data and weights that a user would provide, tiny, in the formats of the real ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import torch

from tasks.assets import inception

COUNT = 120


def idx(array: np.ndarray) -> bytes:
    """An uint8 array in LeCun's format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def text(content: bytes) -> bytes:
    """A Python 2 string in a pickle."""
    return b"T" + struct.pack("<I", len(content)) + content


def old_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 and a numpy of that time pickled it (protocol 2)."""
    count, length = pixels.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + text(b"b")
        + b"\x87R(K\x01M" + struct.pack("<H", count) + b"M" + struct.pack("<H", length) + b"\x86"
        + b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        + b"(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
        + b"\x89" + text(pixels.tobytes()) + b"tb"
    )  # fmt: skip
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}" + text(b"data") + array + b"s" + text(b"labels") + listed + b"s."


def write_mnist(root: Path, packed: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Tiny files in torchvision's layout; returns the test set."""
    return _write_idx(root / "MNIST" / "raw", packed)


def write_fashion(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same for Fashion-MNIST."""
    return _write_idx(root / "FashionMNIST" / "raw", packed=True)


def _write_idx(folder: Path, packed: bool) -> tuple[np.ndarray, np.ndarray]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 3 * COUNT), ("t10k", COUNT)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            name, content = f"{part}-{kind}-ubyte", idx(array)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return pixels, labels


def write_cifar(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """Tiny batches in torchvision's layout; returns the test set."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        pixels = rng.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
        labels = [i % 10 for i in range(COUNT)]
        (folder / name).write_bytes(old_batch(pixels, labels))
    return pixels, np.array(labels)


class Layers(torch.nn.Module):
    """Stands for Inception: 2048 numbers of an image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, :2, :2].flatten(1).repeat(1, 171)[:, :2048]


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()
        self.output = torch.nn.Linear(2048, 1008)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def write_inception(folder: Path) -> Path:
    """A file in the layout of the Inception weights that clean-fid uses."""
    file = folder / inception.NAME
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.jit.save(torch.jit.script(Network()), str(file))
    return file
