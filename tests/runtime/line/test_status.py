"""The table of the sources that a terminal shows."""

from __future__ import annotations

from goodparts.runtime.line.meter import STAGES, Meter
from goodparts.runtime.line.scene_watch import SceneWatch
from goodparts.runtime.line.status import SourceStatus, status_table


def status_of(meter: Meter, *, up: bool) -> SourceStatus:
    return SourceStatus(meter, dropped=3, up=up, scene_watch=SceneWatch(meter.source, print))


def test_the_table_tells_what_its_numbers_are_and_starts_with_those_that_matter_most() -> None:
    meter = Meter("left")
    meter.add_inspected([0.25] * (len(STAGES) - 1) + [126.8], "reject")
    head, left, right = status_table([status_of(meter, up=False), status_of(Meter("right"), up=False)])
    assert " ".join(head.split()) == (
        "source fps inspected rejected failed dropped p50/p99 ms: total wait preprocess encode score output"
    )
    assert left.split() == ["left", "none", "1", "1", "0", "3", "127/127", *["0.2/0.2"] * 5]
    assert right.split() == ["right", "none", "0", "0", "0", "3", *["-"] * 6]
    assert head.index("total") < 79


def test_a_column_of_parts_to_review_is_there_once_there_is_one() -> None:
    meter = Meter("left")
    meter.add_inspected([1.0] * len(STAGES), "review")
    assert "reviewed" in status_table([status_of(meter, up=True)])[0]
