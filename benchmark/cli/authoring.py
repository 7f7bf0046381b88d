"""Commands for who writes a method or a task: what there is, and whether it keeps its contract."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from benchmark.cli import output
from benchmark.cli.options import JsonOption


def list_(kind: Literal["tasks", "methods", "suites"], as_json: JsonOption = False) -> None:
    """List tasks, methods or suites."""
    from benchmark import catalogue

    show = output.print_json if as_json else output.print_rows
    show(getattr(catalogue, kind)())


def info(name: str, as_json: JsonOption = False) -> None:
    """Describe a task or a method: space, references, citation, cost."""
    from benchmark import catalogue

    details = catalogue.details(name)
    if as_json:
        output.print_json(details)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in details.items():
        lines = value if isinstance(value, list) else [value]
        text = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in lines)
        table.add_row(Text(key, style="bold"), Text(text))
    output.console.print(table)


def cite(
    methods: Annotated[list[str] | None, typer.Argument(help="Methods; default: all.")] = None,
) -> None:
    """Print BibTeX of the suite and of methods."""
    from benchmark import citations

    typer.echo(citations.bibliography(methods or ()))


def check(
    name: str,
    device: Annotated[
        str, typer.Option(help="cpu or cuda, where numbers may differ a bit.")
    ] = "cpu",
) -> None:
    """Run the contract suite on one method (name or .py file) or task, or on the tasks that a suite
    file states."""
    from benchmark import contract, suite
    from benchmark.engine.devices import check_device

    check_device(device)
    names = [name]
    if name.endswith(".toml"):
        names = [entry.file for entry in suite.load(name).tasks if entry.file]
        if not names:
            raise suite.SuiteError(f"{name} states no task of its own")
    failures = 0
    for title, problem in (found for one in names for found in contract.check(one, device)):
        mark, style = ("ok", "green") if problem is None else ("FAILED", "bold red")
        output.console.print(Text(f"{mark:>6}", style=style), Text(title))
        if problem is not None:
            failures += 1
            output.console.print(Text(f"       {problem}"), soft_wrap=True)
    if failures:
        raise typer.Exit(1)


def new_method(
    name: str, folder: Annotated[Path | None, typer.Option(help="Where to write it.")] = None
) -> None:
    """Write a commented method file that passes `check`."""
    from benchmark import template

    path = template.write(name, folder)
    command = shlex.join(["python", "-m", "benchmark", "check", str(path)])
    output.print_lines([f"wrote {path}", f"try it: {command}"])
