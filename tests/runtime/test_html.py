"""A histogram of scores can be read."""

from __future__ import annotations

import re

import numpy as np
from goodparts.runtime.html import histogram


def test_no_threshold_runs_through_the_name_of_another() -> None:
    scores, bad = np.array([0.626, 0.9, 4.0]), np.array([False, False, True])
    drawing = histogram(scores, bad, {"1.00": 1.0, "1.07": 1.07, "0.98": 0.98, "4.00": 4.0}, "scores", ".2f")
    lines = re.findall(r'<line x1="([\d.]+)" x2="[\d.]+" y1="(\d+)" y2="[\d.]+" stroke="#000"', drawing)
    names = re.findall(r'<text x="([\d.]+)" y="(\d+)" font-size="11">([\d.]+)</text>', drawing)
    assert [name for *_, name in names] == ["0.98", "1.00", "1.07", "4.00"]
    for left, bottom, name in names:
        right = float(left) + 8 * len(name)
        assert not any(float(left) <= float(x) <= right and int(top) < int(bottom) for x, top in lines)
        assert right <= float(re.findall(r'viewBox="0 0 (\d+)', drawing)[0])
    assert re.findall(r">([\d.]+)</text>", drawing)[-5:] == ["0.63", "1.47", "2.31", "3.16", "4.00"]
