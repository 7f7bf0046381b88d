"""Compare ways to tune diffusion models under a metered budget of device time.

    import benchmark

    study = benchmark.run(tasks=["finetune/gaussian"], methods=["random", "bilevel"], seeds=2)
    study.table("quality")
    study.plot("anytime")

`python -m benchmark --help` is the same for a shell.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import Study, load, run

__all__ = ["Study", "load", "run"]


def __getattr__(name: str) -> Any:
    """Import the API when it is used: it needs torch and pandas, which take seconds."""
    if name in __all__:
        from benchmark import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _refuse_strangers() -> None:
    """Raise ImportError if another program's `methods` or `tasks` hides those of this project.

    Python looks in the working directory first, so a file `tasks.py` there is enough.
    """
    for name in ("methods", "tasks"):
        home = Path(__file__).parents[1] / name
        spec = find_spec(name)
        places = [*(spec.submodule_search_locations or [str(spec.origin)])] if spec else ["nothing"]
        if Path(places[0]).resolve() != home.resolve():
            reason = (
                f"{places[0]} hides the package `{name}` of this benchmark, which is in {home}; "
                "start Python in another folder, or rename the stranger"
            )
            if sys.argv[:1] == ["-m"]:  # `python -m benchmark` itself: one line, no traceback
                print(f"error: {reason}", file=sys.stderr)
                sys.exit(2)
            raise ImportError(reason)


def _forget_bad_epoch() -> None:
    """Drop a parent process's SOURCE_DATE_EPOCH that is no number: numpy fails with it."""
    if not os.environ.get("SOURCE_DATE_EPOCH", "0").isdecimal():
        del os.environ["SOURCE_DATE_EPOCH"]


_refuse_strangers()
_forget_bad_epoch()
