"""How a line stands, in Prometheus' text format, version 0.0.4.

The text is written here, as names and numbers are all there is to it; names of sources hold nothing to escape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .meter import WINDOW
from .status import SourceStatus

_COUNTERS = {
    "inspected": "Frames with a verdict.",
    "rejected": "Frames whose decision was reject.",
    "failed": "Frames that could not be inspected.",
}
_QUANTILES = ("0.5", "0.99")


def prometheus_text(sources: Sequence[SourceStatus], lost: Mapping[str, int]) -> str:
    """Return the metrics of sources and outputs. lost: results that an output could not deliver, by its name."""
    labelled = [(f'source="{source.meter.source}"', source) for source in sources]
    lines = []
    for counter, help in _COUNTERS.items():
        values = {label: source.meter.counts()[counter] for label, source in labelled}
        lines += _metric(f"goodparts_{counter}_total", "counter", help, values)
    dropped = {label: source.dropped for label, source in labelled}
    lines += _metric("goodparts_dropped_total", "counter", "Frames that a newer one replaced.", dropped)
    lines += _metric(
        "goodparts_up", "gauge", "1 while pictures come.", {label: source.up for label, source in labelled}
    )
    rates = {label: source.meter.rate() for label, source in labelled}
    lines += _metric("goodparts_frames_per_second", "gauge", "Over the last seconds.", rates)
    latency = {
        f'{label},stage="{stage}",quantile="{quantile}"': value
        for label, source in labelled
        for stage, percentiles in source.meter.percentiles().items()
        for quantile, value in zip(_QUANTILES, percentiles, strict=True)
    }
    lines += _metric("goodparts_latency_milliseconds", "gauge", f"Of each source's last {WINDOW} frames.", latency)
    lost_by_label = {f'output="{name}"': count for name, count in lost.items()}
    lines += _metric("goodparts_output_lost_total", "counter", "Results that an output could not deliver.",
                     lost_by_label)  # fmt: skip
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, help: str, values: Mapping[str, float]) -> list[str]:
    """Return the lines of one metric: its value under each set of labels."""
    head = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
    return head + [f"{name}{{{labels}}} {float(value):g}" for labels, value in values.items()]
