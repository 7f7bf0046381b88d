"""A Slurm of one machine with two nodes, started and ended here, and what happens when they go."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.engine.conftest import RUN, SUITE, Command, kill_all, tree, wait_for

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
MISSING = [
    name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not installed: no {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd of this test runs as root"),
]
EXECUTOR = """
[executor]
interface = "lo"
workers = 2
memory = "600MB"
job_extra_directives = ["--gres=gpu:1"]
"""
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=5,sched_interval=5
ReturnToService=2
SlurmdTimeout=15
KillWait=2
MessageTimeout=60
GresTypes=gpu
NodeName=n0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 Gres=gpu:1 RealMemory=1000
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 Gres=gpu:1 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """munged, slurmctld and two slurmd, all on the loopback interface, state in one folder."""

    def __init__(self, folder: Path, start: Callable[..., Command]) -> None:
        self.folder, self.start = folder, start
        ports = free_ports(3)
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        for node in ("n0", "n1"):
            (folder / f"spool-{node}").mkdir()
            (folder / f"gpu-{node}").touch()
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0], user=getpass.getuser(), folder=folder,
                ports=ports,
            )
        )  # fmt: skip
        (folder / "gres.conf").write_text(
            "".join(f"NodeName={n} Name=gpu File={folder}/gpu-{n}\n" for n in ("n0", "n1"))
        )
        self.env = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        self.daemons: dict[str, Command] = {}
        self.daemon("munged", "munged", "--foreground", "--force", *(
            f"--{option}={folder}/munge.{end}" for option, end in (
                ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"),
                ("log-file", "log"), ("seed-file", "seed"))
        ))  # fmt: skip
        wait_for((folder / "munge.socket").exists, "munged")
        self.controller()
        self.node("n0")
        self.node("n1")
        wait_for(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D") == "2", "two idle nodes")

    def daemon(self, name: str, *arguments: str) -> None:
        path = shutil.which(arguments[0], path=self.env["PATH"])
        self.daemons[name] = self.start(path, *arguments[1:], log=f"{name}.log", env=self.env)

    def controller(self) -> None:
        self.daemon("slurmctld", "slurmctld", "-D")

    def node(self, name: str) -> None:
        self.daemon(name, "slurmd", "-D", "-N", name)

    def lose(self, name: str) -> None:
        """End a node: its daemon, and the jobs on it, which are no children of the daemon."""
        jobs = self.ask("squeue", "-h", "-w", name, "-o", "%A").split()
        self.daemons[name].kill()
        for process in psutil.process_iter(["environ"]):
            if str((process.info["environ"] or {}).get("SLURM_JOB_ID")) in jobs:
                kill_all(tree(process.pid))

    def ask(self, *arguments: str) -> str:
        done = subprocess.run(
            arguments, env=os.environ | self.env, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def end(self) -> None:
        """End the jobs, then the daemons."""
        self.ask("scancel", f"--user={getpass.getuser()}")
        wait_for(lambda: self.ask("squeue", "-h") == "", "the jobs to end")
        for name in reversed(self.daemons):
            if self.daemons[name].process.poll() is None:
                self.daemons[name].process.send_signal(signal.SIGTERM)
                self.daemons[name].end()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, commands) -> Iterator[Slurm]:
    cluster = Slurm(tmp_path_factory.mktemp("slurm"), commands)
    yield cluster
    cluster.end()


def test_a_suite_survives_the_loss_of_a_worker_a_node_and_the_scheduler(
    slurm, commands, tmp_path, local_frame
):
    (tmp_path / "mini.toml").write_text(SUITE + EXECUTOR)
    run = commands(*RUN, "--executor", "slurm", log="run.log", env=slurm.env)
    run.wait_for("[1/8]")
    kill_all(worker_processes(slurm)[:1])
    run.wait_for("[2/8]")
    slurm.lose("n1")
    run.wait_for("[4/8]")
    run.kill()  # and with it the scheduler of the runs
    slurm.daemons["slurmctld"].kill()

    slurm.controller()
    slurm.node("n1")
    again = commands(*RUN, "--executor", "slurm", log="again.log", env=slurm.env)
    assert again.end() == 0, again.output
    assert "Traceback" not in again.output
    frame = pd.read_parquet(tmp_path / "results/mini/frame.parquet")
    pd.testing.assert_frame_equal(frame, local_frame)
    wait_for(lambda: slurm.ask("squeue", "-h") == "", "the jobs to be cancelled")


def worker_processes(slurm: Slurm) -> list[psutil.Process]:
    """The processes that execute runs: those that nannies in jobs of this Slurm have started."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        environment = process.info["environ"] or {}
        if environment.get("SLURM_CONF") == slurm.env["SLURM_CONF"] and any(
            "spawn_main" in word for word in process.info["cmdline"] or ()
        ):
            found.append(process)
    return found
