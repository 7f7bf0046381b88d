"""Injects faults one after the other and checks the guarantees of the harness after each.

A case is a few runs of one task, disturbed one to three times in a row and then completed without
faults. In the end its frame must equal that of undisturbed runs bit for bit: trials, scores,
metrics, charged time, counted work. In between, every folder can be read, a failed run says why,
and finished runs are not modified.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import os
import random
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from benchmark.runs.folder import RunFolder, ending
from benchmark.runs.log import effective_steps
from benchmark.study.survey import survey
from tests.faults import injection
from tests.faults.injection import FailingDisk, Tripwire
from tests.faults.world import LABELS, SUITE, World, folders_of, frame_of, wait

FAILED, REFUSED = 1, 2
"""Exit codes: runs failed; an error that the user can act on."""


class Broken(AssertionError):
    """A guarantee is violated."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


@dataclass
class Tally:
    """Faults that happened, by kind."""

    injected: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def table(self) -> str:
        rows = [f"{kind:<38}{count:>6}" for kind, count in sorted(self.injected.items())]
        total = f"{'all':<38}{sum(self.injected.values()):>6}   {len(self.broken)} not survived"
        return "\n".join([*rows, total])


@dataclass(frozen=True)
class Reference:
    """Undisturbed runs of all labels of a task, and how many lines each executes where."""

    frame: pd.DataFrame
    lines: dict[str, dict[str, int]]
    charged: dict[str, float]
    """Seconds on the `method` ledger at the end."""

    def of(self, labels: tuple[str, ...]) -> pd.DataFrame:
        return self.frame[self.frame.method.isin(labels)].reset_index(drop=True)


