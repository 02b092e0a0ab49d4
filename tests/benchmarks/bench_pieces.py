"""The steps of a frame under pytest-benchmark, to measure one step while working on it:

    pytest tests/benchmarks/bench_pieces.py

`goodparts bench` measures the same steps beside their peers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from goodparts.benchmarks.backbones import describe_encoder
from goodparts.benchmarks.latency.frame_inspection import draw_jpeg
from goodparts.benchmarks.latency.preprocess import CASES, Box, resize_in_core
from goodparts.benchmarks.latency.score import map_in_numpy, score_in_core
from goodparts.benchmarks.latency.search import PRECISIONS, search_in_core
from goodparts.benchmarks.synthetic import make_features, make_recipe, make_views
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.preprocess import decode
from goodparts.runtime.core.scorer import BankPrecision
from goodparts.runtime.core.scoring import score
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import Encoder, read_spec

Benchmark = Callable[..., Any]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return describe_encoder("ViT-B-16-plus-240")


def test_decode(benchmark: Benchmark) -> None:
    benchmark(decode, draw_jpeg(), "frame")


@pytest.mark.parametrize("case", CASES)
def test_resize(case: str, benchmark: Benchmark) -> None:
    size: tuple[int, int]
    box: Box
    size, box = CASES[case]
    benchmark(resize_in_core(size, box))


@pytest.mark.parametrize("rows", [225, 900, 3600])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_search(precision: BankPrecision, rows: int, benchmark: Benchmark) -> None:
    benchmark(search_in_core(rows, precision))


@pytest.mark.parametrize(
    ("backend", "precision"), [("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
)
def test_encode(backend: str, precision: Precision, engine_folder: Path, benchmark: Benchmark) -> None:
    if precision not in read_spec(engine_folder).graph("plain").precisions:
        pytest.skip(f"no backend here runs {precision}")
    engine = Engine.open(engine_folder, backend=backend, precision=precision)
    benchmark(engine.encode, make_views(engine.encoder, 1))


@pytest.mark.parametrize("shots", [1, 4, 16])
def test_score(shots: int, encoder: Encoder, benchmark: Benchmark) -> None:
    benchmark(score_in_core(make_features(encoder), make_recipe(encoder, "0" * 64, shots).learned()))


def test_map(encoder: Encoder, benchmark: Benchmark) -> None:
    learned = make_recipe(encoder, "0" * 64, 1).learned()
    benchmark(map_in_numpy(score(make_features(encoder), learned).grid[0]))
