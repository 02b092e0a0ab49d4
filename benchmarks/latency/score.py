"""Scoring after the encoder, for one view, and the anomaly map.

The peer of `score` is what numpy does for the same scores. The peer of the anomaly map is the released code's way:
torch's bilinear interpolation, then scipy's Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from goodparts.evaluation.report.report import Findings, Options, check_same
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.scorer import Scorer
from goodparts.runtime.core.scoring import MAP_SIZE, Features, Floats, Learned, score

from ..synthetic import describe_encoder, make_features, make_recipe
from ..timing import REST, Worker, here, interleave
from .contenders import map_in_numpy, map_in_torch_and_scipy, score_in_core, score_in_numpy

REPEAT = 50
SHOTS = (1, 4, 16)
AIM_SHOTS, AIM = 4, 0.3
"""Milliseconds on one core besides the search, at so many shots."""
SCORE_TOLERANCE = MAP_TOLERANCE = 1e-5
NUMPY = "the same in numpy"
TORCH_AND_SCIPY = "torch interpolate + scipy gaussian_filter"


def measure(options: Options) -> Findings:
    findings = Findings()
    repeat = options.repeat or REPEAT
    encoder = describe_encoder(options.backbone)
    features = make_features(encoder)
    for shots in SHOTS:
        learned = make_recipe(encoder, "0" * 64, shots).learned()
        with Worker(score_in_core, features, learned) as ours, Worker(score_in_numpy, features, learned) as peer:
            timings = interleave({"ours": ours, "peer": peer}, repeat, warm=3, settle=1, rest=REST)
        difference = float(np.abs(timings["ours"].returned[0] - timings["peer"].returned[0]).max())
        check_same(f"score, {shots} shots", difference, SCORE_TOLERANCE)
        findings.add(f"score, {shots} shots", timings["ours"].median * 1e3, "ms", NUMPY, timings["peer"].median * 1e3)
        whole, search = time_on_one_core(features, learned, repeat)
        findings.add(f"score besides the search on one core, {shots} shots", whole - search, "ms")
        if shots == AIM_SHOTS:
            findings.aim(f"score besides the search, {shots} shots", whole - search, AIM, "ms")
    grid = score(features, learned).grid[0]
    ours_ms, peer_ms = time_map(grid, repeat)
    findings.add(f"anomaly map, {MAP_SIZE}×{MAP_SIZE}", ours_ms, "ms", TORCH_AND_SCIPY, peer_ms)
    return findings


def time_on_one_core(features: Features, learned: Learned, repeat: int) -> tuple[float, float]:
    """Median milliseconds of all of it, and of the search alone."""
    core = native.core()
    if core is None:
        raise BackendError("bench score measures the C++ core, which cannot be loaded: see above")
    scorer = Scorer(learned, features.grid, threads=1)
    banks = []
    for rows in learned.banks:
        bank = core.Bank(rows.shape[1])
        bank.append(rows)
        banks.append(bank)
    queries = [memory.reshape(-1, memory.shape[-1]) for memory in features.memory]

    def search() -> None:
        for bank, rows in zip(banks, queries, strict=True):
            bank.search(rows, threads=1)

    contenders: dict[str, Callable[[], object]] = {"whole": lambda: scorer(features), "search": search}
    timings = interleave({name: here(call) for name, call in contenders.items()}, repeat, settle=2)
    return timings["whole"].median * 1e3, timings["search"].median * 1e3


def time_map(grid: Floats, repeat: int) -> tuple[float, float]:
    """Median milliseconds of ours and of the peer, which must agree."""
    with Worker(map_in_numpy, grid) as ours, Worker(map_in_torch_and_scipy, grid) as peer:
        timings = interleave({"ours": ours, "peer": peer}, repeat, warm=3, settle=1, rest=REST)
    difference = float(np.abs(timings["ours"].returned[0] - timings["peer"].returned[0]).max())
    check_same("anomaly map", difference, MAP_TOLERANCE)
    return timings["ours"].median * 1e3, timings["peer"].median * 1e3