class Case:
    """Some runs in a folder of their own, one of which is the victim."""

    def __init__(
        self, world: World, folder: Path, rng: random.Random, task: str, reference: Reference
    ) -> None:
        self.world, self.folder, self.rng, self.task = world, folder, rng, task
        self.reference = reference
        self.labels = tuple(rng.sample(LABELS[task], k=rng.choice((1, 2, 2, 3))))
        self.victim = rng.choice(self.labels)
        self.results = folder / "results"
        self.fired = folder / "fired"
        self.log = folder / "log.txt"
        self.finished: dict[str, bytes] = {}
        self.retry = False

    # -- running -----------------------------------------------------------------------------

    def start(self, prepare: Callable[[], None] = lambda: None, *more: str) -> int:
        self.fired.unlink(missing_ok=True)
        arguments = self.world.command(self.results, self.task, self.labels, *more)
        return self.world.start(arguments, self.log, prepare)

    def run(self, prepare: Callable[[], None] = lambda: None, *more: str) -> int:
        return wait(self.start(prepare, *more))

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    # -- what must hold ----------------------------------------------------------------------

    def check_in_between(self) -> None:
        """After a fault: no traceback on the screen, every folder readable, the finished kept."""
        require("Traceback" not in self.said(), f"a traceback was shown:\n{self.said()[-3000:]}")
        if (self.results / SUITE / "runs").exists():
            with suppress(FileNotFoundError):
                for state in survey(self.results / SUITE):
                    require(state.status != "damaged", f"{state.method}: {state.reason}")
                    if state.status == "failed":
                        require(state.reason, f"{state.method} failed without a reason")
        self.check_finished()

    def check_finished(self) -> None:
        """Check that finished runs are unmodified, and remember those that are finished now."""
        folders = folders_of(self.results)
        for label, before in self.finished.items():
            require(folders[label].log.read_bytes() == before, f"finished run {label} was touched")
        for label, folder in folders.items():
            if ending(folder)[0] == "finished":
                self.finished[label] = folder.log.read_bytes()

    def check_failed(self, *reasons: str) -> None:
        """The victim failed, with one of `reasons`; the others finished."""
        folders = folders_of(self.results)
        for label in self.labels:
            state, reason = ending(folders[label])
            if label != self.victim:
                require(state == "finished", f"bystander {label} is {state}: {reason}")
                continue
            require(state == "failed", f"{label} is {state}: {reason}\n{self.said()[-2000:]}")
            require(any(part in reason for part in reasons), f"{label} failed with {reason!r}")
            require(len(reason) < 1000 and "\n" not in reason, f"a long reason: {reason[:3000]}")
            trace = folders[label].error
            require(trace.exists() and trace.stat().st_size, f"{label} kept no traceback")
            require(reason in self.said(), f"the reason was not shown: {self.said()[-2000:]}")

    def conclude(self) -> None:
        """Left in peace, the runs end as undisturbed ones."""
        code = self.run(lambda: None, *(["--retry-failed"] if self.retry else []))
        require(code == 0, f"exit code {code} in peace:\n{self.said()[-3000:]}")
        self.check_in_between()
        expected = self.reference.of(self.labels)
        found = frame_of(self.results)
        try:
            pd.testing.assert_frame_equal(found, expected, check_exact=True)
        except AssertionError as difference:
            raise Broken(f"the frame differs: {str(difference)[-1500:]}") from None
        for label, folder in folders_of(self.results).items():
            self.check_run(label, folder)

    def check_run(self, label: str, folder: RunFolder) -> None:
        events = folder.events()
        charged = events[-1]["clock"]["ledgers"]["method"]
        expected = self.reference.charged[label]
        require(charged == expected, f"{label} charged {charged} instead of {expected}")
        require(min(events[-1]["clock"]["ledgers"].values()) >= 0, f"{label}: a negative ledger")
        litter = [path.name for path in folder.path.rglob("*.tmp")]
        require(not litter, f"{label} left {litter}")

    # -- faults ------------------------------------------------------------------------------

    def somewhere(self, place: str, labels: tuple[str, ...]) -> int:
        """A line to act at, out of all those that these runs execute in `place`."""
        total = sum(self.reference.lines[label][place] for label in labels)
        return self.rng.randint(1, max(total, 1))

    def killed(self, name: str) -> bool:
        """A signal at any line of the harness."""
        number = injection.SIGNALS[name]
        wire = Tripwire(
            self.fired, "harness", self.somewhere("harness", self.labels), injection.send(number)
        )
        code = self.run(wire.arm)
        if not self.fired.exists():
            return False
        at_once = {-number, 130 if number == signal.SIGINT else 128 + number, 0}
        require(code in at_once, f"exit code {code} after {name}:\n{self.said()[-3000:]}")
        return True

    def raised(self, kind: str, place: str) -> bool:
        """An error in the method, the task or the evaluation of the victim."""
        action = self.rng.choice(injection.ERRORS[kind])
        if place == "evaluation":
            at = self.rng.randint(1, 3)
            code = self.run(lambda: injection.break_evaluation(self.fired, self.victim, at, action))
        else:
            wire = Tripwire(
                self.fired, place, self.somewhere(place, (self.victim,)), action, self.victim
            )
            code = self.run(wire.arm)
        if not self.fired.exists():
            return False
        self.check_failed(
            "no heat", "heat, no trace", "SystemExit", "emory", "allocate", "can't alloc"
        )
        require(code == FAILED, f"exit code {code} after a failure:\n{self.said()[-2000:]}")
        self.retry = True
        return True

    def disk_fails(self, code: int) -> bool:
        """Any operation that writes fails, once or from then on."""
        disk = FailingDisk(
            self.fired, self.results, self.rng.randint(1, 40), self.rng.random() < 0.7, code
        )
        ended = self.run(disk.arm)
        if not self.fired.exists():
            return False
        require(ended in (0, REFUSED), f"exit code {ended}:\n{self.said()[-3000:]}")
        if ended == REFUSED:
            require(os.strerror(code) in self.said(), f"not said why:\n{self.said()}")
        return True

    def disk_full(self) -> bool:
        """A real file system without room, which is then made larger."""
        size = self.rng.randint(3, 40) * 4096
        with small_disk(self.results, size):
            code = self.run()
            self.check_in_between()
            if code == 0:
                self.finished.clear()
                return False
            require(code == REFUSED, f"exit code {code}:\n{self.said()[-3000:]}")
            require("No space left" in self.said(), f"not said why:\n{self.said()}")
            mount(self.results, 64 << 20, again=True)
            self.conclude()
        self.finished.clear()
        return True

    def disk_read_only(self) -> bool:
        """A file system that is mounted for reading after a part of the work."""
        with small_disk(self.results, 64 << 20):
            self.killed(self.rng.choice(("SIGKILL", "SIGTERM")))
            before = {path: path.read_bytes() for path in self.results.rglob("*.jsonl")}
            mount(self.results, 64 << 20, again=True, read_only=True)
            code = self.run()
            self.check_in_between()
            require(code in (0, REFUSED), f"exit code {code}:\n{self.said()[-3000:]}")
            if code == REFUSED:
                require("Read-only" in self.said(), f"not said why:\n{self.said()}")
            for path, content in before.items():
                require(path.read_bytes() == content, f"{path} changed on a read-only disk")
            mount(self.results, 64 << 20, again=True)
            self.conclude()
        self.finished.clear()
        return code == REFUSED

    def torn_log(self) -> bool:
        """The last line of a log is cut anywhere, or followed by what a crash leaves."""
        folder = folders_of(self.results).get(self.victim)
        if folder is None or not folder.log.stat().st_size:
            return False
        content = folder.log.read_bytes()
        last = len(content) - (content.rfind(b"\n", 0, len(content) - 1) + 1)
        cut = content[: len(content) - self.rng.randint(1, last)]
        garbage = self.rng.choice((b"", b"", b"\0" * 300, b'{"kind": "tri', b"\xff\xfe garbage\n"))
        folder.log.write_bytes(cut + garbage if not garbage or cut.endswith(b"\n") else cut)
        self.finished.pop(self.victim, None)
        return True

    def damaged_checkpoint(self) -> bool:
        """A checkpoint is cut off, emptied, or holds something else."""
        folder = folders_of(self.results).get(self.victim)
        if folder is None or not folder.checkpoint.exists() or ending(folder)[0] == "finished":
            return False
        content = folder.checkpoint.read_bytes()
        folder.checkpoint.write_bytes(
            self.rng.choice(
                (
                    content[: self.rng.randrange(len(content))],
                    b"",
                    b"\0" * len(content),
                    self.rng.randbytes(1000),
                    b"PK\x03\x04" + content[4 : len(content) // 2],
                )
            )
        )
        return True

    def clocks_leap(self) -> bool:
        seed = self.rng.random()
        code = self.run(lambda: injection.leap_clocks(self.fired, random.Random(seed)))
        require(code == 0, f"exit code {code}:\n{self.said()[-3000:]}")
        return self.fired.exists()

    def two_at_once(self) -> bool:
        """Two processes are started on the same folder; at times one is killed."""
        log = self.folder / "other.txt"
        pair = [self.start(), 0]
        arguments = self.world.command(self.results, self.task, self.labels)
        pair[1] = self.world.start(arguments, log)
        if self.rng.random() < 0.3:
            os.kill(pair[self.rng.randrange(2)], signal.SIGKILL)
        codes = [wait(pid) for pid in pair]
        shown = self.said() + log.read_text(errors="replace")
        require(set(codes) <= {0, -signal.SIGKILL}, f"exit codes {codes}:\n{shown[-3000:]}")
        for label, folder in folders_of(self.results).items():
            if label not in self.finished:
                ends = [event for event in folder.events() if event.get("status") == "finished"]
                require(len(ends) <= 1, f"{label} was finished {len(ends)} times")
        return True

    def hung(self) -> bool:
        """The victim never ends: its process is ended at the hard limit, and the rest goes on."""
        action = self.rng.choice(injection.HANGS)
        self.world.write_suite(limit=2)
        wire = Tripwire(
            self.fired, "method", self.somewhere("method", (self.victim,)), action, self.victim
        )
        code = self.run(wire.arm)
        self.world.write_suite(limit=60)
        if not self.fired.exists():
            return False
        require(code == 70, f"exit code {code} after a hang:\n{self.said()[-3000:]}")
        require("hard limit" in self.said(), f"not said why:\n{self.said()[-3000:]}")
        code = self.run()
        require(code == 0, f"exit code {code} with the others:\n{self.said()[-3000:]}")
        require("1 failed earlier" in self.said(), "the failed run was not mentioned")
        self.check_hang()
        self.retry = True
        return True

    def check_hang(self) -> None:
        for label, folder in folders_of(self.results).items():
            state, reason = ending(folder)
            if label == self.victim:
                require(state == "failed" and "hard limit" in reason, f"{label}: {state} {reason}")
            else:
                require(state == "finished", f"bystander {label} is {state}")

    def spoilt(self, kind: str, value: float) -> bool:
        """Some scores or metrics are no numbers: never delivered, and resumed all the same."""
        share = self.rng.choice((0.2, 0.5, 1.0))

        def prepare() -> None:
            injection.spoil_values(self.fired, self.victim, kind, value, share)

        code = self.run(prepare)
        require(code == 0, f"exit code {code}:\n{self.said()[-3000:]}")
        if not self.fired.exists():
            return False
        whole = frame_of(self.results)
        others = whole[whole.method != self.victim].reset_index(drop=True)
        rest = tuple(label for label in self.labels if label != self.victim)
        pd.testing.assert_frame_equal(others, self.reference.of(rest), check_exact=True)
        require(whole.value.map(abs).max() < float("inf"), "a value that is no number was stored")
        for step in effective_steps(folders_of(self.results)[self.victim].events()):
            wrong = step["kind"] == "trial" and step["incumbent"] and step["score"] is None
            require(not wrong, "a trial without a score became the incumbent")
        shutil.rmtree(self.results)
        at = self.somewhere("harness", self.labels)
        wire = Tripwire(self.fired, "harness", at, injection.send(signal.SIGKILL))

        def prepare_and_kill() -> None:
            prepare()
            wire.arm()

        self.run(prepare_and_kill)
        require(self.run(prepare) == 0, f"not resumed:\n{self.said()[-3000:]}")
        pd.testing.assert_frame_equal(frame_of(self.results), whole, check_exact=True)
        shutil.rmtree(self.results)
        self.finished.clear()
        return True


Fault = Callable[[Case], bool]
CAN_MOUNT = os.geteuid() == 0 and os.uname().sysname == "Linux"
IN_CHAINS: dict[str, tuple[float, Fault]] = {
    "SIGKILL": (8, lambda case: case.killed("SIGKILL")),
    "SIGTERM": (4, lambda case: case.killed("SIGTERM")),
    "SIGINT": (4, lambda case: case.killed("SIGINT")),
    "SIGHUP": (1, lambda case: case.killed("SIGHUP")),
    "exception in the method": (2, lambda case: case.raised("exception", "method")),
    "exception in the task": (2, lambda case: case.raised("exception", "task")),
    "exception in the evaluation": (2, lambda case: case.raised("exception", "evaluation")),
    "out of memory (CPU)": (
        2,
        lambda case: case.raised(
            "out of memory", case.rng.choice(("method", "task", "evaluation"))
        ),
    ),
    "out of memory (CUDA, simulated)": (
        1,
        lambda case: case.raised(
            "CUDA out of memory", case.rng.choice(("method", "task", "evaluation"))
        ),
    ),
    "disk full (failing write)": (5, lambda case: case.disk_fails(errno.ENOSPC)),
    "disk error (failing write)": (1, lambda case: case.disk_fails(errno.EIO)),
    "torn last line": (4, Case.torn_log),
    "damaged checkpoint": (4, Case.damaged_checkpoint),
    "leaping clocks": (2, Case.clocks_leap),
    "two processes": (2, Case.two_at_once),
    "hang": (0.5, Case.hung),
}
"""Faults that may follow one another, with their relative frequency."""
ALONE: dict[str, tuple[float, Fault]] = {
    "score NaN or infinite": (
        2,
        lambda case: case.spoilt(
            "score", case.rng.choice((float("nan"), float("inf"), float("-inf")))
        ),
    ),
    "metric NaN or infinite": (
        1,
        lambda case: case.spoilt(
            "metric", case.rng.choice((float("nan"), float("inf"), float("-inf")))
        ),
    ),
    **(
        {
            "disk full (small file system)": (2, Case.disk_full),
            "read-only file system": (1, Case.disk_read_only),
        }
        if CAN_MOUNT
        else {}
    ),
}
"""Faults that are a case of their own."""
SHARE_ALONE = 0.12
AFTER_A_KILL = ("torn last line", "damaged checkpoint")


def campaign(
    world: World, count: int, seed: int, progress: Callable[[str], None], first: bool = False
) -> Tally:
    """Inject at least `count` faults, or until the `first` that is not survived; what is broken
    is reported with the seed of its case."""
    references = {task: reference(world, task) for task in LABELS}
    tally = Tally()
    number = 0
    while sum(tally.injected.values()) < count and not (first and tally.broken):
        case_seed = seed * 1_000_003 + number
        number += 1
        one_case(world, references, case_seed, tally)
        if number % 50 == 0:
            progress(f"{sum(tally.injected.values())} faults, {len(tally.broken)} not survived")
    return tally


def one_case(world: World, references: dict[str, Reference], seed: int, tally: Tally) -> None:
    rng = random.Random(seed)
    task = rng.choices(list(LABELS), (5, 2, 2))[0]
    with tempfile.TemporaryDirectory(dir=world.folder) as folder:
        case = Case(world, Path(folder), rng, task, references[task])
        happened: list[str] = []
        try:
            for kind, fault in _plan(rng):
                if fault(case):
                    happened.append(kind)
                    tally.injected[kind] += 1
                case.check_in_between()
            case.conclude()
        except Exception as broken:
            where = f"case {seed}: {task} {', '.join(case.labels)} after {happened}"
            tally.broken.append(f"{where}: {type(broken).__name__}: {broken}")


def _plan(rng: random.Random) -> Iterator[tuple[str, Fault]]:
    if rng.random() < SHARE_ALONE:
        kinds, several = ALONE, 1
    else:
        kinds, several = IN_CHAINS, rng.randint(1, 3)
    weights = [weight for weight, _ in kinds.values()]
    for kind in rng.choices(list(kinds), weights, k=several):
        if kind in AFTER_A_KILL:
            yield "SIGKILL", IN_CHAINS["SIGKILL"][1]
        yield kind, kinds[kind][1]


def reference(world: World, task: str) -> Reference:
    """Run all of a task's labels undisturbed, in one process each, counting lines."""
    lines: dict[str, dict[str, int]] = {}
    charged: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=world.folder) as name:
        folder = Path(name)
        for label in LABELS[task]:
            lines[label] = {}
            for place in injection.PLACES:
                results = folder / place
                wire = Tripwire(folder / "never", place, 0, lambda: None, label)
                counted = folder / "counted"

                def count(wire: Tripwire = wire, counted: Path = counted) -> None:
                    wire.arm()
                    atexit.register(lambda: counted.write_text(str(wire.seen)))

                code = world.run(world.command(results, task, (label,)), folder / "log", count)
                require(code == 0, (folder / "log").read_text()[-3000:])
                lines[label][place] = int(counted.read_text())
        for label, run in folders_of(folder / "harness").items():
            charged[label] = run.events()[-1]["clock"]["ledgers"]["method"]
        frame = frame_of(folder / "harness")
        pd.testing.assert_frame_equal(frame, frame_of(folder / "task"), check_exact=True)
    return Reference(frame, lines, charged)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of `size` bytes in memory at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    mount(folder, size)
    try:
        yield
    finally:
        _libc().umount2(str(folder).encode(), 2)  # MNT_DETACH


def mount(folder: Path, size: int, again: bool = False, read_only: bool = False) -> None:
    flags = (32 if again else 0) | (1 if read_only else 0)  # MS_REMOUNT, MS_RDONLY
    done = _libc().mount(b"none", str(folder).encode(), b"tmpfs", flags, f"size={size}".encode())
    if done:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
