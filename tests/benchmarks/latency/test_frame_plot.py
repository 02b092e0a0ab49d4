"""The picture of latencies."""

from __future__ import annotations

from goodparts.benchmarks.latency.frame_plot import MAX_ROWS, draw_distributions, grid, span


def test_axis() -> None:
    assert grid(0.9, 60.0) == [1, 2, 5, 10, 20, 50]
    low, high = span([3.0, 3.0])
    assert low < 3 < high
    assert span([0.0]) == span([1.0])


def test_picture() -> None:
    small = draw_distributions({"ours, back to back": [1.0, 2.0, 10.0], "torch": [20.0]})
    assert small.height < draw_distributions({str(number): [1.0] for number in range(5)}).height
    colours = {colour for _, colour in small.getcolors(1 << 20) or []}
    assert {(31, 78, 140), (194, 85, 0)} <= colours  # the bar and the mark at p99
    many = draw_distributions({str(number): [1.0] for number in range(MAX_ROWS + 5)})
    assert many.height == draw_distributions({str(number): [1.0] for number in range(MAX_ROWS)}).height
    assert draw_distributions({}).width > 0
