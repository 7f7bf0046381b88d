"""The suite of the paper from end to end, as a user without a network runs it, on tiny files.

The suite file, its pairs of tasks and methods and every command are the real ones; what is small
is in `small.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny_files import write_cifar, write_inception, write_mnist

pytest.importorskip("transformers")

from benchmark import suite
from tasks.schedule.provided import ScheduleCifar10
from tests.speed import tiny_pipeline

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("small.py")
GPU = {"PYTHONPATH": str(PROGRAM.parents[1] / "pretended"), "PRETENDED_GPUS": "1"}
PAIRS = {(task.name, method.label) for task, method in suite.load("paper").pairs()}
RUN = ("run", "--all", "--suite", "paper", "--seeds", "1", "--budget", "0.002", "--clock", "priced")
CLIP = {"reward", "lower_reward", "clip", "path_kl", "fid"}
SCHEDULE = {m.name for m in ScheduleCifar10.metrics} | {"fid_inception", "inception_score"}


class Machine:
    """A machine without a network: a home, and folders that the user fills by hand."""

    def __init__(self, root: Path) -> None:
        self.root = root
        offline = {"HF_HUB_OFFLINE": "1", "HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": ""}
        named = {
            "DTB_INCEPTION": str(root / "weights/inception-2015-12-05.pt"),
            "DTB_DATA": str(root / "data"),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DTB_", "HF_", "TORCH_"))}
        self.environment = (
            kept
            | offline
            | named
            | {
                "HOME": str(root),
                "XDG_CACHE_HOME": str(root / "cache"),
                "OMP_NUM_THREADS": "1",
            }
        )

    def fill(self) -> None:
        """Put every file that the suite asks for where it is looked for."""
        self.environment |= tiny_pipeline.save(self.root / "weights")
        write_inception(self.root / "weights")
        write_mnist(self.root / "data")
        write_cifar(self.root / "data")

    def __call__(self, *arguments: str, code: int = 0, gpu: bool = False) -> str:
        environment = self.environment | (GPU if gpu else {})
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def missing(empty: Machine) -> str:
    """Output of `prepare` without any asset."""
    return empty("prepare", "paper", "--check", code=1)


@pytest.fixture(scope="module")
def prepared(empty: Machine, missing: str) -> tuple[Machine, str]:
    """All files are there, and what `prepare` says once it has made the feature networks."""
    empty.fill()
    return empty, empty("prepare", "paper")


@pytest.fixture(scope="module")
def planned(prepared: tuple[Machine, str]) -> str:
    """Output of a dry run."""
    return prepared[0](*RUN, "--dry-run")


@pytest.fixture(scope="module")
def finished(prepared: tuple[Machine, str], planned: str) -> tuple[Machine, str]:
    machine = prepared[0]
    return machine, machine(*RUN, "--workers", "0")


@pytest.fixture(scope="module")
def frame(finished: tuple[Machine, str]) -> pd.DataFrame:
    return pd.read_parquet(finished[0].root / "results/paper/frame.parquet")


def test_without_files_each_asset_is_named_once(missing: str) -> None:
    errors = [line for line in missing.splitlines() if line.startswith("error: ")]
    assert len(errors) == 7
    for name, remedy in (
        ("Stable Diffusion 1.5", "hf download stable-diffusion-v1-5"),
        ("CLIP", "hf download openai/clip-vit-base-patch16"),
        ("ResNet-18", "resnet18-f37072fd.pth"),
        ("inception-2015-12-05.pt", "DTB_INCEPTION"),
        ("data set MNIST", "DTB_DATA"),
        ("data set CIFAR10", "DTB_DATA"),
        ("features-cifar10-first", "python -m tasks.make.pretrain"),
    ):
        (line,) = [line for line in errors if line.startswith(f"error: {name}")]
        assert remedy in line


def test_a_folder_filled_by_hand_is_whole(prepared: tuple[Machine, str]) -> None:
    assert "suite paper: everything is here" in prepared[1]
    assert prepared[1].count("   whole ") == 7


def test_a_dry_run_shows_hours(planned: str) -> None:
    assert "finetune/sd15: 8 methods x 1 seeds x 7.2 s" in planned
    assert f"{len(PAIRS)} runs, {len(PAIRS)} to do" in planned
    assert "cannot run here" not in planned
    assert "not known before a run of finetune/sd15" in planned


def test_every_pair_finishes_and_delivers(
    finished: tuple[Machine, str], frame: pd.DataFrame
) -> None:
    assert f"[{len(PAIRS)}/{len(PAIRS)}]" in finished[1]
    assert finished[1].count(": finished") == len(PAIRS)
    assert set(zip(frame.task, frame.method, strict=True)) == PAIRS


def test_it_runs_on_a_gpu(prepared: tuple[Machine, str], planned: str) -> None:
    """The published networks and every oracle, on a device apart: see `pretended_gpu.py`."""
    chosen = [part for name in ("weighted-sum", "bilevel*") for part in ("--method", name)]
    there = ("--task", "*[5d]", "--device", "cuda", "--results", "gpu", "--workers", "0")
    said = prepared[0](*RUN, *chosen, *there, gpu=True)
    assert said.count(": finished") == 5
    described = prepared[0].root / "gpu/paper/runs/finetune/sd15/bilevel/0/run.json"
    assert '"precision": "bfloat16"' in described.read_text()


def test_every_metric_of_the_paper_is_reported_by_every_method(frame: pd.DataFrame) -> None:
    for (task, method), rows in frame.groupby(["task", "method"]):
        expected = CLIP if task == "finetune/sd15" else SCHEDULE
        if method == "bilevel-paper":  # adds no noise as it samples: the KL of its path is infinite
            expected = expected - {"path_kl"}
        assert expected <= set(rows.metric), (task, method)
    assert frame.value.notna().all()


def test_tables_figures_and_report_come_from_what_is_stored(
    finished: tuple[Machine, str], frame: pd.DataFrame
) -> None:
    machine = finished[0]
    folder = machine.root / "results/paper"
    made = {path for kind in ("tables", "figures") for path in (folder / kind).glob("*.[mp]*")}
    for path in made:
        path.unlink()
    machine("table", "--suite", "paper")
    machine("plot", "--suite", "paper", "--format", "png")
    machine("report", "--suite", "paper")
    assert {path for path in made if path.suffix != ".pdf"} <= set(folder.rglob("*"))
    metrics = (folder / "tables/metrics.md").read_text()
    page = (folder / "report.html").read_text()
    for label in ("CLIP score", "FID (Inception)", "FID, Inception", "Inception score"):
        assert label in metrics
        assert label in page
    for task, method in PAIRS:
        assert f"<h2>{task}</h2>" in page
        assert method in page
    assert "no run yet" not in page
