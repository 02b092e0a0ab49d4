"""`goodparts bench accept` on a line of a few photos; times are not checked."""

from __future__ import annotations

import numpy as np
import pytest
from goodparts.benchmarks.studies import accept
from goodparts.evaluation.report.report import Findings
from goodparts.trainer.promptad.method import PromptAD


def test_every_row_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"LINES": 1, "STREAM": 5, "GOOD": 2, "BAD": 2, "ACCEPTED": (1,), "HELD_OUT_KINDS": ("leather",), "RATE": 0.45}
    for name, value in few.items():
        monkeypatch.setattr(accept, name, value)
    monkeypatch.setattr(accept, "METHOD", PromptAD.configure("clean", {"steps": 1}))
    findings: Findings = accept.measure(backbone="small", repeat=1)
    rows = {row.name: row.value for row in findings.rows}
    assert rows["small, 4 shots and 1 accepted: update"] > 0
    assert rows["drawn leather, thresholds kept: accepted of 5"] > 0
    assert {
        "drawn leather, as many by k-center: image",
        "drawn leather, thresholds recalibrated: bad missed",
    } <= rows.keys()


def test_k_center_starts_from_what_is_known() -> None:
    known = np.eye(3, dtype=np.float16)[:1]
    photos = [np.array([[1, 0, 0], [0, 1, 0]], np.float16), np.array([[0, 1, 0.1], [0, 0, 1]], np.float16)]
    assert accept._k_center(known, photos, 2).tolist() == [[0, 1, 0], [0, 0, 1]]
