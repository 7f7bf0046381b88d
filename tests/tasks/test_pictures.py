"""The user's own pictures: every kind that Pillow opens, bad ones by name, three containers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from tasks.data import datasets, pictures
from tasks.data.pictures import read

SIDE = 8


def gradient(side: int = 16) -> Image.Image:
    """Dark above, bright below; red to the left."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    red = np.zeros((side, side), np.uint8)
    red[:, : side // 2] = 255
    return Image.fromarray(np.stack([red, *2 * [np.repeat(ramp[:, None], side, 1)]], axis=-1))


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def only(folder: Path, channels: int = 3) -> np.ndarray:
    """The one picture in `folder`, `(channels, 8, 8)`."""
    (pixels,) = read(folder, SIDE, channels).pixels
    return pixels.astype(int)


EXPECTED = np.asarray(gradient().resize((SIDE, SIDE), Image.Resampling.BOX)).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("a.png", 0), ("a.BMP", 0), ("a.tiff", 0), ("a.webp", 40), ("a.JPG", 40)],
)
def test_formats_are_read(folder: Path, name: str, tolerance: int) -> None:
    kind = {"jpg": "JPEG"}.get(name[2:].lower(), name[2:].upper())
    (folder / name).write_bytes(encoded(gradient(), kind))
    assert np.abs(only(folder) - EXPECTED).max() <= tolerance


def test_a_palette_is_looked_up(folder: Path) -> None:
    gradient().quantize(64).save(folder / "a.png")
    assert np.abs(only(folder) - EXPECTED).max() < 40


def test_cmyk_is_converted(folder: Path) -> None:
    gradient().convert("CMYK").save(folder / "a.jpg", quality=95)
    assert np.abs(only(folder) - EXPECTED).max() < 40


def test_sixteen_bits_become_eight(folder: Path) -> None:
    deep = np.full((16, 16), 65535, np.uint16)
    deep[:8] = 257 * 100
    Image.fromarray(deep).save(folder / "a.png")
    grey = only(folder, channels=1)
    assert set(grey[0, :4].ravel()) == {100}
    assert set(grey[0, 4:].ravel()) == {255}


def test_transparency_shows_white(folder: Path) -> None:
    clear = gradient().convert("RGBA")
    clear.putalpha(0)
    clear.save(folder / "a.png")
    assert only(folder).min() == 255
    halved = Image.new("LA", (16, 16), (0, 128))
    halved.save(folder / "a.png")
    assert set(only(folder).ravel()) == {127}
    indexed = Image.new("P", (16, 16), 3)
    indexed.putpalette([0, 0, 0] * 4)
    indexed.save(folder / "a.png", transparency=3)
    assert only(folder).min() == 255


