"""The status of a line as metrics for Prometheus."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from .line import Line
from .meter import BOUNDS, WINDOW
from .outputs.outlet import Outlet
from .scene_watch import DRIFT_FRAMES
from .status import SourceStatus

__all__ = ["CONTENT_TYPE_LATEST", "prometheus_text"]

_QUANTILES = ("0.5", "0.99")
_BUCKETS = [*(str(bound / 1e3) for bound in BOUNDS), "+Inf"]


def prometheus_text(line: Line) -> bytes:
    """Return the status of a line now, in the text format of CONTENT_TYPE_LATEST.

    Args:
        line: The line whose meters and outlets are read.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_LineCollector(line))
    return generate_latest(registry)


class _LineCollector(Collector):
    """Reads the meters of a line's sources and its outlets at each scrape."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def collect(self) -> Iterator[Metric]:
        sources = self._line.status()
        yield from _count_frames(sources)
        yield from _time_frames(sources)
        yield from _describe_scenes(sources)
        yield from _describe_outputs(self._line.outlets)


def _count_frames(sources: Sequence[SourceStatus]) -> Iterator[Metric]:
    counts = {source.meter.source: source.meter.counts() for source in sources}
    for name, help_text in (
        ("inspected", "Frames with a verdict."),
        ("reviewed", "Frames whose decision was review."),
        ("rejected", "Frames whose decision was reject."),
        ("failed", "Frames that could not be inspected."),
    ):
        values = ((source, count[name]) for source, count in counts.items())
        yield _family(CounterMetricFamily(f"goodparts_{name}", help_text, labels=["source"]), values)
    yield _family(
        CounterMetricFamily("goodparts_dropped", "Frames that a newer one replaced.", labels=["source"]),
        ((source.meter.source, source.dropped) for source in sources),
    )
    yield _family(
        GaugeMetricFamily("goodparts_up", "1 while pictures arrive.", labels=["source"]),
        ((source.meter.source, source.up) for source in sources),
    )
    yield _family(
        GaugeMetricFamily("goodparts_frames_per_second", "Frames per second, over the last 5 s.", labels=["source"]),
        ((source.meter.source, source.meter.rate()) for source in sources),
    )


def _time_frames(sources: Sequence[SourceStatus]) -> Iterator[Metric]:
    seconds = HistogramMetricFamily(
        "goodparts_latency_seconds", "Seconds per stage of each frame since the start.", labels=["source", "stage"]
    )
    recent = GaugeMetricFamily(
        "goodparts_latency_milliseconds", f"Milliseconds per stage of the last {WINDOW} frames.",
        labels=["source", "stage", "quantile"],
    )  # fmt: skip
    for source in sources:
        name = source.meter.source
        for stage, histogram in source.meter.histograms().items():
            buckets = list(zip(_BUCKETS, map(float, itertools.accumulate(histogram.counts)), strict=True))
            seconds.add_metric([name, stage], buckets, histogram.total / 1e3)
        for stage, percentiles in source.meter.percentiles().items():
            for quantile, value in zip(_QUANTILES, percentiles, strict=True):
                recent.add_metric([name, stage, quantile], value)
    yield seconds
    yield recent


def _describe_scenes(sources: Sequence[SourceStatus]) -> Iterator[Metric]:
    counts = CounterMetricFamily(
        "goodparts_scene_changed", "Frames that show another scene than the learned one.",
        labels=["source", "reason"],
    )  # fmt: skip
    for source in sources:
        for reason, count in source.scene_watch.counts().items():
            counts.add_metric([source.meter.source, reason], count)
    yield counts
    yield _family(
        GaugeMetricFamily("goodparts_scene_is_changed", "1 while another scene is shown.", labels=["source"]),
        ((source.meter.source, source.scene_watch.change is not None) for source in sources),
    )
    ratios = ((source.meter.source, source.scene_watch.ratio) for source in sources)
    yield _family(
        GaugeMetricFamily(
            "goodparts_score_drift", f"Median score of the last {DRIFT_FRAMES} parts divided by the calibration's.",
            labels=["source"],
        ),
        ((source, ratio) for source, ratio in ratios if ratio is not None),
    )  # fmt: skip


def _describe_outputs(outlets: Sequence[Outlet]) -> Iterator[Metric]:
    yield _family(
        CounterMetricFamily("goodparts_output_lost", "Results that an output could not deliver.", labels=["output"]),
        ((outlet.output_name, outlet.lost) for outlet in outlets),
    )
    yield _family(
        GaugeMetricFamily("goodparts_output_waiting", "Results that wait for an output.", labels=["output"]),
        ((outlet.output_name, outlet.waiting) for outlet in outlets),
    )
    yield _family(
        GaugeMetricFamily("goodparts_output_failing", "1 while deliveries fail.", labels=["output"]),
        ((outlet.output_name, outlet.failing) for outlet in outlets),
    )


def _family(
    family: CounterMetricFamily | GaugeMetricFamily, values: Iterable[tuple[str, float]]
) -> CounterMetricFamily | GaugeMetricFamily:
    """Add the values of a family with one label, and return the family."""
    for label, value in values:
        family.add_metric([label], value)
    return family
