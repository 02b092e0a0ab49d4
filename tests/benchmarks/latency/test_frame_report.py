"""The report of known latencies."""

from __future__ import annotations

import pytest
from goodparts.benchmarks.arrivals import (
    BACK_TO_BACK,
    ArrivalPattern,
    Latencies,
    LatenciesByPattern,
    StageMilliseconds,
)
from goodparts.benchmarks.latency.ceilings import COPIED_BYTES, MATRICES, SIDE
from goodparts.benchmarks.latency.engines import PrecisionOnBackend
from goodparts.benchmarks.latency.frame_report import (
    WINCLIP,
    EncoderWork,
    add_all_contenders,
    add_precision_on_backend,
    distributions,
)
from goodparts.evaluation.report.report import Findings

OURS = PrecisionOnBackend("onnxruntime", "fp32")
STAGES: StageMilliseconds = {"preprocess": 10.0, "encode": 80.0}


def inspections(seconds: float, count: int = 10, missed: int = 0, fps: float | None = None) -> Latencies:
    return Latencies([seconds] * count, [STAGES] * count, missed, fps)


def one_call(seconds: float) -> LatenciesByPattern:
    return {BACK_TO_BACK: Latencies([seconds], [{}])}


LATENCIES: dict[str, LatenciesByPattern] = {
    str(OURS): {
        BACK_TO_BACK: inspections(0.1),
        ArrivalPattern(utilisation=0.5): inspections(0.125, fps=5.0),
        ArrivalPattern(fps=30.0): inspections(0.12, count=4, missed=6, fps=30.0),
        ArrivalPattern(batch=4): inspections(0.32),
    },
    "eager torch fp32": {BACK_TO_BACK: inspections(0.35)},
    WINCLIP: one_call(2.0),
    "decode": one_call(0.008),
    "search": one_call(0.002),
    OURS.product: one_call(2 * SIDE**3 / 200e9),
    OURS.encoder_product: one_call(MATRICES * 2 * 100**3 / 160e9),
    OURS.copy: one_call(2 * COPIED_BYTES / 10e9),
}


@pytest.fixture
def findings() -> Findings:
    findings = Findings()
    work = EncoderWork(8 * 10**9, (100, 100, 100))
    add_precision_on_backend(findings, LATENCIES, OURS, work, weights=50_000_000)
    add_all_contenders(findings, LATENCIES, [OURS])
    return findings


def test_rows(findings: Findings) -> None:
    rows = {(row.name.removeprefix(f"{OURS}, "), row.peer): (row.value, row.unit, row.ratio) for row in findings.rows}
    for (name, peer), value, unit, ratio in (
        (("back to back, p50", "eager torch fp32"), 100, "ms", 3.5),
        (("back to back, p50", WINCLIP), 100, "ms", 20),
        (("encode", "eager torch fp32"), 80, "ms", 1),
        (("busy 50%, p99", None), 125, "ms", None),
        (("30 fps, missed", None), 60, "%", None),
        (("batch 4, rate", None), 12.5, "pictures/s", None),
        (("encoder's rate", f"{SIDE}³ product fp32"), 100, "GFLOP/s", 0.5),
        (("rate of 100×100×100 products", f"{SIDE}³ product fp32"), 160, "GFLOP/s", 0.8),
        (("reading its weights at the rate of a copy", None), 5, "ms", None),
        (("decode a JPEG of the frame", None), 8, "ms", None),
        (("search of the memory, which is part of score", None), 2, "ms", None),
        (("copy in memory", None), 10, "GB/s", None),
    ):
        assert rows[name, peer] == (pytest.approx(value), unit, ratio if ratio is None else pytest.approx(ratio)), name


def test_aims(findings: Findings) -> None:
    assert findings.remarks == [
        "aim: onnxruntime fp32, busy 50% (5 fps), p99 ÷ p99 back to back, at most 1.3: 1.25, met",
        "onnxruntime fp32, 30 fps: it does not keep up, and misses 60% of the frames",
        "onnxruntime fp32: the encoder reaches 50% of the machine's measured ceiling",
        "aim: onnxruntime fp32, encoder ÷ its own products at that rate, at most 1.5: 2, missed",
        "onnxruntime fp32: products of the encoder's size, 100×100×100, reach 80% of that ceiling; at their rate the "
        "encoder takes 1.60 times its products",
        "transfer: none; views and features lie in the memory that the processor computes in",
        "aim: onnxruntime fp32, p50, times as fast as eager torch fp32, at least 3: 3.5, met",
        "aim: onnxruntime fp32, p50, times as fast as anomalib WinCLIP, random weights, at least 25: 20, missed",
    ]


def test_without_torch_the_report_has_our_rows_and_no_peer() -> None:
    findings = Findings()
    ours = {name: LATENCIES[name] for name in (str(OURS), "decode", "search")}
    add_precision_on_backend(findings, ours, OURS, None, weights=50_000_000)
    add_all_contenders(findings, ours, [OURS])
    assert {row.peer for row in findings.rows} == {None}
    assert not [row.name for row in findings.rows if row.unit in ("GFLOP/s", "GB/s")]


def test_tables(findings: Findings) -> None:
    latency, stages = findings.tables
    assert ("onnxruntime fp32", "30 fps", "120", "120", "120", "120", "60%", "4") in latency.rows
    assert (WINCLIP, "back to back", "2000", "2000", "2000", "2000", "", "1") in latency.rows
    assert stages.head == ("", "preprocess", "encode", "whole")
    assert stages.rows == [
        ("onnxruntime fp32", "10", "80", "100"),
        ("eager torch fp32", "10", "80", "350"),
    ]


def test_distributions_are_of_single_pictures() -> None:
    drawn = distributions(LATENCIES, [OURS])
    assert drawn["onnxruntime fp32, busy 50%"] == [125.0] * 10
    assert "onnxruntime fp32, batch 4" not in drawn
