"""Scoring after the encoder, for one view, and the anomaly map.

The peer of `score` computes the same scores in numpy. The peer of the anomaly map works as the released code does:
bilinear interpolation in torch, then scipy's Gaussian.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.scorer import Scorer
from goodparts.runtime.core.scoring import MAP_SIGMA, MAP_SIZE, Features, Floats, Learned, anomaly_map, score

from .. import options
from ..synthetic import make_features, make_recipe
from ..timing import REST, Worker, check_same, in_this_process, interleave

REPEAT = 50
SHOTS = (1, 4, 16)
AIM_SHOTS, AIM = 4, 0.3
"""The aim for the time on one core without the search, in milliseconds, at AIM_SHOTS shots."""
SCORE_TOLERANCE = MAP_TOLERANCE = 1e-5
NUMPY = "the same in numpy"
TORCH_AND_SCIPY = "torch interpolate + scipy gaussian_filter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_backbone(parser)
    options.add_repeat(parser, REPEAT)


def measure(*, backbone: str, repeat: int) -> Findings:
    from ..backbones import describe_encoder  # imported here, so that the workers hold neither torch nor open_clip

    findings = Findings()
    encoder = describe_encoder(backbone)
    features = make_features(encoder)
    for shots in SHOTS:
        learned = make_recipe(encoder, "0" * 64, shots).learned()
        with Worker(score_in_core, features, learned) as ours, Worker(score_in_numpy, features, learned) as peer:
            timings = interleave({"ours": ours, "peer": peer}, repeat, warmup=3, settle=1, rest=REST)
        difference = float(np.abs(timings["ours"].results[0] - timings["peer"].results[0]).max())
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
    """Return the median milliseconds of the whole scoring, and of its search.

    Args:
        features: The features of one view.
        learned: What scoring needs of a recipe.
        repeat: The number of timed rounds.

    Raises:
        BackendError: The C++ core cannot be loaded.
    """
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
    timings = interleave({name: in_this_process(call) for name, call in contenders.items()}, repeat, settle=2)
    return timings["whole"].median * 1e3, timings["search"].median * 1e3


def time_map(grid: Floats, repeat: int) -> tuple[float, float]:
    """Return the median milliseconds of our anomaly map and of the peer's.

    Args:
        grid: The patches' scores, float32 [h,w].
        repeat: The number of timed rounds.

    Raises:
        ParityError: The two maps differ.
        BackendError: A process ended early.
    """
    with Worker(map_in_numpy, grid) as ours, Worker(map_in_torch_and_scipy, grid) as peer:
        timings = interleave({"ours": ours, "peer": peer}, repeat, warmup=3, settle=1, rest=REST)
    difference = float(np.abs(timings["ours"].results[0] - timings["peer"].results[0]).max())
    check_same("anomaly map", difference, MAP_TOLERANCE)
    return timings["ours"].median * 1e3, timings["peer"].median * 1e3


def score_in_core(features: Features, learned: Learned) -> Callable[[], Floats]:
    """Prepare our scoring, as the detector does it.

    Args:
        features: The features of one view.
        learned: What scoring needs of a recipe.

    Returns:
        The call, whose result is the image score, float32 [1].
    """
    scorer = Scorer(learned, features.grid)
    return lambda: scorer(features).image


def score_in_numpy(features: Features, learned: Learned) -> Callable[[], Floats]:
    """Prepare the readable definition in numpy, with numpy's own number of threads.

    Args:
        features: The features of one view.
        learned: What scoring needs of a recipe.

    Returns:
        The call, whose result is the image score, float32 [1].
    """
    return lambda: score(features, learned).image


def map_in_numpy(grid: Floats) -> Callable[[], Floats]:
    """Prepare our map, in two matrix products.

    Args:
        grid: The patches' scores, float32 [h,w].

    Returns:
        The call, whose result is the map, float32 [400,400].
    """
    return lambda: anomaly_map(grid)


def map_in_torch_and_scipy(grid: Floats) -> Callable[[], Floats]:
    """Prepare the map of the released code: bilinear interpolation in torch, then scipy's Gaussian.

    Args:
        grid: The patches' scores, float32 [h,w].

    Returns:
        The call, whose result is the map, float32 [400,400].
    """
    import torch
    from scipy.ndimage import gaussian_filter

    image = torch.from_numpy(grid)[None, None]

    def draw() -> Floats:
        large = torch.nn.functional.interpolate(image, (MAP_SIZE, MAP_SIZE), mode="bilinear", align_corners=False)
        smooth: Floats = gaussian_filter(large[0, 0].numpy(), sigma=MAP_SIGMA)
        return smooth

    return draw
