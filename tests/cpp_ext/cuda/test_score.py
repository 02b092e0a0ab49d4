"""Scoring on the device."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from goodparts.runtime.core import scoring
from goodparts.runtime.core.scoring import Features, Learned, Scores

from tests.cpp_ext.cuda.devices import FUSIONS, Device, OnGpu, rounded, unit


def product_and_features(
    seed: int, views: int, grid: tuple[int, int], widths: tuple[int, ...], **more: object
) -> tuple[Learned, Features]:
    rng = np.random.default_rng(seed)
    patches = grid[0] * grid[1]
    banks = tuple(unit(rng, 1 + 2 * patches, width) for width in widths)
    memory = tuple(unit(rng, views, patches, width) for width in widths)
    margins = tuple(rng.uniform(-0.5, 0.5, len(bank)).astype(np.float32) for bank in banks)
    settings = {"temperature": 4.6, "image_maximum": "grid", "margins": margins, "residual_weight": 0.7, **more}
    learned = Learned(unit(rng, 2, 24), unit(rng, 2, 24), banks, **settings)  # type: ignore[arg-type]
    return learned, Features(unit(rng, views, 24), unit(rng, views, patches, 24), memory, grid)


def as_multiplied(learned: Learned, features: Features, precision: str) -> tuple[Learned, Features]:
    """Round banks and queries as the device does, so that only the order of additions can differ."""
    banks = tuple(rounded(bank, precision).astype(np.float32) for bank in learned.banks)
    memory = tuple(
        rounded(some.reshape(-1, some.shape[-1]), precision, queries=True).astype(np.float32).reshape(some.shape)
        for some in features.memory
    )
    learned = dataclasses.replace(learned, banks=banks)
    return learned, Features(features.global_, features.local, memory, features.grid)


def assert_same(seen: Scores, wanted: Scores) -> None:
    pairs = [(seen.image, wanted.image), (seen.grid, wanted.grid)]
    pairs += [(getattr(seen.branches, name), value) for name, value in vars(wanted.branches).items()]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=3e-6)


@pytest.mark.parametrize("maximum", ["grid", "map"])
@pytest.mark.parametrize(
    ("views", "grid", "widths"),
    [
        (1, (5, 4), (40,)),
        (3, (1, 7), (16, 33)),
        (2, (4, 1), (9, 9, 9)),
        (1, (1, 1), (8,)),
        (1, (6, 6), (32, 96)),  # the widths of the memories of the backbone `small`
    ],
)
def test_scores_and_map_maximum(
    device: Device, maximum: str, views: int, grid: tuple[int, int], widths: tuple[int, ...]
) -> None:
    for precision in ("fp16", "int8"):
        for fusion in FUSIONS:
            learned, features = product_and_features(7, views, grid, widths, image_maximum=maximum, fusion=fusion)
            seen = device.score(learned, features, precision)
            assert_same(seen, scoring.score(*reversed(as_multiplied(learned, features, precision))))


def test_scores_at_the_encoders_size(on_gpu: OnGpu) -> None:
    learned, features = product_and_features(8, 4, (15, 15), (896, 896), image_maximum="map")
    assert_same(
        on_gpu.score(learned, features, "fp16"), scoring.score(*reversed(as_multiplied(learned, features, "fp16")))
    )


def test_half_precision_features(device: Device) -> None:
    learned, features = product_and_features(13, 2, (3, 2), (64, 24))
    half = [np.asarray(some.astype(np.float16)) for some in (features.global_, features.local, *features.memory)]
    whole = [some.astype(np.float32) for some in half]
    seen = device.score(learned, Features(half[0], half[1], tuple(half[2:]), features.grid), "fp16")
    wanted = Features(whole[0], whole[1], tuple(whole[2:]), features.grid)
    assert_same(seen, scoring.score(*reversed(as_multiplied(learned, wanted, "fp16"))))


def test_features_that_are_not_finite_give_nan(device: Device) -> None:
    learned, features = product_and_features(9, 2, (3, 3), (12, 12))
    features.memory[1][1, 4, 5] = np.nan
    features.global_[0, 3] = np.nan
    scores = device.score(learned, features, "fp16")
    assert np.isnan(scores.branches.grid_memory).sum() == 1
    assert np.isnan(scores.grid[1, 1, 1])
    assert np.isnan(scores.image).all()
    assert not np.isnan(scores.branches.image_memory[0])
