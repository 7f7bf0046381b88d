"""A worker says in one line what keeps it from taking part; one that fits says nothing."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.engine import admission, cluster
from benchmark.engine.admission import ClusterError, Terms, complaints, offer
from benchmark.engine.cluster import Cluster
from benchmark.engine.session import SessionError, make_executor


@pytest.fixture
def method_file(tmp_path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text("mine = 1\n")
    return file


@pytest.fixture
def terms(tmp_path, method_file) -> Iterator[Terms]:
    with offer(tmp_path / "results", ["random", str(method_file)], "cpu") as offered:
        yield offered


def only_complaint(terms: Terms) -> str:
    """The one complaint, which names where it comes from."""
    complaints.cache_clear()
    (text,) = complaints(terms)
    assert text.startswith(f"worker on {os.uname().nodename} (process {os.getpid()}): ")
    assert "\n" not in text
    return text


def test_a_worker_like_the_command_fits_and_leaves_nothing_behind(terms):
    before = set(terms.probe.parent.iterdir())
    assert complaints(terms) == ()
    assert set(terms.probe.parent.iterdir()) == before


def test_the_probe_goes_with_the_session(tmp_path):
    with offer(tmp_path, [], "cpu"):
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_other_versions_are_named(terms):
    assert "the command 2.7" in only_complaint(replace(terms, python="2.7.18"))
    versions = tuple((n, "0.1" if n == "torch" else v) for n, v in terms.versions)
    assert "has torch " in only_complaint(replace(terms, versions=versions))
    versions = tuple((n, None if n == "dask" else v) for n, v in terms.versions)
    assert "the command not installed" in only_complaint(replace(terms, versions=versions))


def test_a_patch_level_of_python_does_not_matter(terms):
    assert not complaints(replace(terms, python=f"{terms.python.rpartition('.')[0]}.99"))


def test_other_code_is_named_with_its_folder(terms):
    text = only_complaint(replace(terms, sources="0" * 12))
    assert str(Path(admission.__file__).parents[2]) in text


def test_method_files_must_be_the_same_everywhere(terms, method_file):
    method_file.write_text("mine = 2\n")
    assert f"another content of the method file {method_file}" in only_complaint(terms)
    method_file.unlink()
    assert f"does not see the method file {method_file}" in only_complaint(terms)


def test_a_results_folder_of_this_machine_alone_is_named(terms):
    shutil.move(terms.probe, terms.probe.with_suffix(".away"))
    text = only_complaint(terms)
    assert f"does not see the results folder {terms.probe.parent}" in text


def test_locks_that_do_not_reach_are_named(terms, tmp_path):
    unlocked = tmp_path / "results" / ".probe-unlocked"
    unlocked.touch()
    assert "do not reach across machines" in only_complaint(replace(terms, probe=unlocked))


def test_a_folder_that_cannot_be_written_is_named(terms, monkeypatch):
    def read_only(self):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "touch", read_only)
    text = only_complaint(terms)
    assert f"cannot write to the results folder {terms.probe.parent}: Read-only" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_worker_without_a_gpu_is_named_where_runs_need_one(terms):
    assert "no usable CUDA device" in only_complaint(replace(terms, device="cuda"))


# -- clusters that cannot be used ------------------------------------------------------------


class Answering:
    """A client of a scheduler with workers that answer what they are told to."""

    status = "running"

    def __init__(self, answers: dict[str, tuple], resources: dict[str, float]) -> None:
        self.answers, self.resources = answers, resources
        self.scheduler = self
        self.address = "tcp://boss:8786"

    def scheduler_info(self):
        worker = {"status": "running", "resources": self.resources}
        return {"workers": dict.fromkeys(self.answers, worker)}

    def wait_for_workers(self, count, timeout):
        pass

    def run(self, function, *arguments, workers):
        if function is admission.device_here:
            return dict.fromkeys(workers, ("n0", "GPU-1"))
        return {worker: self.answers[worker] for worker in workers}


def inspect(answers: dict[str, tuple], device: str = "cpu", **resources: float) -> None:
    client = Answering(answers, resources)
    cluster._inspect(Cluster(client, None, cluster._gpu(device)), device, sharing=1)


def test_workers_that_fit_are_taken():
    inspect({"tcp://a": (), "tcp://b": ()})


def test_a_cluster_without_workers_is_refused():
    with pytest.raises(ClusterError, match="boss:8786 has no workers; start some"):
        inspect({})
    with pytest.raises(ClusterError, match="no workers that announce a GPU"):
        inspect({"tcp://a": ()}, "cuda")


def test_all_complaints_are_shown_at_once():
    with pytest.raises(ClusterError, match="a is old; b has 4 threads; make all machines alike"):
        inspect({"tcp://a": ("a is old",), "tcp://b": ("b has 4 threads",)})


def test_two_workers_on_one_gpu_are_refused():
    with pytest.raises(ClusterError, match="2 workers on n0 use the same GPU GPU-1"):
        inspect({"tcp://a": (), "tcp://b": ()}, "cuda", GPU=1)


@pytest.mark.parametrize(
    ("kind", "workers", "message"),
    [
        ("slurm", None, "how many jobs"), ("slurm", 0, "how many jobs"),
        ("kubernetes", None, "must be local, slurm or an address"),
        ("tcp://boss:8786", 2, "leave the option out"),
    ],
)  # fmt: skip
def test_executors_that_cannot_be_are_refused(kind, workers, message):
    with pytest.raises(SessionError, match=message):
        make_executor(kind, workers, {}, "cpu")


def test_a_scheduler_that_does_not_answer_is_named(toy_spec, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    executor = cluster.Executor("tcp://127.0.0.1:1")
    with (
        pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "),
        executor.connect([toy_spec()]),
    ):
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs `interface`"),
        ({"interface": "nope0"}, r"\[executor\]: .*nope0"),
        ({"interface": "lo", "memory": "lots"}, r"\[executor\]: .*lots"),
    ],
)
def test_settings_of_slurm_that_cannot_be_used_are_named(toy_spec, monkeypatch, settings, message):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    executor = cluster.Executor("slurm", 1, settings)
    with pytest.raises(ClusterError, match=message) as caught, executor.connect([toy_spec()]):
        pass
    assert "\n" not in str(caught.value)


def test_a_machine_without_slurm_says_so(toy_spec, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    executor = cluster.Executor("slurm", 1, {"interface": "lo"})
    with pytest.raises(ClusterError, match="no sbatch"), executor.connect([toy_spec()]):
        pass


def test_dask_does_not_speak_for_the_command():
    """Also where it is imported only then: its import sets levels of its own."""
    code = (
        "import logging; from benchmark.engine.cluster import _silence_dask; _silence_dask(); "
        "names = ('distributed.client', 'distributed.utils', 'distributed.core'); "
        "print(*(logging.getLogger(name).isEnabledFor(logging.ERROR) for name in names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3
