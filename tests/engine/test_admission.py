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
from unittest import mock

import dask
import pytest
import torch

from benchmark.engine import admission, cluster, slurm
from benchmark.engine.admission import Terms, complaints, offer
from benchmark.engine.cluster import Cluster, make_executor
from benchmark.engine.devices import DeviceError, check_device
from benchmark.engine.slurm import ClusterError
from benchmark.registry import UnknownName


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


def other(terms: Terms, name: str, value: str) -> Terms:
    """Terms of a command that has `value` where this process has something else."""
    known = dict(terms.fingerprint)
    assert known[name] != value
    return replace(terms, fingerprint=tuple((known | {name: value}).items()))


def test_other_versions_are_named(terms):
    assert only_complaint(other(terms, "Python", "2.7")).endswith("; the command: 2.7")
    assert "has torch: " in only_complaint(other(terms, "torch", "0.1"))
    assert "the command: not installed" in only_complaint(other(terms, "dask", "not installed"))


def test_a_patch_level_of_python_does_not_matter(terms):
    found = dict(terms.fingerprint)["Python"]
    assert found == f"{sys.version_info.major}.{sys.version_info.minor}"


def test_other_code_is_named_with_its_folder(terms):
    text = only_complaint(other(terms, admission.CODE, "0" * 12))
    assert str(Path(admission.__file__).parents[2]) in text


def test_method_files_must_be_the_same_everywhere(terms, method_file):
    method_file.write_text("mine = 2\n")
    assert f"has file {method_file}: " in only_complaint(terms)
    method_file.unlink()
    assert f"has file {method_file}: not there; the command: " in only_complaint(terms)


def test_a_results_folder_of_this_machine_alone_is_named(terms):
    shutil.move(terms.probe, terms.probe.with_suffix(".away"))
    text = only_complaint(terms)
    assert f"does not see the results folder {terms.probe.parent}" in text


def test_locks_that_do_not_reach_are_named(terms, tmp_path):
    unlocked = tmp_path / "results" / ".probe-unlocked"
    unlocked.touch()
    assert "do not reach across machines" in only_complaint(replace(terms, probe=unlocked))


def test_a_folder_that_cannot_be_written_is_named(terms, monkeypatch):
    def read_only(lock, timeout):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), lock.lock_file)

    monkeypatch.setattr(admission.FileLock, "acquire", read_only)
    text = only_complaint(terms)
    assert f"cannot write to the results folder {terms.probe.parent}: Read-only" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_worker_without_a_gpu_is_named_where_runs_need_one(terms):
    assert "no usable CUDA device" in only_complaint(replace(terms, device="cuda"))


# -- clusters that cannot be used ------------------------------------------------------------


class Answering:
    """A client of a scheduler with workers that answer what they are told to."""

    status = "running"

    def __init__(self, answers: dict[str, tuple]) -> None:
        self.answers = answers
        self.scheduler = self
        self.address = "tcp://boss:8786"

    def nthreads(self):
        return dict.fromkeys(self.answers, 1)

    def wait_for_workers(self, count, timeout):
        if len(self.answers) < count:
            raise TimeoutError

    def run(self, function, *arguments):
        if function is admission.gpu_here:
            assert arguments == ("cuda",)
            return dict.fromkeys(self.answers, ("n0", "GPU-1"))
        return self.answers


def inspect(answers: dict[str, tuple], device: str = "cpu") -> None:
    cluster.inspect(Cluster(Answering(answers)), device, sharing=1)


def test_workers_that_fit_are_taken():
    inspect({"tcp://a": (), "tcp://b": ()})


def test_a_cluster_without_workers_is_refused():
    with pytest.raises(ClusterError, match="boss:8786 has no workers; start some"):
        inspect({})


def test_all_complaints_are_shown_at_once():
    with pytest.raises(ClusterError, match="a is old; b has 4 threads; make all machines alike"):
        inspect({"tcp://a": ("a is old",), "tcp://b": ("b has 4 threads",)})


def test_two_workers_on_one_gpu_are_refused():
    with pytest.raises(ClusterError, match="2 workers on n0 use the same GPU GPU-1"):
        inspect({"tcp://a": (), "tcp://b": ()}, "cuda")


@pytest.mark.parametrize(
    ("kind", "workers", "message"),
    [
        ("slurm", None, "how many jobs"), ("slurm", 0, "how many jobs"),
        ("kubernetes", None, "must be local, slurm or an address"),
        ("tcp://boss:8786", 2, "leave the option out"),
    ],
)  # fmt: skip
def test_executors_that_cannot_be_are_refused(kind, workers, message):
    with pytest.raises(ClusterError, match=message):
        make_executor(kind, workers, {}, "cpu")


