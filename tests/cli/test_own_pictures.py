"""The task on one's own pictures, from the file that the documentation shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_files import write_fashion

from benchmark import registry
from benchmark.registry import BrokenModule
from tasks.data.pictures import read
from tasks.schedule.network import Preconditioned, UNet
from tasks.schedule.pictures import PictureScheduleTask
from tests.commands import benchmark

PAGE = Path(__file__).parents[2] / "docs" / "your-data-and-models.md"
CODE = PAGE.read_text().split("### Your own pictures")[1].split("```python\n")[1].split("```")[0]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the page's file and 120 pictures in two classes."""
    (tmp_path / "my_pictures.py").write_text(CODE)
    rng = np.random.default_rng(0)
    for i in range(120):
        place = tmp_path / "my-pictures" / ("dark" if i % 3 else "bright")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0 if i % 3 else 128, 128 if i % 3 else 256, (20, 24, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_added", {base: {} for base in registry._added})
    return tmp_path


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of few channels and measures of few samples, which are what a run costs."""

    def build(self: PictureScheduleTask) -> Preconditioned:
        return Preconditioned(UNet(channels=8, image_channels=self.channels))

    monkeypatch.setattr(PictureScheduleTask, "build", build)
    monkeypatch.setattr(PictureScheduleTask, "selection_samples", 50)
    monkeypatch.setattr(PictureScheduleTask, "report_samples", 60)


def run(code: int = 0) -> str:
    """`run` of the page's file, tiny; what it printed."""
    return benchmark(
        "run", "--task", "my_pictures.py", "--method", "default", "--clock", "priced",
        "--seeds", "1", "--budget", "0.0003", "--workers", "0", code=code,
    )  # fmt: skip


def loaded() -> type[PictureScheduleTask]:
    task = registry.task("my_pictures.py")
    assert issubclass(task, PictureScheduleTask)
    return task


@pytest.mark.usefixtures("undrawn", "narrow")
def test_the_file_of_the_page_runs(folder: Path) -> None:
    run()
    (stored,) = (folder / "results").rglob("run.json")
    evaluator = json.loads(stored.read_text())["task"]["evaluator"]
    assert set(evaluator["features"]) == {"random-1", "other", "pixels", "random"}
    assert evaluator["split"] == "84 / 18 / 18, seed 0"
    assert len(set(evaluator["features"].values())) == 4


JUDGE = """
def brightness(images):
    return images.flatten(1)[:, :7]


"""


@pytest.mark.usefixtures("undrawn", "narrow")
def test_the_first_reported_distance_is_in_features_of_ones_own(folder: Path) -> None:
    code = CODE.replace("class MyPictures", JUDGE.lstrip() + "class MyPictures")
    (folder / "my_pictures.py").write_text(code + "    judge = brightness\n")
    run()
    (stored,) = (folder / "results").rglob("run.json")
    task = json.loads(stored.read_text())["task"]
    assert task["metrics"][0]["name"] == "frechet_own"
    assert "own" in task["evaluator"]["features"]
    events = (stored.parent / "events.jsonl").read_text()
    assert '"frechet_own"' in events
    assert '"coverage_own"' in events


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("lambda images: images", r"must give a tensor \(2, features\), gave \(2, 1, 16, 16\)"),
        ("lambda images: images.flatten(1) / 0 * 0", "features that are not finite"),
        ("lambda images: missing(images)", "judge: NameError: name 'missing' is not defined"),
        ("'inception'", "'inception': set DTB_INCEPTION to the path"),
    ],
)
def test_a_judge_that_cannot_be_used_is_said_before_a_run(
    folder: Path, judge: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DTB_INCEPTION", raising=False)
    (folder / "my_pictures.py").write_text(CODE + f"    judge = {judge}\n")
    said = str(loaded().unavailable())
    assert re.search(message, said)
    assert "\n" not in said


def test_bad_pictures_are_named_before_a_run_starts(folder: Path) -> None:
    bad = folder / "my-pictures" / "dark" / "cut.png"
    bad.write_bytes(next(bad.parent.glob("*.png")).read_bytes()[:90])
    said = "".join(run(code=2).split())
    assert "1of121picturescannotbeused" in said
    assert str(bad) in said
    assert not list(folder.rglob("run.json"))


def test_pictures_that_are_not_there_are_said(folder: Path) -> None:
    (folder / "my-pictures").rename(folder / "others")
    assert "my-pictures: no such folder or file" in str(loaded().unavailable())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("side = 16", "side = 15", "even number of pixels from 8, got 15"),
        ("side = 16", "side = '16'", "even number of pixels from 8, got '16'"),
        ("channels = 1 ", "channels = 4 ", "1 .grey. or 3 .colour., got 4"),
        ("    pictures =", "    photos =", "`pictures` must be the path"),
        ("    split_seed = 0", "    judge = 'dino'", "'imagenet', 'inception' or a function, got"),
    ],
)
def test_a_file_that_states_something_else_is_refused(
    folder: Path, old: str, new: str, message: str
) -> None:
    assert CODE.count(old) == 1
    (folder / "my_pictures.py").write_text(CODE.replace(old, new))
    with pytest.raises(BrokenModule, match=message) as caught:
        registry.task("my_pictures.py")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_fashion_mnist_is_read_from_files_in_its_format(folder: Path, channels: int) -> None:
    pixels, _ = write_fashion(folder)
    file = "FashionMNIST/raw/t10k-images-idx3-ubyte.gz"
    code = CODE.replace('"my-pictures" ', f'"{file}" ').replace("side = 16", "side = 28")
    code = code.replace("channels = 1 ", f"channels = {channels} ")
    (folder / "my_pictures.py").write_text(code)
    splits = loaded().read()
    parts = (splits.train, splits.selection, splits.report)
    images = np.concatenate([part.images.numpy() for part in parts])
    assert images.shape == (len(pixels), channels, 28, 28)
    found = ((images[:, -1] + 1) * 127.5).round().astype(np.uint8)
    assert {picture.tobytes() for picture in found} == {picture.tobytes() for picture in pixels}
    assert set(splits.train.labels.bincount().tolist()) == {8, 9}


def test_images_without_their_labels_are_refused(folder: Path) -> None:
    write_fashion(folder)
    raw = folder / "FashionMNIST/raw"
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is not a whole idx file"):
        read(raw / "t10k-images-idx3-ubyte.gz", 28, 1)
    with pytest.raises(ValueError, match=r"array of shape \(360,\), expected \(n, h, w\)"):
        read((raw / "train-labels-idx1-ubyte.gz").rename(raw / "images-idx3.gz"), 28, 1)
