"""Engines to measure, and which of their precisions run here."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.benchmarks.latency import engines
from goodparts.benchmarks.latency.engines import (
    PrecisionOnBackend,
    find_precisions_on_backends,
    open_or_make_engine,
)
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.engine.spec import read_spec


def test_an_engine_that_is_there_names_its_backbone(engine_folder: Path) -> None:
    spec = read_spec(engine_folder)
    assert open_or_make_engine(engine_folder, None, None) == spec
    assert open_or_make_engine(engine_folder, "small", None) == spec
    with pytest.raises(EngineError, match="give --backbone small"):
        open_or_make_engine(engine_folder, "another", None)


def test_what_does_not_run_here_becomes_a_remark(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = read_spec(engine_folder)
    remarks: list[str] = []
    monkeypatch.setattr(engines, "installed", lambda name: name == "openvino")
    runnable = find_precisions_on_backends(engine_folder, spec, ("fp32",), remarks)
    assert [str(candidate) for candidate in runnable] == ["openvino fp32"]
    assert remarks == ["onnxruntime fp32 is left out: onnxruntime is not installed"]
    with pytest.raises(EngineError, match="no fp16 graph"):
        find_precisions_on_backends(engine_folder, spec, ("fp16",), remarks)


@pytest.mark.parametrize(
    ("backend", "precision", "arithmetic", "peer"),
    [
        ("onnxruntime", "fp16", "product fp32", "eager torch fp32"),
        ("openvino", "int8", "product int8", "eager torch fp32"),
        ("openvino", "bf16", "product bf16", "eager torch bf16"),
        ("tensorrt", "int8", "product int8 GPU", "eager torch fp16 GPU"),
    ],
)
def test_what_a_precision_on_a_backend_is_compared_with(
    backend: str, precision: Precision, arithmetic: str, peer: str
) -> None:
    candidate = PrecisionOnBackend(backend, precision)
    assert (candidate.product, candidate.peer()) == (arithmetic, peer)