def test_a_gpu_is_chosen_by_number_on_this_machine_only():
    with pytest.raises(DeviceError, match="have a GPU each; say cuda"):
        check_device("cuda:1", here=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interface": 3}, "interface must be a text"),
        ({"interface": ""}, "interface must be a text"),
        ({"workers": 0}, "workers must be a whole number from 1"),
        ({"workers": "two"}, "workers must be a whole number"),
        ({"workers": True}, "workers must be a whole number"),
        ({"job_extra_directives": "--gres=gpu:1"}, "job_extra_directives must be a list"),
        ({"worker_extra_args": ["--nthreads", 1]}, "worker_extra_args must be a list of strings"),
    ],
)
def test_an_executor_table_is_checked_where_it_is_used(settings, message):
    with pytest.raises(ClusterError, match=rf"^\[executor\]: {message}"):
        make_executor("slurm", 2, settings, "cpu")
    make_executor("local", 2, settings, "cpu")  # which does not use it


@pytest.mark.parametrize("key", ["interfase", "shebang"])
def test_an_unknown_key_of_the_executor_table_is_named(key):
    with pytest.raises(UnknownName, match=rf"unknown key in \[executor\]: {key!r}"):
        make_executor("slurm", 2, {key: "ib0"}, "cpu")


def test_encryption_without_certificates_is_one_line_at_once(toy_spec):
    executor = cluster.Executor("tls://127.0.0.1:1")
    with (
        pytest.raises(ClusterError, match="needs certificates: set DASK_DISTRIBUTED__COMM__TLS"),
        executor.connect([toy_spec()]),
    ):
        pass


def test_local_workers_are_encrypted_where_dask_is_told_to_require_it(toy_spec):
    dask.config.set({"distributed.comm.require-encryption": True})
    try:
        with cluster.Executor(workers=1).connect([toy_spec()]) as connected:
            assert connected.client.scheduler.address.startswith("tls://127.0.0.1:")
            assert connected.call(sum, (1, 2)) == 3
    finally:
        dask.config.set({"distributed.comm.require-encryption": None})


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
    executor = cluster.Executor("slurm", 1, settings=settings)
    with pytest.raises(ClusterError, match=message) as caught, executor.connect([toy_spec()]):
        pass
    assert "\n" not in str(caught.value)


def test_a_machine_without_slurm_says_so(toy_spec, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    executor = cluster.Executor("slurm", 1, settings={"interface": "lo"})
    with pytest.raises(ClusterError, match="no sbatch"), executor.connect([toy_spec()]):
        pass


class Unclosing:
    """A client or a cluster that Dask gives up closing."""

    def __init__(self, *arguments, **options) -> None:
        pass

    def adapt(self, **bounds) -> None:
        pass

    def close(self) -> None:
        raise TimeoutError


OPENED = {
    "local": lambda spec: cluster._local(1, "cpu", sharing=1),
    "running": lambda spec: cluster._running("tcp://boss:8786"),
    "slurm": lambda spec: slurm.jobs(1, {"interface": "lo"}, [spec], []),
}


@pytest.mark.parametrize("opened", OPENED)
def test_a_failure_to_close_does_not_hide_what_ended_the_session(toy_spec, monkeypatch, opened):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    for name in ("dask.distributed.Client", "dask.distributed.SpecCluster",
                 "dask_jobqueue.SLURMCluster"):  # fmt: skip
        monkeypatch.setattr(name, Unclosing)
    with pytest.raises(ClusterError, match="gone"), OPENED[opened](toy_spec()):
        raise ClusterError("gone")


def test_a_scheduler_that_is_too_late_is_named_where_dask_has_no_words(monkeypatch):
    monkeypatch.setattr("dask.distributed.Client", mock.Mock(side_effect=TimeoutError))
    own = mock.Mock()
    with pytest.raises(ClusterError, match=r"own .* \(TimeoutError\)"), slurm.client_of(own):
        pass
    own.close.assert_called_once()
    running = cluster._running("tcp://boss:8786")
    with pytest.raises(ClusterError, match=r"boss:8786 \(TimeoutError\); start one"), running:
        pass


@pytest.mark.parametrize("handler", ["default_int_handler", "SIG_IGN"])
def test_ctrl_c_stays_what_it_was_where_slurm_is_used(handler):
    """dask_jobqueue sets a handler of its own, by which a command would end with 0, in silence."""
    code = (
        "import signal; from benchmark.engine import slurm; "
        f"signal.signal(signal.SIGINT, signal.{handler}); "
        "slurm.shutil.which = lambda name: name; "
        "opened = slurm.jobs(1, {'interface': 'nope0'}, [Spec()], [])\n"
        "try: opened.__enter__()\n"
        "except slurm.ClusterError as error: print(error)\n"
        f"print(signal.getsignal(signal.SIGINT) == signal.{handler})"
    )
    spec = "class Spec: device, results, suite = 'cpu', '.', 'toy'\n"
    done = subprocess.run([sys.executable, "-c", spec + code], capture_output=True, text=True)
    assert "nope0" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "True"


def test_dask_does_not_speak_for_the_command(tmp_path):
    """Also where it is imported only then: its import sets levels of its own."""
    code = (
        "import logging; from benchmark.engine.cluster import Executor\n"
        "try: Executor('tls://127.0.0.1:1').connect([]).__enter__()\n"
        "except Exception as error: pass\n"
        "names = ('distributed.client', 'distributed.utils', 'distributed.core')\n"
        "print(*(logging.getLogger(name).isEnabledFor(logging.ERROR) for name in names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 3
