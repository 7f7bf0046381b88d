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
from tiny_files import COUNT, idx, old_batch, write_cifar, write_mnist

from tasks.assets import data, image_files


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
