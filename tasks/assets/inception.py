"""The Inception-v3 file that FID is defined by: the user's own copy, given by path and checked.

A truncated download leaves a file that loads badly or not at all, so its hash is verified.
"""

from __future__ import annotations

import os
from pathlib import Path

from tasks.assets.asset import Asset, beside, digest

VARIABLE = "DTB_INCEPTION"
"""Environment variable with the path of the file; without it no FID by that name is reported."""
NAME = "inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""Hash of the file called `NAME`."""


def provided() -> Path | None:
    """The file that the environment names, whether or not it exists."""
    value = os.environ.get(VARIABLE)
    return Path(value).expanduser() if value else None


def asset() -> Asset:
    """The Inception file; optional."""
    file = provided()
    return Asset(
        name=NAME,
        place=None if file is None else str(file),
        remedy=f"set {VARIABLE} to the path where it is or shall be",
        missing=missing,
        damage=damage,
        fetch=fetch,
        hashes=f"SHA-256 {SHA256}",
    )


def missing() -> str | None:
    """That the file the environment names is not there; None where none is named."""
    file = provided()
    return None if file is None or file.is_file() else f"{VARIABLE}={file}: no such file"


def damage() -> str | None:
    """That the file the environment names is not the original one."""
    file = provided()
    try:
        if file is not None:
            check(file)
    except ValueError as error:
        return str(error)
    return None


def fetch() -> None:
    """Have clean-fid fetch its file to where the environment names it."""
    file = provided()
    if file is None:
        return
    from tasks.diffusion import torchvision_shim  # loads torch

    torchvision_shim.ensure()
    from cleanfid.downloads_helper import check_download_inception

    with beside(file) as temporary:
        fetched = Path(check_download_inception(str(temporary)))
        check(fetched)  # a connection that ends early goes unnoticed there
        fetched.replace(file)


def check(file: Path) -> None:
    """Raise ValueError if `file` is not the whole, original Inception file."""
    found = digest(file, "sha256")
    if found != SHA256:
        raise ValueError(
            f"{file} ({file.stat().st_size} bytes) is not {NAME}: "
            f"its SHA-256 is {found}, expected {SHA256}; fetch it again"
        )
