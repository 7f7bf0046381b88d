"""Weight files that are damaged or of another model: one line with the file and what to do."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tasks.assets import networks
from tasks.assets.clip import CLIP
from tasks.finetune.pipelines.clip import ClipScore
from tasks.finetune.sd15.assets import PIPELINE
from tasks.finetune.sd15.random_head import RandomHead


class Code:
    """Unpickling it leaves a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """Whole weights of a small model."""
    monkeypatch.setattr(networks, "SHIPPED", tmp_path)
    monkeypatch.setattr(networks, "MADE_HERE", tmp_path / "made")
    return networks.save("small", nn.Linear(3, 2), tmp_path)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def zeros(file: Path) -> None:
    file.write_bytes(b"\0" * file.stat().st_size)


def endless_header(file: Path) -> None:
    file.write_bytes(struct.pack("<Q", 2**62) + file.read_bytes()[8:])


def code(file: Path) -> None:
    torch.save({"weight": Code(file.parent / "owned")}, file)


def other_shape(file: Path) -> None:
    save_file(nn.Linear(4, 2).state_dict(), file)


def other_names(file: Path) -> None:
    save_file({"kernel": torch.zeros(2, 3)}, file)


DAMAGES = [empty, text, cut, zeros, endless_header, code]


@pytest.mark.parametrize("damage", [*DAMAGES, other_shape, other_names])
def test_weights_that_cannot_be_used_are_named_with_the_remedy(file, damage):
    damage(file)
    with pytest.raises(ValueError, match="does not hold the parameters of small") as caught:
        networks.load("small", nn.Linear(3, 2))
    message = str(caught.value)
    assert str(file) in message
    assert message.endswith("make it again with: python -m tasks.make.pretrain small")
    assert "\n" not in message
    assert len(message) < 1000
    assert not (file.parent / "owned").exists()


def test_missing_weights_are_named_with_the_remedy(file):
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"small\.safetensors is missing; make it again"):
        networks.load("small", nn.Linear(3, 2))


def test_whole_weights_are_loaded_frozen(file):
    model = networks.load("small", nn.Linear(3, 2))
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("damage", [*DAMAGES, other_names])
def test_a_damaged_resnet_is_named(tmp_path, damage):
    file = tmp_path / "resnet18.pth"
    file.write_bytes(b"\x80" * 100)
    damage(file)
    with pytest.raises(ValueError, match="does not hold the weights of a ResNet-18") as caught:
        RandomHead(file)
    assert str(file) in str(caught.value)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", [CLIP, PIPELINE], ids=["clip", "pipeline"])
def test_a_damaged_part_of_stable_diffusion_is_named(tmp_path, part, damage):
    from safetensors import safe_open

    file = tmp_path / "model.safetensors"
    save_file(nn.Linear(3, 2).state_dict(), file)
    damage(file)
    with (
        pytest.raises(ValueError, match=f"does not hold {part.title}") as caught,
        part.loading(tmp_path),
        safe_open(file, "pt") as opened,
    ):
        opened.keys()
    assert str(tmp_path) in str(caught.value)
    assert part.command in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_lack_of_memory_is_not_taken_for_a_damaged_file(tmp_path, error):
    with pytest.raises(type(error)), CLIP.loading(tmp_path):
        raise error


def test_a_damaged_clip_folder_is_named(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="does not hold CLIP"):
        ClipScore(tmp_path)
