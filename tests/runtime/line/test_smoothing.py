from __future__ import annotations

from goodparts.runtime.line.smoothing import Smoothing


def test_parts_that_are_not_good_are_to_be_reviewed_until_enough_are_rejected() -> None:
    smoothing = Smoothing(2, 3)
    verdicts = ("review", "reject", "reject", "good", "good", "review")
    decisions = ("good", "review", "reject", "reject", "good", "good")
    assert tuple(map(smoothing.decide, verdicts)) == decisions
