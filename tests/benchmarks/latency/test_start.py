"""`goodparts bench start` on an engine; times are not checked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from goodparts.benchmarks.latency import first_verdict_times, start
from goodparts.benchmarks.latency.first_verdict_times import TORCH, WHOLE, Seconds
from goodparts.benchmarks.timing import interleave

Bench = Callable[..., list[dict[str, object]]]


def test_rows(engine_folder: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every process is started only once: a start to fill the caches takes as long as a timed one.
    start_process, starts = first_verdict_times.start_process, dict[tuple[str | None, ...], Seconds]()

    def start_once(settings: dict[str, str | None], folder: Path) -> Seconds:
        values = tuple(settings.values())
        if values not in starts:
            starts[values] = start_process(settings, folder)
        return starts[values]

    monkeypatch.setattr(first_verdict_times, "start_process", start_once)
    monkeypatch.setattr(start, "interleave", functools.partial(interleave, warmup=0))
    rows = bench("start", "--engine", str(engine_folder), "--precision", "fp32", "--repeat", "1")
    names = [str(row["name"]) for row in rows]
    assert names[0] == "bare interpreter"
    verdicts = [row for row in rows if WHOLE in str(row["name"])]
    assert [str(row["name"]).split(",")[0] for row in verdicts] == [
        "onnxruntime fp32",
        "openvino fp32",
        "openvino fp32 with a plan",
    ]
    assert all(row["peer"] == TORCH for row in verdicts)
    assert "openvino fp32 with a plan, opening the engine" in names
    assert "openvino fp32, plan" in names
    assert sum("ratio" in row for row in rows) == 3 + 3 * 5
