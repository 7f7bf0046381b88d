"""Data sets from the user's files: formats, missing files, damaged files, other data."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_files import COUNT, idx, old_batch, write_cifar, write_fashion, write_mnist

from tasks.data import datasets, user_data


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(user_data.VARIABLE, str(tmp_path))
    fashion = user_data.SETS["fashion28"]
    places = (*fashion.places[:1], tmp_path / "package")
    monkeypatch.setitem(user_data.SETS, "fashion28", replace(fashion, places=places))
    datasets.load.cache_clear()
    yield tmp_path
    datasets.load.cache_clear()


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_split_in_three_with_its_test_set_for_reports(root: Path, packed: bool) -> None:
    pixels, labels = write_mnist(root, packed)
    assert user_data.unavailable("mnist60k") is None
    dataset = datasets.load("mnist60k")
    assert [len(split) for split in vars(dataset).values()] == [2 * COUNT, COUNT, COUNT]
    expected = torch.from_numpy(pixels)[:, None] / 127.5 - 1
    torch.testing.assert_close(dataset.report.images, expected.float())
    assert dataset.report.labels.tolist() == labels.tolist()
    rows = torch.cat([split.images.flatten(1) for split in vars(dataset).values()])
    assert len(rows.unique(dim=0)) == 4 * COUNT  # disjoint
    assert dataset.selection.labels.bincount().tolist() == [COUNT // 10] * 10


def test_cifar_is_read_from_the_pickles_of_its_time(root: Path) -> None:
    pixels, labels = write_cifar(root)
    dataset = datasets.load("cifar10")
    assert dataset.train.images.shape == (4 * COUNT, 3, 32, 32)
    expected = torch.from_numpy(pixels).view(COUNT, 3, 32, 32) / 127.5 - 1
    torch.testing.assert_close(dataset.report.images, expected.float())
    assert dataset.report.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("name", list(user_data.SETS))
def test_what_is_missing_is_said_in_one_line_with_the_command(root: Path, name: str) -> None:
    reason = user_data.unavailable(name)
    assert reason is not None
    assert "\n" not in reason
    assert str(root) in reason
    assert "download=True" in reason
    assert user_data.VARIABLE in reason
    with pytest.raises(FileNotFoundError, match="is missing: run"):
        datasets.load(name)


def test_fashion_mnist_is_found_where_a_package_puts_it_too(root: Path) -> None:
    pixels, labels = write_fashion(root / "elsewhere")
    os.rename(root / "elsewhere/FashionMNIST/raw", root / "package")
    assert user_data.unavailable("fashion28") is None
    assert user_data.damage("fashion28") is None  # compressed anew: no published hash
    dataset = datasets.load("fashion28")
    expected = torch.from_numpy(pixels)[:, None] / 127.5 - 1
    torch.testing.assert_close(dataset.report.images, expected.float())
    assert dataset.report.labels.tolist() == labels.tolist()
    pooled = datasets.load("fashion14").report.images
    torch.testing.assert_close(pooled.mean((2, 3)), dataset.report.images.mean((2, 3)))
    write_fashion(root)  # the user's own files come first
    assert user_data.files("fashion28")[0].parent == root / "FashionMNIST/raw"


@pytest.mark.parametrize(
    ("part", "array", "reason"),
    [
        ("t10k-images-idx3", np.zeros((120, 20, 20)), r"images of \(1, 20, 20\) pixels, expected"),
        ("t10k-labels-idx1", np.arange(120) % 10 + 200, "label 209, expected 0 to 9"),
        ("t10k-labels-idx1", np.zeros(120), "0 images of class 1, expected 2 or more"),
        ("train-labels-idx1", np.minimum(np.arange(360), 9), "1 images of class 0"),
    ],
)
def test_files_of_other_data_are_refused_by_name(
    root: Path, part: str, array: np.ndarray, reason: str
) -> None:
    write_mnist(root, packed=False)
    (root / f"MNIST/raw/{part}-ubyte").write_bytes(idx(array.astype(np.uint8)))
    with pytest.raises(ValueError, match=rf"{part[:4]}.*{reason}"):
        datasets.load("mnist60k")


def test_one_missing_batch_is_noticed(root: Path) -> None:
    write_cifar(root)
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    reason = user_data.unavailable("cifar10")
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
        datasets.load("mnist60k")


def test_images_and_labels_that_do_not_match_are_named(root: Path) -> None:
    write_mnist(root, packed=False)
    file = root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    file.write_bytes(idx(np.zeros(7, np.uint8)))
    with pytest.raises(ValueError, match=r"t10k.*120 images but 7 labels"):
        datasets.load("mnist60k")


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
        datasets.load("cifar10")


def test_a_batch_that_carries_code_does_not_run_it(root: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(root / "harm"),)

    write_cifar(root)
    (root / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match=r"data_batch_1.*mkdir"):
        datasets.load("cifar10")
    assert not (root / "harm").exists()