def test_pictures_are_turned_as_their_exif_tag_says(folder: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6  # turned by a quarter: the stored left side is above
    gradient().save(folder / "a.png", exif=tag)
    upright = np.rot90(EXPECTED, k=-1, axes=(1, 2))
    assert np.abs(only(folder) - upright).max() == 0


def test_the_middle_square_is_taken(folder: Path) -> None:
    wide = Image.new("RGB", (48, 16))
    wide.paste(gradient(), (16, 0))
    wide.save(folder / "a.png")
    assert np.abs(only(folder) - EXPECTED).max() == 0


def test_hidden_files_and_leftovers_are_skipped(folder: Path) -> None:
    for place in ("cats", ".thumbs", "@eaDir", "cats/@eaDir/a.png", "__MACOSX/cats", "dogs/young"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        gradient().save(
            folder / place / "a.png"
            if place != "cats/@eaDir/a.png"
            else folder / place / "SMALL.jpg"
        )
    (folder / "cats/._a.png").write_bytes(b"resource fork")
    (folder / "Thumbs.db").write_bytes(b"")
    (folder / "read me.txt").write_text("pictures of cats")
    found = read(folder, SIDE, 3)
    assert found.classes == ("cats", "dogs")
    assert found.labels.tolist() == [0, 1]


def bad(folder: Path, name: str) -> None:
    content = encoded(gradient(64))
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    broken = {
        "cut.png": content[: len(content) // 2],
        "empty.png": b"",
        "text.jpg": b"<html>not found</html>",
        "dot.png": (folder / "dot.png").read_bytes(),
    }[name]
    (folder / "dot.png").unlink()
    (folder / name).write_bytes(broken)


@pytest.mark.parametrize("name", ["cut.png", "empty.png", "text.jpg", "dot.png"])
def test_a_bad_picture_is_named(folder: Path, name: str) -> None:
    gradient().save(folder / "good.png")
    bad(folder, name)
    with pytest.raises(ValueError, match="1 of 2 pictures cannot be used: ") as caught:
        read(folder, SIDE, 3)
    assert str(folder / name) in str(caught.value)
    assert "good.png" not in str(caught.value)
    assert "\n" not in str(caught.value)
    if name == "dot.png":
        assert "1 x 1 pixels, at least 8 x 8" in str(caught.value)


def test_many_bad_pictures_are_counted(folder: Path) -> None:
    for i in range(20):
        (folder / f"{i:02}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"20 of 20.*04\.png.*; and 15 more$"):
        read(folder, SIDE, 3)


def test_a_huge_picture_is_named_before_it_is_unpacked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient(64).save(folder / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"huge\.png.*decompression bomb"):
        read(folder, SIDE, 3)


def test_nothing_to_read_is_said(folder: Path) -> None:
    with pytest.raises(ValueError, match="holds no pictures"):
        read(folder, SIDE, 3)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read(folder / "nowhere", SIDE, 3)
    (folder / "a.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.zip: expected a folder"):
        read(folder / "a.zip", SIDE, 3)


@pytest.mark.parametrize("shape", [(6, 16, 16), (6, 16, 16, 1), (6, 16, 16, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_of_bytes_are_read(folder: Path, shape: tuple[int, ...], channels: int) -> None:
    images = np.full(shape, 7, np.uint8)
    np.savez(folder / "a.npz", images=images, labels=np.array([5, 5, 9, 9, 5, 9]))
    found = read(folder / "a.npz", SIDE, channels)
    assert found.pixels.shape == (6, channels, SIDE, SIDE)
    assert set(found.pixels.ravel()) == {7}
    assert found.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert found.classes == ("5", "9")


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": np.zeros(3)}, "not an .npz file with `images`"),
        ({"images": np.zeros((2, 8, 8))}, "float64 of shape"),
        ({"images": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(3)}, "2 pictures but 3"),
        ({"images": np.array([{}], dtype=object)}, "not an .npz file with"),
    ],
)
def test_other_arrays_are_refused(folder: Path, arrays: dict, reason: str) -> None:
    np.savez(folder / "a.npz", **arrays)
    with pytest.raises(ValueError, match=reason) as caught:
        read(folder / "a.npz", SIDE, 3)
    assert "a.npz" in str(caught.value)


@pytest.mark.parametrize("nested", [True, False])
def test_a_parquet_file_of_the_hugging_face_layout_is_read(folder: Path, nested: bool) -> None:
    content = encoded(gradient())
    cells = [{"bytes": content, "path": "a.png"} if nested else content for _ in range(3)]
    file = folder / "train.parquet"
    parquet.write_table(pa.table({"image": cells, "label": [2, 0, 2]}), file)
    found = read(file, SIDE, 3)
    assert np.array_equal(found.pixels[0], EXPECTED)
    assert found.labels.tolist() == [1, 0, 1]
    broken = [*cells[:2], {"bytes": b"nothing", "path": "a.png"} if nested else b"nothing"]
    parquet.write_table(pa.table({"image": broken}), file)
    with pytest.raises(ValueError, match=r"train\.parquet, picture 2: "):
        read(file, SIDE, 3)
    parquet.write_table(pa.table({"picture": [1]}), file)
    with pytest.raises(ValueError, match="no column `image`; it has picture"):
        read(file, SIDE, 3)
    file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        read(file, SIDE, 3)


def test_splits_are_disjoint_and_keep_the_classes(folder: Path) -> None:
    images = np.arange(120, dtype=np.uint8)[:, None, None] * np.ones((1, 9, 9), np.uint8)
    file = folder / "a.npz"
    np.savez(file, images=images, labels=np.arange(120) % 3)
    found = datasets.load_pictures(file, SIDE, channels=1)
    splits = (found.train, found.selection, found.report)
    assert [len(split) for split in splits] == [84, 18, 18]
    assert found.report.labels.bincount().tolist() == [6, 6, 6]
    values = np.concatenate([split.images[:, 0, 0, 0].numpy() for split in splits])
    assert len(set(values.tolist())) == 120
    other = datasets.load_pictures(file, SIDE, channels=1, seed=1)
    assert not np.array_equal(other.report.images, found.report.images)
    np.savez(folder / "few.npz", images=images[:99])
    with pytest.raises(ValueError, match="99 pictures, at least 100"):
        datasets.load_pictures(folder / "few.npz", SIDE)


def test_a_rare_class_does_not_stop_the_split(folder: Path) -> None:
    images = np.zeros((120, 9, 9), np.uint8)
    np.savez(folder / "rare.npz", images=images, labels=np.arange(120) == 0)
    assert len(datasets.load_pictures(folder / "rare.npz", SIDE).train) == 84
    assert pictures.read(folder / "rare.npz", SIDE, 1).classes == ("False", "True")
