"""The notebook of the documentation, executed as a reader would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs/first_steps.ipynb"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
for output in outputs:
    print(output.get("text", ""), *output.get("data", {}))
"""


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="nbclient is in the extra `dev`")
    pytest.importorskip("ipykernel", reason="ipykernel is in the extra `dev`")
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "9 runs, 9 to do in this process" in done.stdout
    assert "6 runs, 3 to do in this process" in done.stdout  # those of the new method alone
    assert done.stdout.count("image/png") == 2
    assert done.stdout.count("text/html") == 2


def test_the_notebook_is_stored_without_outputs() -> None:
    assert '"outputs": [],' in NOTEBOOK.read_text()
    assert "image/png" not in NOTEBOOK.read_text()
