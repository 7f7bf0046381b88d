"""Assets: whole, missing, cut short, another file; fetching that fails leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_files import idx, write_cifar, write_fashion, write_mnist

from tasks.assets import inception, networks, pretrained
from tasks.assets.asset import Asset, beside
from tasks.assets.clip import CLIP
from tasks.data import user_data
from tasks.finetune.sd15 import assets
from tasks.make import pretrain

WRITERS = {"mnist60k": write_mnist, "fashion28": write_fashion, "cifar10": write_cifar}
DATA = list(WRITERS)


def read_by_tasks(name: str, place: int = 0) -> Path:
    found = user_data.files(name)[place]
    assert found.is_file()
    return found


def md5s_below(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's empty folder of data; the tiny files of another folder count as published."""
    for name, write in WRITERS.items():
        write(tmp_path / "published" / name)
    published = {name: md5s_below(tmp_path / "published" / name) for name in WRITERS}
    monkeypatch.setattr(user_data, "md5s", published.__getitem__)
    monkeypatch.setenv(user_data.VARIABLE, str(tmp_path / "data"))
    alone = replace(user_data.SETS["fashion28"], places=(Path("FashionMNIST/raw"),))
    monkeypatch.setitem(user_data.SETS, "fashion28", alone)  # whatever packages are installed
    return tmp_path / "data"


def fill(root: Path, name: str) -> None:
    shutil.copytree(root.parent / "published" / name, root, dirs_exist_ok=True)


def offer(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, lacking: str = "") -> None:
    """Let torchvision fetch the published files, but break off at the one called `lacking`."""

    def download(folder: str, download: bool) -> None:
        assert download
        for file in sorted((root.parent / "published" / name).rglob("*")):
            if lacking and file.name.startswith(lacking):
                raise RuntimeError("connection\nlost")
            if file.is_file():
                target = Path(folder) / file.relative_to(root.parent / "published" / name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)

    monkeypatch.setattr(user_data, "_torchvision", lambda _: download)


# -- data sets --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATA)
def test_a_folder_filled_by_hand_is_whole(root: Path, name: str) -> None:
    asset = user_data.asset(name)
    assert str(root) in (asset.check() or "")
    assert user_data.VARIABLE in (asset.check() or "")
    fill(root, name)
    assert asset.check() is None


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_file_is_named_and_fetched_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    fill(root, name)
    file = read_by_tasks(name, 2)
    content = file.read_bytes()
    file.write_bytes(content[:-1] if damage == "cut" else content[:-1] + b"~")
    asset = user_data.asset(name)
    assert asset.missing() is None  # looks at no content
    problem = asset.check() or ""
    assert str(file) in problem
    assert "its MD5 is" in problem
    offer(monkeypatch, root, name)
    asset.fetch()
    assert asset.check() is None


def test_unpacked_files_are_held_against_the_packed_ones(root: Path) -> None:
    fill(root, "mnist60k")
    file = root / "MNIST/raw/t10k-labels-idx1-ubyte"
    packed = file.with_name(f"{file.name}.gz")
    asset = user_data.asset("mnist60k")
    file.write_bytes(gzip.decompress(packed.read_bytes()))
    assert asset.check() is None
    file.write_bytes(idx(np.zeros(120, np.uint8)))
    assert "does not hold what t10k-labels-idx1-ubyte.gz does" in (asset.check() or "")
    packed.unlink()
    assert asset.check() is None  # no hash of it is published
    file.write_bytes(file.read_bytes()[:-1])
    assert "not a whole idx file" in (asset.check() or "")


@pytest.mark.parametrize(
    ("name", "lacking"), [("mnist60k", "train-l"), ("cifar10", "data_batch_3")]
)
def test_a_fetch_that_breaks_off_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, lacking: str
) -> None:
    offer(monkeypatch, root, name, lacking)
    asset = user_data.asset(name)
    with pytest.raises(RuntimeError, match="connection"):
        asset.fetch()
    assert list(root.iterdir()) == []
    offer(monkeypatch, root, name)
    asset.fetch()
    assert asset.check() is None
    assert not list(root.glob(".fetching*"))


def test_hashes_are_those_that_torchvision_holds() -> None:
    assert user_data.md5s("mnist60k") == {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    assert set(user_data.md5s("cifar10")) == set(user_data.SETS["cifar10"].names)


# -- Inception --------------------------------------------------------------------------------


@pytest.mark.parametrize("delivered", [b"the weights", b"the weig", None])
def test_inception_is_fetched_to_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delivered: bytes | None
) -> None:
    monkeypatch.delenv(inception.VARIABLE, raising=False)
    assert inception.asset().place is None
    assert inception.asset().check() is None
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"the weights").hexdigest())
    file = tmp_path / "models" / "mine.pt"
    monkeypatch.setenv(inception.VARIABLE, str(file))
    asset = inception.asset()
    assert "mine.pt: no such file" in (asset.check() or "")

    def download(folder: str) -> str:
        target = Path(folder) / inception.NAME
        target.write_bytes(delivered or b"the")
        if delivered is None:
            raise OSError("connection lost")
        return str(target)

    monkeypatch.setattr("cleanfid.downloads_helper.check_download_inception", download)
    if delivered == b"the weights":
        asset.fetch()
        assert asset.check() is None
        file.write_bytes(b"something else")
        assert "its SHA-256 is" in (asset.check() or "")
    else:
        with pytest.raises((ValueError, OSError)):
            asset.fetch()
        assert list(file.parent.iterdir()) == []


