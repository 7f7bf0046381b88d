"""What a CPU can tell of a GPU: everything runs, on a device apart, and mixes no devices."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNDRAWN = str(ROOT / "tests/engine/undrawn.py")
"""The command line, less the figures at the end of a run."""
TASKS = ("finetune/digits-perclass", "finetune/mnist-coupled", "schedule/digits", "schedule/mnist",
         "schedule/gaussian")  # fmt: skip


def on_gpus(*arguments: str, count: int = 1, cwd: Path = ROOT, code: int = 0) -> str:
    """What `python ARGUMENTS` says where there are so many GPUs, ending with `code`."""
    path = os.pathsep.join(map(str, (ROOT / "tests/pretended", ROOT)))
    there = {"PYTHONPATH": path, "PRETENDED_GPUS": str(count)}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True,
        env=os.environ | there | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
    )  # fmt: skip
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_devices_do_not_mix(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        """
import torch
here, there = torch.ones(3), torch.ones(3, device="cuda")
assert there.device != here.device
assert (there + there).cpu().tolist() == [2, 2, 2]
assert (there * torch.tensor(2.0)).device == there.device  # a single number may stay
for mixed in (lambda: here + there, lambda: there[torch.arange(2)], lambda: there.numpy()):
    try:
        mixed()
    except (RuntimeError, TypeError) as error:
        print(error)
    else:
        raise AssertionError("devices were mixed")
"""
    )
    assert on_gpus(str(program)).count("mixes devices") == 2


def test_a_gpu_that_is_not_there_is_refused() -> None:
    said = on_gpus("-m", "benchmark", "check", "random", "--device", "cuda:1", code=2)
    assert "--device cuda:1: this machine has 1, cuda:0 the first" in said


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_gpu_is_chosen_by_number(tmp_path: Path, workers: str) -> None:
    words = "--task finetune/gaussian --method random --seeds 1 --clock priced --budget 0.00005"
    chosen = (*words.split(), "--device", "cuda:1", "--workers", workers)
    on_gpus(UNDRAWN, "run", *chosen, count=2, cwd=tmp_path)
    (run,) = tmp_path.rglob("run.json")
    assert json.loads(run.read_text())["spec"]["device"] == "cuda"  # of whichever number


@pytest.mark.slow
def test_tasks_keep_the_contract(tmp_path: Path) -> None:
    """One process for all of them, with few samples."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
from benchmark import contract
from tasks.finetune.base import FinetuneTask
from tasks.schedule.base import ScheduleTask

ScheduleTask.selection_samples, ScheduleTask.report_samples = 200, 300
FinetuneTask.evaluation_samples = 300
for name in {TASKS}:
    found = list(contract.check(name, "cuda"))
    broken = [f"{{title}}: {{problem}}" for title, problem in found if problem]
    print(name, "keeps", len(found) - len(broken), "of", len(found), *broken)
"""
    )
    said = on_gpus(str(program))
    for name in TASKS:
        assert f"{name} keeps 9 of 9\n" in said, said


@pytest.mark.slow
def test_bilevel_keeps_the_contract() -> None:
    assert " ok " in on_gpus("-m", "benchmark", "check", "bilevel", "--device", "cuda")


@pytest.mark.slow
def test_the_command_runs_everything_and_names_the_device(tmp_path: Path) -> None:
    tasks = ("--task", "finetune/digits", "--task", "schedule/digits", "--seeds", "1")
    small = ("--budget", "0.0002", "--clock", "priced", "--workers", "0")
    said = on_gpus(UNDRAWN, "run", *tasks, *small, "--device", "cuda", cwd=tmp_path)
    assert "0.72 s of cuda time" in said
    runs = list((tmp_path / "results/quick/runs").rglob("run.json"))
    (planned,) = map(int, re.findall(r"^(\d+) runs, ", said, re.MULTILINE))
    assert said.count(": finished") == len(runs) == planned
    assert {run.parents[2].name for run in runs} == {"digits"}
    assert sum(run.parents[1].name == "bilevel" for run in runs) == 2
    devices = {json.loads(run.read_text())["provenance"]["device"] for run in runs}
    assert devices == {"cuda: Pretended"}


@pytest.mark.slow
def test_each_worker_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    method = tmp_path / "says_where.py"
    method.write_text(
        """
import os

from methods.default import Default


class SaysWhere(Default):
    "The default, where it is."

    name = "says-where"

    def run(self, problem):
        print("on GPU", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
        super().run(problem)
"""
    )
    small = ("--task", "schedule/gaussian", "--budget", "0.0002", "--seeds", "4")
    said = on_gpus(UNDRAWN, "run", "--method", str(method), *small, count=2, cwd=tmp_path)
    assert "4 to do in 2 workers" in said
    outputs = (tmp_path / "results/quick/runs").rglob("output.txt")
    assert {output.read_text() for output in outputs} == {"on GPU 0\n", "on GPU 1\n"}


@pytest.mark.slow
def test_the_gpu_benchmark_runs(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    few = ("--quick", "--repetitions", "1", "--precision", "bfloat16", "--peak-tflops", "100")
    on_gpus("-m", "tests.speed.gpu", *few, "--json", str(file))
    report = json.loads(file.read_text())
    assert report["machine"]["device"] == "Pretended"
    assert report["step_costs"][0]["peak_memory_mb"] > 0


@pytest.mark.slow
def test_the_benchmark_of_guided_sampling_runs(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    file = tmp_path / "report.json"
    few = ("--repetitions", "1", "--steps", "2", "--batch", "2")
    on_gpus("-m", "tests.speed.guided_sampling", "--device", "cuda", *few, "--json", str(file))
    report = json.loads(file.read_text())
    assert report["machine"] | {"device": "Pretended", "precision": "bfloat16"} == report["machine"]


@pytest.mark.slow
def test_where_nothing_compiles_the_benchmark_says_so(tmp_path: Path) -> None:
    file, few = tmp_path / "report.json", ("--case", "digits", "--repetitions", "1")
    on_gpus("-m", "tests.speed.compiled", "--device", "cuda", *few, "--json", str(file))
    cases = json.loads(file.read_text())["cases"]
    assert [case["mode"] for case in cases] == ["default", "reduce-overhead"]
    assert all("nothing was compiled" in case["error"] for case in cases)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["test_host_syncs.py", "test_stable_diffusion.py"])
def test_tests_that_need_cuda_pass(file: str) -> None:
    arguments = ("-k", "cuda", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    said = on_gpus("-m", "pytest", f"tests/tasks/{file}", *arguments)
    assert " passed" in said
    assert "skipped" not in said
