from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.meter import Meter
from goodparts.runtime.line.outputs.hook import Hook
from goodparts.runtime.line.outputs.outlet import Outlet
from goodparts.runtime.line.prometheus import prometheus_text
from goodparts.runtime.line.scene_watch import DRIFT_FRAMES, SceneWatch
from goodparts.runtime.line.status import SourceStatus
from prometheus_client.parser import text_string_to_metric_families

from tests.runtime.line.test_scene_watch import DARKER, LEVEL, inspected


@pytest.fixture
def samples() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The metrics that Prometheus reads from a line with one source and one output."""
    meter = Meter("left")
    for total, decision in ((15.0, "reject"), (15.0, "reject"), (2500.0, "review"), (60_000.0, "good")):
        meter.add_inspected((1.0, 2.0, 3.0, 4.0, 5.0, total), decision)
    outlet = Outlet(Hook(print), LineContext(print), may_wait=False)
    outlet.lost = 12_345_678
    watch = SceneWatch("left", print)
    for scene in [None] * DRIFT_FRAMES + [DARKER] * 4:
        watch.note(inspected(1.5, scene), LEVEL)
    line: Any = SimpleNamespace(status=lambda: [SourceStatus(meter, 9_876_543_217, True, watch)], outlets=[outlet])
    families = text_string_to_metric_families(prometheus_text(line).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return samples[f"goodparts_{name}", frozenset(labels.items())]


def test_large_counts_keep_all_their_digits(samples: Any) -> None:
    assert value(samples, "dropped_total", source="left") == 9_876_543_217
    assert value(samples, "output_lost_total", output="hook") == 12_345_678


def test_the_metrics_cover_sources_and_outputs(samples: Any) -> None:
    counted = {"inspected": 4, "reviewed": 1, "rejected": 2, "failed": 0}
    assert {name: value(samples, f"{name}_total", source="left") for name in counted} == counted
    assert value(samples, "up", source="left") == 1
    assert value(samples, "frames_per_second", source="left") > 0
    assert value(samples, "latency_milliseconds", source="left", stage="encode", quantile="0.5") == 3
    assert value(samples, "output_waiting", output="hook") == value(samples, "output_failing", output="hook") == 0


def test_latency_is_a_histogram_of_every_frame_in_seconds(samples: Any) -> None:
    def bucket(bound: str) -> float:
        return value(samples, "latency_seconds_bucket", source="left", stage="total", le=bound)

    assert [bucket(bound) for bound in ("0.01", "0.02", "2.0", "5.0", "10.0", "+Inf")] == [0, 2, 2, 3, 3, 4]
    assert value(samples, "latency_seconds_count", source="left", stage="total") == 4
    assert value(samples, "latency_seconds_sum", source="left", stage="total") == pytest.approx(62.53)


def test_a_changed_scene_and_drift_have_metrics(samples: Any) -> None:
    assert value(samples, "scene_changed_total", source="left", reason="darker") == 4
    assert value(samples, "scene_changed_total", source="left", reason="moved") == 0
    assert value(samples, "scene_is_changed", source="left") == 1
    assert value(samples, "score_drift", source="left") == pytest.approx(1.5)