# -- weights in the caches of their tools -----------------------------------------------------


def test_files_named_by_their_hash_are_held_against_it(tmp_path: Path) -> None:
    content = b"numbers"
    blob = tmp_path / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    file = tmp_path / "pytorch_model.bin"
    file.symlink_to(blob)
    assert pretrained.damage(file) is None
    blob.write_bytes(content[:-1])
    assert "its SHA256 is" in (pretrained.damage(file) or "")
    checkpoint = tmp_path / f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    checkpoint.write_bytes(content)
    assert pretrained.damage(checkpoint) is None
    checkpoint.write_bytes(b"others")
    assert str(checkpoint) in (pretrained.damage(checkpoint) or "")


def test_other_files_are_held_against_their_format(tmp_path: Path) -> None:
    tensors, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    save_file({"weight": np.ones(50, np.float32)}, tensors)
    config.write_text('{"layers": 2}')
    assert pretrained.damage(tensors) is None
    assert pretrained.damage(config) is None
    for file in (tensors, config):
        file.write_bytes(file.read_bytes()[:-4])
        assert f"{file} is damaged" in (pretrained.damage(file) or "")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("DTB_SD15", "DTB_CLIP", "DTB_RESNET18"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def clip_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    save_file({"weight": np.ones(50, np.float32)}, folder / "model.safetensors")
    return folder


def test_a_repository_is_fetched_into_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    snapshot = cache / "models--openai--clip-vit-base-patch16" / "snapshots" / "abc"

    def download(name: str, local_files_only: bool = False, **settings: Any) -> str:
        from huggingface_hub.errors import LocalEntryNotFoundError

        if local_files_only:
            if not snapshot.is_dir():
                raise LocalEntryNotFoundError("not there")
            return str(snapshot)
        asked.append({"name": name} | settings)
        shutil.rmtree(snapshot, ignore_errors=True)
        return str(clip_folder(snapshot))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    problem = CLIP.asset().check() or ""
    assert "hf download openai/clip-vit-base-patch16" in problem
    assert CLIP.asset().place == str(cache)
    CLIP.asset().fetch()
    assert CLIP.asset().check() is None
    assert CLIP.asset().place == str(snapshot)
    tensors = snapshot / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-4])
    assert CLIP.missing() is None
    assert f"{tensors} is damaged" in (CLIP.asset().check() or "")
    CLIP.asset().fetch()
    assert CLIP.asset().check() is None
    assert [settings["force_download"] for settings in asked] == [False, True]
    assert {settings["name"] for settings in asked} == {CLIP.default}


def test_a_folder_that_the_user_names_is_only_looked_at(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clip_folder(cache / "by hand")
    monkeypatch.setenv("DTB_CLIP", str(folder))
    assert CLIP.asset().check() is None
    (folder / "config.json").unlink()
    assert "config.json is missing" in (CLIP.asset().check() or "")
    with pytest.raises(ValueError, match="yours to fill; unset it"):
        CLIP.asset().fetch()


@pytest.mark.parametrize("broken", [False, True])
def test_resnet_is_renamed_into_place_when_whole(
    cache: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    name = f"resnet18-{hashlib.sha256(b'numbers').hexdigest()[:8]}.pth"
    resnet = replace(assets.RESNET, default=name)
    from tasks.diffusion import torchvision_shim

    torchvision_shim.ensure()

    def download(self: Any, model_dir: str, check_hash: bool) -> None:
        assert check_hash
        (Path(model_dir) / name).write_bytes(b"numb" if broken else b"numbers")
        if broken:
            raise RuntimeError("invalid hash value")

    monkeypatch.setattr("torchvision.models.ResNet18_Weights.get_state_dict", download)
    if broken:
        with pytest.raises(RuntimeError, match="invalid hash"):
            resnet.fetch()
    else:
        resnet.fetch()
    kept = [file.name for file in resnet.home().iterdir()]
    assert kept == ([] if broken else [name])


# -- weights made here ------------------------------------------------------------------------


def test_only_networks_that_lack_or_are_damaged_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("features-cifar10-first", "features-cifar10-second")
    monkeypatch.setattr(networks, "MADE_HERE", tmp_path)
    made = []

    def make(name: str) -> Path:
        made.append(name)
        save_file({"weight": np.ones(50, np.float32)}, tmp_path / f"{name}.safetensors")
        return tmp_path / f"{name}.safetensors"

    monkeypatch.setattr(pretrain, "make", make)
    asset: Asset = networks.asset(names)
    assert f"python -m tasks.make.pretrain {' '.join(names)}" in (asset.check() or "")
    asset.fetch()
    assert asset.check() is None
    file = tmp_path / f"{names[1]}.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    assert f"tasks.make.pretrain {names[1]}" in (asset.check() or "")
    asset.fetch()
    assert asset.check() is None
    assert made == [*names, names[1]]


def test_a_temporary_folder_is_gone_whatever_happens(tmp_path: Path) -> None:
    def interrupted() -> None:
        with beside(tmp_path / "a" / "b") as folder:
            (folder / "half").write_text("written")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "a").iterdir()) == []
