"""The command line: arguments and messages; the work is elsewhere.

Modules that import torch or pandas are imported inside the commands, so that `--help`
answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from benchmark.cli import authoring, output, reading, running, sharing

app = typer.Typer(
    name="benchmark",
    help="Compare ways to tune diffusion models under a metered GPU-hour budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; also after a command.")
    ] = False,
) -> None:
    """Compare ways to tune diffusion models under a metered GPU-hour budget."""
    # `main` takes --debug from wherever it stands.


COMMANDS = (
    running.run, running.prepare,
    reading.status, reading.table, reading.plot, reading.report, reading.compare,
    reading.merge, reading.pack, reading.unpack, reading.export,
    sharing.verify, sharing.publish, sharing.fetch,
    authoring.list_, authoring.info, authoring.cite, authoring.check, authoring.new_method,
)  # fmt: skip
for _command in COMMANDS:
    _name = _command.__name__.strip("_").replace("_", "-")
    app.command(_name)(output.clear_errors()(_command))


def main() -> None:
    """Entry point: whatever goes wrong is said in one line, or in full with `--debug`."""
    os.environ.pop("MPLBACKEND", None)  # a notebook's: libraries that import matplotlib may lack it
    try:
        name = "benchmark" if sys.argv[0].endswith("benchmark") else "python -m benchmark"
        app([argument for argument in sys.argv[1:] if argument != "--debug"], prog_name=name)
    except KeyboardInterrupt:  # before or after what a command does about it
        sys.exit(130)
    except Exception as error:
        if output.debugging():
            raise
        output.complain(f"{type(error).__name__}: {error} (run with --debug for the traceback)")
        sys.exit(1)
