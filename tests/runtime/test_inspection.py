from __future__ import annotations

import math

import pytest
from goodparts.runtime.inspection import format_score
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("score", "shown"),
    [(0.0, "0.00"), (0.29, "0.29"), (1.0, "1.00"), (9.999, "9.99"), (12.34, "12.3"), (999.9, "999"), (1e9, "> 1000")],
)
def test_scores_have_few_digits(score: float, shown: str) -> None:
    assert format_score(score) == shown


@given(st.floats(0, 1000))
def test_a_shown_score_is_below_a_threshold_exactly_when_the_score_is(score: float) -> None:
    shown = float(format_score(score))
    assert shown <= score
    assert (shown >= 1) == (score >= 1)
    assert (shown >= 0.8) == (score >= 0.8)


def test_the_last_score_below_1_is_not_shown_as_1() -> None:
    assert format_score(math.nextafter(1.0, 0.0)) == "0.99"
