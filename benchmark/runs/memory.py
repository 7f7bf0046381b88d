"""Peak memory of one run, though a worker executes one run after the other."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")


class PeakMemory:
    """The largest memory since this was made, where it can be measured for one run alone.

    On CUDA it is what torch has allocated on the device. On a CPU it is the resident memory of the
    process, libraries included, on Linux; elsewhere it is not known.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._known = False
        if device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):
                (PROCESS / "clear_refs").write_text("5")  # the peak starts anew
                self._known = True

    def megabytes(self) -> float | None:
        """Peak memory in MB (10^6 bytes), or None."""
        if self._device.startswith("cuda"):
            import torch

            return round(torch.cuda.max_memory_allocated(self._device) / 1e6, 1)
        if not self._known:
            return None
        found = re.search(r"VmHWM:\s*(\d+) kB", (PROCESS / "status").read_text())
        return round(int(found[1]) * 1024 / 1e6, 1) if found else None
