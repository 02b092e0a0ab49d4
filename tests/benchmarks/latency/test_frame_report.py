"""What is said of bursts whose times are known."""

from __future__ import annotations

import pytest
from goodparts.benchmarks.latency.camera_load import BACK_TO_BACK, Burst, Load
from goodparts.benchmarks.latency.contenders import Bursts, Milliseconds
from goodparts.benchmarks.latency.frame_report import (
    COPIED,
    MATRICES,
    SIDE,
    WINCLIP,
    Work,
    describe_pair,
    describe_rest,
)
from goodparts.benchmarks.latency.precision_backends import Pair
from goodparts.evaluation.report.report import Findings

PAIR = Pair("onnxruntime", "fp32")
STAGES: Milliseconds = {"preprocess": 10.0, "encode": 80.0}


def burst(seconds: float, count: int = 10, missed: int = 0, fps: float | None = None) -> Burst[Milliseconds]:
    return Burst([seconds] * count, [STAGES] * count, missed, fps)


def probe(seconds: float) -> Bursts:
    return {BACK_TO_BACK: Burst([seconds], [{}])}


@pytest.fixture
def findings() -> Findings:
    ours = {
        BACK_TO_BACK: burst(0.1),
        Load(busy=0.5): burst(0.125, fps=5.0),
        Load(fps=30.0): burst(0.12, count=4, missed=6, fps=30.0),
        Load(batch=4): burst(0.32),
    }
    results: dict[str, Bursts] = {
        str(PAIR): ours,
        "eager torch fp32": {BACK_TO_BACK: burst(0.35)},
        WINCLIP: probe(2.0),
        "decode": probe(0.008),
        "search": probe(0.002),
        PAIR.product: probe(2 * SIDE**3 / 200e9),
        PAIR.own_product: probe(MATRICES * 2 * 100**3 / 160e9),
        PAIR.copy: probe(2 * COPIED / 10e9),
    }
    found = Findings()
    describe_pair(found, results, PAIR, Work(8 * 10**9, 50_000_000, (100, 100, 100)))
    describe_rest(found, results, [PAIR])
    return found


def test_rows(findings: Findings) -> None:
    rows = {(row.name.removeprefix(f"{PAIR}, "), row.peer): (row.value, row.unit, row.ratio) for row in findings.rows}
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
        seen = rows[name, peer]
        assert seen == (pytest.approx(value), unit, ratio if ratio is None else pytest.approx(ratio)), name


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


def test_tables_and_distributions(findings: Findings) -> None:
    latency, stages = findings.tables
    assert ("onnxruntime fp32", "30 fps", "120", "120", "120", "120", "60%", "4") in latency.rows
    assert (WINCLIP, "back to back", "2000", "2000", "2000", "2000", "", "1") in latency.rows
    assert stages.head == ("", "preprocess", "encode", "whole")
    assert stages.rows == [
        ("onnxruntime fp32", "10", "80", "100"),
        ("eager torch fp32", "10", "80", "350"),
    ]
    assert findings.distributions["onnxruntime fp32, busy 50%"] == [125.0] * 10
    assert "onnxruntime fp32, batch 4" not in findings.distributions
