"""The last resumable state of a single-run method, in a file that executes no code."""

from __future__ import annotations

import io
from typing import Any

from benchmark.files import write_atomic
from benchmark.runs.folder import RunFolder

CONTENT = {"owner", "state", "steps", "trials", "evaluated_at", "clock", "rng"}
"""Contents of a checkpoint: what `RecordedProblem` needs, and the method's own `state`."""


def save(folder: RunFolder, state: dict[str, Any]) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(folder.checkpoint, buffer.getvalue())


def load(folder: RunFolder) -> dict[str, Any] | None:
    """The last checkpoint; None if there is none, or only a damaged one: the run then starts over
    from what its log allows. Tensors and plain values only, no code is executed."""
    if not folder.checkpoint.exists():
        return None
    import torch

    content = folder.checkpoint.read_bytes()
    try:
        saved: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    except MemoryError:
        raise
    except Exception:  # a damaged file raises anything
        return None
    return saved if isinstance(saved, dict) and saved.keys() >= CONTENT else None
