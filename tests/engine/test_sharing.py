"""Several runs on one device: who uses which, and that no run is charged for another."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from benchmark.engine import cluster
from benchmark.engine.cluster import make_executor
from benchmark.engine.devices import VISIBLE, pins
from benchmark.engine.slurm import ClusterError
from benchmark.runs.spec import RunSpec
from benchmark.suite import SuiteError, load
from tests.engine.conftest import RUN, SUITE

DIGITS = SUITE.replace("schedule/gaussian", "schedule/digits")
"""With a task that has a choice of precision."""


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let this process see so many GPUs."""
    monkeypatch.delenv(VISIBLE, raising=False)

    def see(count: int) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)

    return see


def devices(workers: int, sharing: int, device: str = "cuda") -> list[str]:
    """What each worker sees."""
    return [env[VISIBLE] for env in pins(workers, device, sharing)]


def test_workers_take_the_devices_in_turns(gpus: Callable[[int], None]) -> None:
    gpus(3)
    assert devices(3, 1) == ["0", "1", "2"]
    assert devices(4, 2) == ["0", "1", "0", "1"]
    assert devices(3, 2) == ["0", "1", "0"]
    assert pins(2, "cpu", 1) == [{}, {}]


def test_the_gpu_that_was_asked_for_is_the_one_that_is_used(gpus: Callable[[int], None]) -> None:
    gpus(3)
    assert devices(1, 1, "cuda:1") == ["1"]
    assert devices(2, 2, "cuda:2") == ["2", "2"]
    assert make_executor("local", None, {}, "cuda:1").workers == 1
    with pytest.raises(ClusterError, match="2 workers want more than the 1 GPUs here"):
        make_executor("local", 2, {}, "cuda:1")


def test_workers_keep_to_the_devices_that_were_made_visible(
    gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(2)
    monkeypatch.setenv(VISIBLE, "3, GPU-5e")
    assert devices(2, 1) == ["3", "GPU-5e"]
    assert devices(4, 2) == ["3", "GPU-5e", "3", "GPU-5e"]
    assert devices(1, 1, "cuda:1") == ["GPU-5e"]


def seen() -> str:
    return os.environ[VISIBLE]


def test_the_processes_of_two_workers_see_one_device(
    gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(2)
    monkeypatch.setenv(VISIBLE, "7,8")
    with cluster._local(2, "cuda:1", sharing=2) as client:
        client.wait_for_workers(2, timeout=60)
        found = client.run(seen)
    assert list(found.values()) == ["8", "8"]


def test_more_workers_than_devices_are_refused(gpus: Callable[[int], None]) -> None:
    gpus(2)
    assert make_executor("local", None, {}, "cuda").workers == 2
    assert make_executor("local", None, {}, "cuda", 3).workers == 6
    assert make_executor("local", 4, {}, "cuda", 2).describe() == "4 workers, 2 to a device"
    with pytest.raises(ClusterError, match=r"5 workers want more than the 2 GPUs.*at most 4"):
        make_executor("local", 5, {}, "cuda", 2)
    with pytest.raises(ClusterError, match="on Slurm"):
        make_executor("slurm", 2, {}, "cuda", 2)


def suite(folder: Path, first: str, text: str = SUITE) -> str:
    (folder / "mini.toml").write_text(f"{first}\n{text}")
    return str(folder / "mini.toml")


def test_measured_time_is_not_shared(tmp_path: Path) -> None:
    shared = load(suite(tmp_path, "runs_per_device = 2"))
    with pytest.raises(SuiteError, match="--clock priced"):
        shared.specs(tmp_path, "device", "cuda")
    specs = shared.specs(tmp_path, "priced", "cuda")
    alone = load(suite(tmp_path, "")).specs(tmp_path, "priced", "cuda")
    assert {spec.runs_per_device for spec in specs} == {2}
    assert [spec.identity() for spec in specs] == [spec.identity() for spec in alone]
    assert specs[0].limit == 2 * alone[0].limit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("runs_per_device = 0", "runs_per_device must be a whole number of at least 1"),
        ("runs_per_device = 1.5", "runs_per_device must be a whole number"),
        ("runs_per_device = 65", "runs_per_device must be at most 64"),
        ('precision = "half"', "precision of these tasks must be bfloat16 or float32, got 'half'"),
        ("precision = [1]", "precision of these tasks must be"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        load(suite(tmp_path, line, DIGITS))


def test_precision_goes_to_the_tasks_that_have_it(tmp_path: Path) -> None:
    specs = load(suite(tmp_path, 'precision = "bfloat16"', DIGITS)).specs(tmp_path, "priced", "cpu")
    found = {spec.task: spec.precision for spec in specs}
    assert found == {"finetune/gaussian": "float32", "schedule/digits": "bfloat16"}


def test_precision_is_stored_and_may_not_change(toy_spec: Callable[..., RunSpec]) -> None:
    from benchmark.runs.spec import SpecMismatch, check_identity

    spec, older = toy_spec(), toy_spec().identity()
    del older["precision"]
    check_identity(spec, older)
    with pytest.raises(SpecMismatch, match="precision = 'float32', now 'bfloat16'"):
        check_identity(toy_spec(precision="bfloat16"), older)


@pytest.mark.slow
def test_runs_that_share_end_as_those_that_do_not(
    tmp_path: Path, local_frame: pd.DataFrame
) -> None:
    """Two workers on one device, and everybody charged exactly his own."""
    suite(tmp_path, "runs_per_device = 2")
    subprocess.run([*RUN, "--workers", "2"], cwd=tmp_path, check=True, capture_output=True)
    frame = pd.read_parquet(tmp_path / "results/mini/frame.parquet")
    pd.testing.assert_frame_equal(frame, local_frame)
