"""`goodparts bench frame`; times are not checked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from goodparts.benchmarks.arrivals import BACK_TO_BACK
from goodparts.benchmarks.backbones import describe_encoder
from goodparts.benchmarks.latency import ceilings, frame
from goodparts.benchmarks.latency.ceilings import copy_in_torch
from goodparts.benchmarks.latency.frame_inspection import decode_jpeg, transfer_in_torch
from goodparts.benchmarks.peers.anomalib import AnomalibPeer
from goodparts.benchmarks.timing import Worker
from goodparts.evaluation.report.report import Findings
from PIL import Image

Bench = Callable[..., list[dict[str, object]]]


@pytest.mark.usefixtures("forked")
def test_rows_and_files(
    engine_folder: Path,
    bench: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(frame, "FRAMES", 4)
    monkeypatch.setattr(ceilings, "SIDE", 64)
    monkeypatch.setattr(ceilings, "COPIED_BYTES", 1 << 20)
    monkeypatch.setattr(ceilings, "MATRICES", 2)
    picture, text = tmp_path / "plot.png", tmp_path / "frame.md"
    outputs = ["--plot", str(picture), "--markdown", str(text)]
    options = ["--precision", "fp32", "--fps", "200", "--batch", "2", "--peers", "torch", "--repeat", "1"]
    rows = bench("frame", "--engine", str(engine_folder), *options, *outputs)
    prefix = "onnxruntime fp32, "
    names = [str(row["name"]).removeprefix(prefix) for row in rows if str(row["name"]).startswith(prefix)]
    assert names == [
        *("back to back, p50", "back to back, p90", "back to back, p99", "back to back, max"),
        *("preprocess", "encode", "score", "map"),
        *("busy 50%, p50", "busy 50%, p90", "busy 50%, p99", "busy 50%, max", "busy 50%, missed"),
        *("200 fps, p50", "200 fps, p90", "200 fps, p99", "200 fps, max", "200 fps, missed"),
        *("batch 2, p50", "batch 2, p90", "batch 2, p99", "batch 2, max", "batch 2, rate"),
        *("encoder's rate", "reading its weights at the rate of a copy"),
    ]
    assert rows[0]["name"] == "encoder's work per view"
    assert [row["name"] for row in rows][-3:] == [
        "decode a JPEG of the frame",
        "search of the memory, which is part of score",
        "copy in memory",
    ]
    output = capsys.readouterr().out
    assert "each arrival pattern has 3 untimed calls, then 4 frames that are timed or due" in output
    assert "of the machine's measured ceiling" in output
    assert "times as fast as eager torch fp32, at least 3:" in output
    assert "| openvino fp32 | busy 50% |" in text.read_text(encoding="utf-8")
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.usefixtures("forked")
def test_what_cannot_be_prepared_is_left_out() -> None:
    findings = Findings()
    with ExitStack() as stack:
        starts = {
            "here": functools.partial(Worker, decode_jpeg, 2),
            "absent": functools.partial(Worker, copy_in_torch, -1, "cpu", None, 2),
            "elsewhere": functools.partial(AnomalibPeer, "WinCLIP", 1, None, python=Path("/nonexistent")),
        }
        contenders = frame.start_contenders(stack, findings, starts)
        assert list(contenders) == ["here"]
        assert len(contenders["here"](0)[1][BACK_TO_BACK].seconds) == 2
    assert [remark.split(":")[0] for remark in findings.remarks] == ["absent is left out", "elsewhere is left out"]


def test_a_transfer_moves_a_view_and_all_features() -> None:
    # A transfer to a GPU would need one. Here both sides are in the host's memory.
    latencies = transfer_in_torch(describe_encoder("small"), "cpu", 2)()[BACK_TO_BACK]
    assert len(latencies.seconds) == 2
