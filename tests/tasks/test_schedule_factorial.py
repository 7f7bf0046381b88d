"""A small run of docs/studies/schedule_factorial.py, whose tables are in docs/schedules.md."""

import runpy
from pathlib import Path

import pytest

from tasks.schedule.digits import ScheduleDigitsCosine

STUDY = Path(__file__).parents[2] / "docs" / "studies" / "schedule_factorial.py"


def test_the_factorial_is_complete(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScheduleDigitsCosine, "report_samples", 200)
    study = runpy.run_path(str(STUDY))
    main = study["main"]
    main.__globals__["SHARES"] = (0.5, 1.0)
    main(seeds=1, steps=6)
    printed = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "%" in line]
    assert [line[:3] for line in printed[:8]] == [
        [f"| {plan}", sampling, share]
        for plan in ("cosine", "Laplace")
        for sampling in ("uniform steps", "EDM")
        for share in ("50%", "100%")
    ]
    values = [[float(cell.rstrip(" |")) for cell in line[3:]] for line in printed[:8]]
    assert all(value > 0 for row in values for value in row[:4])
    assert [row[4] for row in values[1::2]] == pytest.approx([1.0] * 4)  # the end, by itself
    assert all(-1 <= row[4] <= 1 for row in values[::2])
    assert len(printed) == 12
