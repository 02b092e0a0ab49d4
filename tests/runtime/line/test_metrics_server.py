from __future__ import annotations

from urllib.request import urlopen

from goodparts.runtime.line.meter import Meter
from goodparts.runtime.line.metrics_server import MetricsServer
from goodparts.runtime.line.prometheus import prometheus_text
from goodparts.runtime.line.status import SourceStatus


def test_metrics_are_served_on_loopback() -> None:
    meter = Meter("left")
    meter.add_inspected((1.0, 2.0, 3.0, 4.0, 5.0, 15.0), "reject")
    server = MetricsServer(0, lambda: prometheus_text([SourceStatus(meter, 7, True)], {"mqtt": 2}))
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    server.close()
    assert {
        'goodparts_inspected_total{source="left"} 1',
        'goodparts_rejected_total{source="left"} 1',
        'goodparts_dropped_total{source="left"} 7',
        'goodparts_latency_milliseconds{source="left",stage="total",quantile="0.99"} 15',
        'goodparts_output_lost_total{output="mqtt"} 2',
    } <= set(lines)
