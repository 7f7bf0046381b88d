"""The user's own pictures: a folder, an .npz file, or a Parquet file with a column of images.

========== ===================================================================================
folder     PNG, JPEG, WebP, BMP or TIFF files at any depth; folders at the top are classes
.npz       an array of bytes `images` `(n, h, w)` or `(n, h, w, channels)`, perhaps `labels` `(n,)`
.parquet   a column `image` of encoded pictures, as bytes or as the struct of bytes and path that
           Hugging Face `datasets` writes; perhaps a column `label` of integers
idx3-ubyte a file of images as MNIST has them, perhaps compressed, and its labels beside it
========== ===================================================================================

Every picture is turned as its EXIF tag says, blended with white where it is transparent, brought
to 8 bits, cropped to the square in its middle and reduced to the size asked for. Hidden files and
the folders that editors, operating systems and network storage leave behind are skipped. Pictures
that cannot be read, or are smaller than asked for, are an error that names them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from tasks.data.user_data import read_idx

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
LEFTOVERS = {"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "@tmp", "__pycache__"}
"""Folders of network storage and operating systems, in lower case; besides hidden ones."""
IDX = "images-idx3"
SHOWN = 5
"""Bad pictures that an error names; the others are counted."""
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
"""Errors that Pillow raises for damaged files."""


class Pictures(NamedTuple):
    """Pictures of one size."""

    pixels: np.ndarray
    """`(n, channels, side, side)` uint8."""
    labels: np.ndarray
    """Class of each, `(n,)`, numbered from 0; all 0 where there are no classes."""
    classes: tuple[str, ...]


def read(source: Path, side: int, channels: int) -> Pictures:
    """The pictures in `source` at `side` x `side` pixels with one channel (grey) or three.

    Raises FileNotFoundError if there is nothing at `source`, ValueError if it holds no pictures,
    labels that do not match, or pictures that cannot be used, with their paths.
    """
    if source.is_dir():
        found, labels = _folder(source)
    elif not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or file")
    elif source.suffix == ".npz":
        found, labels = _npz(source)
    elif source.suffix == ".parquet":
        found, labels = _parquet(source)
    elif IDX in source.name:
        found, labels = _idx(source)
    else:
        raise ValueError(f"{source}: expected a folder, an .npz, a .parquet or an {IDX} file")
    if not found:
        raise ValueError(f"{source} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    pixels, problems = [], []
    for name, content in found:
        try:
            pixels.append(_prepared(content, side, channels))
        except UNREADABLE as error:
            problems.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(
            f"{len(problems)} of {len(found)} pictures cannot be used: "
            f"{'; '.join(problems[:SHOWN])}{more}"
        )
    names, numbers = np.unique(np.asarray(labels), return_inverse=True)
    return Pictures(np.stack(pixels), numbers.astype(np.int64), tuple(map(str, names)))


Found = list[tuple[str, "Path | bytes | np.ndarray"]]
"""Where each picture is from, and the picture: a file, its content, or an array."""
Labels = list[str] | list[int]


def _folder(source: Path) -> tuple[Found, Labels]:
    files = [file for file in _walk(source) if file.suffix.lower() in SUFFIXES]
    below = [file.relative_to(source).parts for file in files]
    classes = [parts[0] if len(parts) > 1 else "" for parts in below]
    return [(str(file), file) for file in files], classes


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name.lower() in LEFTOVERS:
            continue
        if entry.is_dir():
            yield from _walk(entry)
        else:
            yield entry


def _npz(source: Path) -> tuple[Found, Labels]:
    try:
        with np.load(source) as arrays:  # pickled objects are refused
            images = arrays["images"]
            labels = arrays["labels"] if "labels" in arrays.files else np.zeros(len(images), int)
    except Exception as error:  # a damaged archive raises anything
        raise ValueError(f"{source} is not an .npz file with `images`: {error}") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"{source}: `images` is {images.dtype} of shape {images.shape}, expected uint8 "
            "(n, h, w) or (n, h, w, channels)"
        )
    return _numbered(source, list(images), labels.tolist())


def _parquet(source: Path) -> tuple[Found, Labels]:
    import pyarrow
    from pyarrow import parquet

    try:
        columns = parquet.read_table(source).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{source} is not a Parquet file: {error}") from error
    if "image" not in columns:
        raise ValueError(f"{source} has no column `image`; it has {', '.join(columns)}")
    cells = columns["image"]
    contents = [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
    empty = next((i for i, content in enumerate(contents) if not content), None)
    if empty is not None:
        raise ValueError(f"{source}: picture {empty} has no bytes in the file")
    return _numbered(source, contents, columns.get("label") or [0] * len(contents))


def _idx(source: Path) -> tuple[Found, Labels]:
    images = read_idx(source)
    if images.ndim != 3:
        raise ValueError(f"{source} holds an array of shape {images.shape}, expected (n, h, w)")
    labels = read_idx(source.with_name(source.name.replace(IDX, "labels-idx1")))
    return _numbered(source, list(images), labels.tolist())


def _numbered(
    source: Path, contents: Sequence[bytes | np.ndarray], labels: Labels
) -> tuple[Found, Labels]:
    if len(contents) != len(labels):
        raise ValueError(f"{source}: {len(contents)} pictures but {len(labels)} labels")
    return [(f"{source}, picture {i}", content) for i, content in enumerate(contents)], labels


def _prepared(content: Path | bytes | np.ndarray, side: int, channels: int) -> np.ndarray:
    """`(channels, side, side)` uint8. Raises one of `UNREADABLE`."""
    if isinstance(content, np.ndarray):
        picture = Image.fromarray(content[..., 0] if content.shape[2:] == (1,) else content)
    else:
        picture = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
    with picture:
        if min(picture.size) < side:
            width, height = picture.size
            raise ValueError(f"{width} x {height} pixels, at least {side} x {side} are needed")
        turned = _eight_bits(ImageOps.exif_transpose(picture))
        fitted = ImageOps.fit(turned, (side, side), Image.Resampling.BOX)
        values = np.asarray(fitted.convert("L" if channels == 1 else "RGB"))
    return values[None] if channels == 1 else values.transpose(2, 0, 1)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """In RGB or grey, blended with white where it is transparent."""
    if picture.mode.startswith(("I", "F")):  # 16 bits, as Pillow opens grey PNG and TIFF files
        values = np.asarray(picture, dtype=np.float64)
        if picture.mode == "F" or values.max(initial=0) > 65535 or values.min(initial=0) < 0:
            raise ValueError("more than 16 bits a channel")
        return Image.fromarray((values / 257).round().astype(np.uint8))
    if picture.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return picture if picture.mode == "L" else picture.convert("RGB")
