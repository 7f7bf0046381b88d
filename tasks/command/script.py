"""One run of a script: a group of processes whose output is read while it works.

What the script prints goes to files in its trial's folder, and is read from there: a script that
prints a lot is never held up, and what it said stays, whatever becomes of this process.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

TICK = 0.1
"""Seconds of wall time between two looks at a script: so far may it overstep its budget."""
GUARD = """
read -r _
kill -s TERM -- "-$1" || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
    sleep 0.2
    kill -s 0 -- "-$1" || exit 0
done
kill -s KILL -- "-$1"
"""
"""Waits until its input is closed, by us or because this process has died in whatever way, and ends
the group of processes $1: by TERM and, five seconds later, by KILL."""
STDOUT, STDERR = "stdout.txt", "stderr.txt"
TAIL = 300
"""Characters of a script's stderr that a message quotes."""


class ScriptFailed(RuntimeError):
    """A script that ended in error, or printed no number where its metric should be."""


class Script:
    """The script `words`, started in `cwd` with its output in `folder`. Raises ScriptFailed.

    `python` as the first word is the interpreter that runs this.
    """

    def __init__(self, words: Sequence[str], cwd: Path, folder: Path) -> None:
        self._folder = folder
        self._read = 0
        program = sys.executable if words[0] == "python" else words[0]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # else lines wait for more
        with open(folder / STDOUT, "ab") as out, open(folder / STDERR, "ab") as err:
            try:
                self._process = subprocess.Popen(
                    [program, *words[1:]], cwd=cwd, env=environment, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                )  # fmt: skip
            except OSError as error:
                raise ScriptFailed(f"{words[0]} cannot be started: {error}") from None
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", str(self._process.pid)], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def lines(self) -> tuple[list[str], bool]:
        """What it has printed since the last call, after a moment, and whether it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(TICK)
        ended = self._process.poll() is not None
        with open(self._folder / STDOUT, "rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = len(new) if ended else new.rfind(b"\n") + 1
        self._read += whole
        return new[:whole].decode(errors="replace").splitlines(), ended

    def check(self) -> None:
        """Raise ScriptFailed, with the end of its stderr, if the script ended in error."""
        if code := self._process.wait():
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise ScriptFailed(f"it ended with {how}; {self.last_words()}")

    def last_words(self) -> str:
        """The end of its stderr in one line, and where all of it is."""
        said = " ".join((self._folder / STDERR).read_text(errors="replace").split())
        tail = f"...{said[-TAIL:]}" if len(said) > TAIL else said
        return f"stderr: {tail or 'nothing'} (in {self._folder})"

    def close(self) -> None:
        """End the script with all processes of its group, and wait until they are gone."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._process.wait()
        self._guard.wait()


def reported(lines: Sequence[str], keys: Sequence[str]) -> Iterator[dict[str, float]]:
    """The values of `keys` in each line that is a JSON object with the first of them.

    Raises ScriptFailed for a value that is missing or no finite number.
    """
    for line in lines:
        try:
            found = json.loads(line, parse_int=float) if line.lstrip().startswith("{") else None
        except (ValueError, RecursionError):
            continue
        if isinstance(found, Mapping) and keys[0] in found:
            yield {key: _number(found, key) for key in keys}


def _number(found: Mapping[str, object], key: str) -> float:
    if key not in found:
        raise ScriptFailed(f"it printed a line without {key!r}: {json.dumps(found)[:TAIL]}")
    value = found[key]
    if isinstance(value, bool) or not isinstance(value, float) or not math.isfinite(value):
        raise ScriptFailed(f"it printed {key} = {json.dumps(value)}, which is no finite number")
    return value
