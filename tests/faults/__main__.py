"""`python -m tests.faults --count 5000`: inject faults, print how many of each kind."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: forked processes have one thread

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.campaign import Tally, campaign, one_case, reference
from tests.faults.world import LABELS, World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="faults to inject")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="repeat one case by its number")
    parser.add_argument("--first", action="store_true", help="stop at the first not survived")
    asked = parser.parse_args()
    started = time.monotonic()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # no fault here outlives power
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        world = World.make(Path(folder))
        if asked.case is not None:
            tally = Tally()
            one_case(world, {task: reference(world, task) for task in LABELS}, asked.case, tally)
        else:
            tally = campaign(
                world,
                asked.count,
                asked.seed,
                lambda text: print(text, file=sys.stderr),
                first=asked.first,
            )
    print(tally.table())
    print("\n\n".join(tally.broken))
    spent = sum(os.times()[:4])
    print(f"{time.monotonic() - started:.0f} s, {spent:.0f} s of CPU time")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
