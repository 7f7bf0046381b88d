"""The benchmark for GPUs, in small on a CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.speed import compiled, gpu, published_costs
from tests.speed.schedule_training import our_task


def test_both_sides_of_a_difference_do_the_same() -> None:
    together, apart = gpu.both_sides(our_task("digits"), 6)
    torch.testing.assert_close(together(), torch.cat(apart()), atol=1e-4, rtol=1e-4)


def test_the_peak_is_of_the_device_or_as_given() -> None:
    assert gpu.peak_of("NVIDIA H100 80GB HBM3", "bfloat16", None) == 989
    assert gpu.peak_of("NVIDIA H100 80GB HBM3", "bfloat16", 500.0) == 500
    assert gpu.peak_of("NVIDIA H100 PCIe", "bfloat16", None) == 756
    assert gpu.peak_of("NVIDIA A100-SXM4-80GB", "float32", None) == 156


@pytest.mark.parametrize(
    "name",
    ["a device nobody knows", "NVIDIA H100 NVL", "NVIDIA GH200 480GB", "NVIDIA H200 NVL",
     "NVIDIA A100-SXM4-40GB MIG 1g.5gb"],
)  # fmt: skip
def test_the_peak_of_another_device_does_not_stand_in(name: str) -> None:
    assert gpu.peak_of(name, "float32", None) is None


def test_a_training_step_of_digits_costs_what_its_layers_do() -> None:
    """Two operations per weight of every dense layer and image, forwards, and twice that
    backwards, but for the first layers, whose input needs no gradient."""
    costs = gpu.step_costs("digits", "cpu", "float32", peak=1.0)
    net = our_task("digits").build().inner  # the preconditioning around it multiplies no matrices
    dense = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    first = (net.enter, net.level.dense[0])
    weights = sum(m.weight.numel() * (2 if m in first else 3) for m in dense)
    assert costs["gflop_per_step"] == pytest.approx(2 * 64 * weights / 1e9)
    assert costs["utilisation"] == pytest.approx(costs["tflop_per_second"])
    assert costs["peak_memory_mb"] is None


def test_operations_are_those_that_compute() -> None:
    x, y = torch.ones(2, 3), torch.empty(3, 2)
    assert published_costs.operations(lambda: torch.empty(2, 3).copy_(x + x) @ y.view(3, 2)) == 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_trains_alike() -> None:
    weights = []
    for task in (our_task("digits"), compiled.compiled_task(our_task("digits"), None)):
        training = task.begin(0)
        table = task.training_levels(task.position(task.space.default))
        for _ in range(3):
            task.train_step(training, table, 0.0)
        weights.append(training.net.state_dict())
    assert compiled.graphs() > 0
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_one_command_writes_the_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.speed.gpu", "--device", "cpu", "--quick"]
    subprocess.run([*command, "--repetitions", "1", "--json", str(file)], check=True)
    report = json.loads(file.read_text())
    assert report["machine"]["precision"] == "float32, bfloat16"
    assert len(report["one_network"]) == 12
    assert len(report["differences"]) == 4
    assert {cost["precision"] for cost in report["step_costs"]} == {"float32", "bfloat16"}
    assert str(gpu.file_of(report)).endswith(".json")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so() -> None:
    command = [sys.executable, "-m", "tests.speed.gpu"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "--device cuda: this machine has no usable CUDA device" in ended.stderr
