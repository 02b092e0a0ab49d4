"""The status of a line for people: a table with a row per source, and the totals at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .meter import STAGES, Meter
from .scene_watch import SceneWatch


class SourceStatus(NamedTuple):
    """The status of a source.

    Attributes:
        meter: Its counts and times.
        dropped: The number of frames that newer ones replaced.
        up: Whether pictures arrive.
        scene_watch: Whether its scene has changed or its scores drift.
    """

    meter: Meter
    dropped: int
    up: bool
    scene_watch: SceneWatch


def status_table(sources: Sequence[SourceStatus]) -> list[str]:
    """Return a table as lines of text: a head, and a row per source.

    A row holds the frames per second, the numbers of dropped, rejected and failed frames, and for each stage the
    median and the 99th percentile in milliseconds. A column for frames to review is added once there is such a frame.

    Args:
        sources: The status of each source.
    """
    counted = ["reviewed"] if any(source.meter.counts()["reviewed"] for source in sources) else []
    counted += ["rejected", "failed"]
    rows: list[tuple[str, ...]] = [("source", "fps", "dropped", *counted, *STAGES)]
    for source in sources:
        counts, times = source.meter.counts(), source.meter.percentiles()
        latency = [f"{times[stage][0]:.1f}/{times[stage][1]:.1f}" if times else "-" for stage in STAGES]
        rate = f"{source.meter.rate():.1f}" if source.up else "none"
        rows.append(
            (source.meter.source, rate, str(source.dropped), *(str(counts[name]) for name in counted), *latency)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(field.rjust(width) for field, width in zip(row, widths, strict=True)) for row in rows]


def describe_totals(sources: Sequence[SourceStatus]) -> str:
    """Return the numbers of every source's frames since the start, in one line.

    Args:
        sources: The status of each source.
    """
    return " | ".join(
        f"{source.meter.source}: {_describe_counts(source.meter.counts())}, {source.dropped} dropped"
        for source in sources
    )


def _describe_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count or name != "reviewed")
