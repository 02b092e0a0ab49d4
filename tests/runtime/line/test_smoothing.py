from __future__ import annotations

from goodparts.runtime.line.smoothing import Smoothing


def test_the_decision_is_review_while_enough_frames_are_not_good_and_too_few_are_rejected() -> None:
    smoothing = Smoothing(2, 3)
    verdicts = ("review", "reject", "reject", "good", "good", "review")
    decisions = ("good", "review", "reject", "reject", "good", "good")
    assert tuple(map(smoothing.decide, verdicts)) == decisions
