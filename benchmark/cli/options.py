"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SuiteOption = Annotated[str, typer.Option("--suite", help="Shipped suite, or a TOML file.")]
ResultsOption = Annotated[
    Path, typer.Option("--results", help="Folder of all suites' results, or a packed suite.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
