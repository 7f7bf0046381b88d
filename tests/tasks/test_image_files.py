"""MNIST and CIFAR-10 from the user's files: the formats, what is missing, what is damaged."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks import data, image_files

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
    folder = root / "MNIST" / "raw"
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


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(image_files.VARIABLE, str(tmp_path))
    data.load.cache_clear()
    yield tmp_path
    data.load.cache_clear()


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_split_in_three_with_its_test_set_for_reports(root: Path, packed: bool) -> None:
    pixels, labels = write_mnist(root, packed)
    assert image_files.unavailable("mnist60k") is None
    dataset = data.load("mnist60k")
    assert [len(split) for split in vars(dataset).values()] == [2 * COUNT, COUNT, COUNT]
    expected = torch.from_numpy(pixels)[:, None] / 127.5 - 1
    torch.testing.assert_close(dataset.report.images, expected.float())
    assert dataset.report.labels.tolist() == labels.tolist()
    rows = torch.cat([split.images.flatten(1) for split in vars(dataset).values()])
    assert len(rows.unique(dim=0)) == 4 * COUNT  # disjoint
    assert dataset.selection.labels.bincount().tolist() == [COUNT // 10] * 10


def test_cifar_is_read_from_the_pickles_of_its_time(root: Path) -> None:
    pixels, labels = write_cifar(root)
    dataset = data.load("cifar10")
    assert dataset.train.images.shape == (4 * COUNT, 3, 32, 32)
    expected = torch.from_numpy(pixels).view(COUNT, 3, 32, 32) / 127.5 - 1
    torch.testing.assert_close(dataset.report.images, expected.float())
    assert dataset.report.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("name", list(image_files.SETS))
def test_what_is_missing_is_said_in_one_line_with_the_command(root: Path, name: str) -> None:
    reason = image_files.unavailable(name)
    assert reason is not None
    assert "\n" not in reason
    assert str(root) in reason
    assert "download=True" in reason
    assert image_files.VARIABLE in reason
    with pytest.raises(FileNotFoundError, match="is missing: run"):
        data.load(name)


def test_one_missing_batch_is_noticed(root: Path) -> None:
    write_cifar(root)
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    reason = image_files.unavailable("cifar10")
    assert reason is not None
    assert "data_batch_3 is missing" in reason


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "other type"])
def test_damaged_idx_files_are_named(root: Path, damage: str) -> None:
    write_mnist(root)
    file = root / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    content = file.read_bytes()
    other = gzip.compress(b"\0\0\x0d\x01" + struct.pack(">I", 4) + b"1234")
    file.write_bytes(
        {"cut": content[:-900], "empty": b"", "garbage": b"nothing", "other type": other}[damage]
    )
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz is not .*fetch it again"):
        data.load("mnist60k")


def test_images_and_labels_that_do_not_match_are_named(root: Path) -> None:
    write_mnist(root, packed=False)
    file = root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    file.write_bytes(idx(np.zeros(7, np.uint8)))
    with pytest.raises(ValueError, match=r"t10k.*120 images but 7 labels"):
        data.load("mnist60k")


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "other keys", "other shape"])
def test_damaged_batches_are_named(root: Path, damage: str) -> None:
    write_cifar(root)
    file = root / "cifar-10-batches-py" / "data_batch_2"
    content = {
        "cut": file.read_bytes()[:5000],
        "empty": b"",
        "garbage": b"nothing",
        "other keys": pickle.dumps({"data": 1}),
        "other shape": old_batch(np.zeros((300, 300), np.uint8), [1] * 300),
    }
    file.write_bytes(content[damage])
    with pytest.raises(ValueError, match=r"data_batch_2 is not .*fetch it again"):
        data.load("cifar10")


def test_a_batch_that_carries_code_does_not_run_it(root: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(root / "harm"),)

    write_cifar(root)
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match=r"data_batch_1.*mkdir"):
        data.load("cifar10")
    assert not (root / "harm").exists()
