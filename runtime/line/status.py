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

    A row holds the frames per second, the numbers of inspected, rejected, failed and dropped frames, and for each stage
    the median and the 99th percentile in milliseconds, those of the whole first. A column for frames to review is added
    once there is such a frame.

    Args:
        sources: The status of each source.
    """
    is_reviewed = any(source.meter.counts()["reviewed"] for source in sources)
    counted = ["inspected", *(["reviewed"] if is_reviewed else []), "rejected", "failed"]
    whole, *parts = sorted(STAGES, key=lambda stage: stage != "total")  # first, so that a narrow terminal shows it
    rows: list[tuple[str, ...]] = [("source", "fps", *counted, "dropped", f"p50/p99 ms: {whole}", *parts)]
    for source in sources:
        counts, times = source.meter.counts(), source.meter.percentiles()
        latency = ["/".join(map(_milliseconds, times[stage])) if times else "-" for stage in (whole, *parts)]
        rate = f"{source.meter.rate():.1f}" if source.up else "none"
        rows.append(
            (source.meter.source, rate, *(str(counts[name]) for name in counted), str(source.dropped), *latency)
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


def _milliseconds(value: float) -> str:
    """Return a time with one decimal below 10 ms and none above."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _describe_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count or name != "reviewed")
