"""What runs in a process of its own (timing.Worker): each function prepares one contender and returns its call.

Libraries are imported inside, so that a process holds its own and no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from goodparts.runtime import Detector, Engine
from goodparts.runtime.engine import Precision, read_spec
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.scorer import Scorer
from goodparts.runtime.scoring import MAP_SIGMA, MAP_SIZE, Features, Floats, Learned, anomaly_map, score

HEIGHT, WIDTH = 1024, 1280
"""Of the camera frame."""
SIDE = 2048
"""Of the matrices whose product stands for the machine's ceiling."""

Milliseconds = dict[str, float]


def inspect_on_backend(folder: Path, recipe: Path, backend: str, precision: Precision) -> Callable[[], Milliseconds]:
    """The product as it ships."""
    return _inspect(Detector.open(folder, recipe, backend=backend, precision=precision))


def inspect_in_torch(folder: Path, recipe: Path, backbone: str, precision: Precision) -> Callable[[], Milliseconds]:
    """The same, with the torch tower, eager, in the place of the graph."""
    return _inspect(Detector(Engine(read_spec(folder), precision, EagerSession(backbone, precision)), recipe))


class EagerSession:
    """A backbone's image tower in torch; weights and arithmetic in the precision, outputs in float32."""

    def __init__(self, backbone: str, precision: Precision) -> None:
        import torch

        from .synthetic import open_backbone

        self._torch = torch
        self._tower = open_backbone(backbone).visual.to(torch.float32 if precision == "fp32" else torch.bfloat16)
        self.description = f"torch {torch.__version__} eager {precision}"

    def run(self, views: Array8) -> list[Floats]:
        with self._torch.inference_mode():
            return [output.float().numpy() for output in self._tower(self._torch.from_numpy(views))]


def _inspect(detector: Detector) -> Callable[[], Milliseconds]:
    """Frame uint8 RGB [1024,1280,3] → Inspection and its map; returns the milliseconds of each stage."""
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)

    def inspect() -> Milliseconds:
        inspection = detector.predict(frame)
        start = time.perf_counter()
        assert inspection.map.size
        return {**inspection.milliseconds, "map": (time.perf_counter() - start) * 1e3}

    return inspect


def multiply_in_torch(precision: Precision) -> Callable[[], Milliseconds]:
    """One SIDE×SIDE matrix product."""
    import torch

    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator).to(dtype) for _ in range(2))
    out = torch.empty(SIDE, SIDE, dtype=dtype)

    def multiply() -> Milliseconds:
        torch.mm(left, right, out=out)
        return {}

    return multiply


def score_in_core(features: Features, learned: Learned) -> Callable[[], Floats]:
    """Ours, as the detector does it; returns the image scores."""
    scorer = Scorer(learned, features.grid)
    return lambda: scorer(features).image


def score_in_numpy(features: Features, learned: Learned) -> Callable[[], Floats]:
    """The readable definition, with as many threads as numpy likes."""
    return lambda: score(features, learned).image


def map_in_numpy(grid: Floats) -> Callable[[], Floats]:
    """Ours: [h,w] → [400,400] in two matrix products."""
    return lambda: anomaly_map(grid)


def map_in_torch_and_scipy(grid: Floats) -> Callable[[], Floats]:
    """As the released code does it: bilinear interpolation in torch, then scipy's Gaussian."""
    import torch
    from scipy.ndimage import gaussian_filter

    image = torch.from_numpy(grid)[None, None]

    def draw() -> Floats:
        large = torch.nn.functional.interpolate(image, (MAP_SIZE, MAP_SIZE), mode="bilinear", align_corners=False)
        smooth: Floats = gaussian_filter(large[0, 0].numpy(), sigma=MAP_SIGMA)
        return smooth

    return draw
