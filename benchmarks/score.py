"""Scoring after the encoder, for one view: what it costs beyond its two matrix products, and the anomaly map.

The products, queries [P,W] against both banks [shots·P,W], are the work that cannot be avoided; the peer of
`score` is numpy doing these alone. The peer of the anomaly map is the released code's way: torch's bilinear
interpolation, then scipy's Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from goodparts.runtime.scoring import MAP_SIZE, Features, Floats, Learned, score

from .contenders import map_in_numpy, map_in_torch_and_scipy
from .report import Findings, Options, check_same
from .synthetic import describe_encoder, make_features, make_recipe
from .timing import REST, Worker, here, interleave

REPEAT = 50
SHOTS = (1, 4, 16)
AIM_SHOTS = 4
AIM_FACTOR, AIM_EXTRA = 1.3, 1.0  # times the products, plus milliseconds
MAP_TOLERANCE = 1e-5
PRODUCTS = "its two matrix products alone"
TORCH_AND_SCIPY = "torch interpolate + scipy gaussian_filter"


def measure(options: Options) -> Findings:
    findings = Findings()
    repeat = options.repeat or REPEAT
    encoder = describe_encoder(options.backbone)
    features = make_features(encoder)
    for shots in SHOTS:
        learned = make_recipe(encoder, "0" * 64, shots).learned()
        ours, products = time_score(features, learned, repeat)
        findings.add(f"score, {shots} shots", ours, "ms", PRODUCTS, products)
        if shots == AIM_SHOTS:
            what = f"score at {shots} shots ({AIM_FACTOR} × products + {AIM_EXTRA:.0f} ms)"
            findings.aim(what, ours, AIM_FACTOR * products + AIM_EXTRA, "ms")
    ours, peer = time_map(score(features, learned).grid[0], repeat)
    findings.add(f"anomaly map, {MAP_SIZE}×{MAP_SIZE}", ours, "ms", TORCH_AND_SCIPY, peer)
    return findings


def time_score(features: Features, learned: Learned, repeat: int) -> tuple[float, float]:
    """Median milliseconds of `score`, and of the products alone; numpy does both, in this process."""
    queries = [memory.reshape(-1, memory.shape[-1]) for memory in features.memory]

    def products() -> None:
        for query, bank in zip(queries, learned.banks, strict=True):
            query @ bank.T

    contenders: dict[str, Callable[[], object]] = {"ours": lambda: score(features, learned), "products": products}
    timings = interleave({name: here(call) for name, call in contenders.items()}, repeat, settle=1)
    return timings["ours"].median * 1e3, timings["products"].median * 1e3


def time_map(grid: Floats, repeat: int) -> tuple[float, float]:
    """Median milliseconds of ours and of the peer, which must agree."""
    with Worker(map_in_numpy, grid) as ours, Worker(map_in_torch_and_scipy, grid) as peer:
        timings = interleave({"ours": ours, "peer": peer}, repeat, warm=3, settle=1, rest=REST)
    difference = float(np.abs(timings["ours"].returned[0] - timings["peer"].returned[0]).max())
    check_same("anomaly map", difference, MAP_TOLERANCE)
    return timings["ours"].median * 1e3, timings["peer"].median * 1e3
