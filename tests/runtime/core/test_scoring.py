from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from goodparts.runtime.core import scoring
from goodparts.runtime.core.scorer import Scorer
from goodparts.runtime.core.scoring import Features, Floats, Learned
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter


def unit(rng: np.random.Generator, *shape: int) -> Floats:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


@pytest.mark.parametrize("temperature", [4.6, 100.0])
def test_prompt_score_is_a_softmax(temperature: float) -> None:
    rng = np.random.default_rng(0)
    z, prototypes = unit(rng, 3, 7, 16), unit(rng, 2, 16)
    expected = torch.softmax(temperature * torch.tensor(z) @ torch.tensor(prototypes).T, dim=-1)[..., 1]
    # For logits of size 100, float32 is exact to 1e-5.
    np.testing.assert_allclose(scoring.prompt_scores(z, prototypes, temperature), expected, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 10, 5000])
def test_memory_score_is_half_the_mean_cosine_distance_to_the_nearest_row(rows: int) -> None:
    rng = np.random.default_rng(1)
    queries, banks = (unit(rng, 2, 9, 16), unit(rng, 2, 9, 24)), (unit(rng, rows, 16), unit(rng, rows, 24))
    expected = np.mean([(1 - (q @ b.T).max(axis=-1)) / 2 for q, b in zip(queries, banks, strict=True)], axis=0)
    np.testing.assert_allclose(scoring.memory_scores(queries, banks), expected, atol=1e-6)


def test_a_remembered_patch_scores_zero_and_its_opposite_one() -> None:
    bank = np.eye(4, dtype=np.float32)[:1]
    np.testing.assert_array_equal(scoring.memory_scores((bank[None],), (bank,)), [[0]])
    np.testing.assert_array_equal(scoring.memory_scores((-bank[None],), (bank,)), [[1]])


@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_fusion_is_symmetric_and_below_both(a: float, b: float) -> None:
    one, other = np.array([a], np.float32), np.array([b], np.float32)
    fused = scoring.fuse(one, other)
    assert fused == scoring.fuse(other, one)
    assert 0 <= fused[0] <= min(a, b) * (1 + 1e-6) + 1e-37  # rounding is coarse for the smallest numbers
    assert np.isfinite(fused).all()


@pytest.mark.parametrize("grid", [(15, 15), (7, 9), (1, 1), (24, 24)])
def test_map_equals_torch_and_scipy(grid: tuple[int, int]) -> None:
    values = np.random.default_rng(2).random(grid, np.float32)
    up = F.interpolate(torch.tensor(values).double()[None, None], size=(400, 400), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(scoring.upsample(values[None], 400)[0], up[0, 0], atol=1e-6)
    np.testing.assert_allclose(scoring.anomaly_map(values), gaussian_filter(up[0, 0].numpy(), 4.0), atol=1e-6)


@pytest.mark.parametrize("maximum", ["grid", "map"])
def test_the_image_score_is_the_maximum_that_was_chosen(maximum: str) -> None:
    rng = np.random.default_rng(3)
    features = Features(unit(rng, 2, 16), unit(rng, 2, 9, 16), (unit(rng, 2, 9, 8),), (3, 3))
    learned = Learned(unit(rng, 2, 16), unit(rng, 2, 16), (unit(rng, 4, 8),), 4.6, maximum)  # type: ignore[arg-type]
    scores = scoring.score(features, learned)
    branches = scores.branches
    where = branches.grid_memory if maximum == "grid" else scoring.upsample(branches.grid_memory, 400)
    expected = scoring.fuse(branches.image_prompt, where.max(axis=(1, 2)))
    np.testing.assert_array_equal(scores.image, expected)
    np.testing.assert_array_equal(scores.grid, scoring.fuse(branches.grid_prompt, branches.grid_memory))


def product_and_features(seed: int, **settings: Any) -> tuple[Learned, Features]:
    rng = np.random.default_rng(seed)
    features = Features(unit(rng, 2, 8), unit(rng, 2, 6, 8), (unit(rng, 2, 6, 5), unit(rng, 2, 6, 7)), (2, 3))
    banks = unit(rng, 9, 5), unit(rng, 11, 7)
    margins = tuple(rng.uniform(-0.5, 0.5, len(bank)).astype(np.float32) for bank in banks)
    return Learned(unit(rng, 2, 8), unit(rng, 2, 8), banks, 4.6, "grid", margins=margins, **settings), features


def test_residual_is_a_patchs_margin_minus_the_mean_margin_of_its_nearest_rows() -> None:
    learned, features = product_and_features(4)
    margin = features.local @ (learned.pixel_prompts[1] - learned.pixel_prompts[0])
    remembered = [
        margins[(queries @ bank.T).argmax(axis=-1)]
        for margins, queries, bank in zip(learned.margins, features.memory, learned.banks, strict=True)
    ]
    residual = scoring.score_branches(features, learned).grid_residual
    np.testing.assert_allclose(residual.reshape(2, 6), margin - np.mean(remembered, axis=0), atol=1e-6)


@given(st.floats(2**-14, 1, width=32), st.floats(-2, 2, width=32), st.floats(1.0625, 8, width=32), st.floats(0.125, 5))
def test_residual_fusion_rises_with_both_branches_and_neither_bounds_it(
    memory: float, residual: float, factor: float, weight: float
) -> None:
    def fused(one: float, other: float) -> float:
        return float(scoring.weigh(np.array([one], np.float32), np.array([other], np.float32), weight)[0])

    assert fused(memory * factor, residual) == pytest.approx(factor * fused(memory, residual), rel=1e-5)
    raised = fused(memory, residual + factor)
    assert raised == pytest.approx(np.exp(weight * factor) * fused(memory, residual), rel=1e-4)
    assert fused(memory, residual) <= fused(memory, residual + 1e-3)


def test_residual_image_score_is_the_largest_patch() -> None:
    scores = scoring.score(*reversed(product_and_features(5, fusion="residual", residual_weight=2.0)))
    branches = scores.branches
    expected = branches.grid_memory * np.exp(np.float32(2) * branches.grid_residual)
    np.testing.assert_array_equal(scores.grid, expected)
    np.testing.assert_array_equal(scores.image, expected.max(axis=(1, 2)))


def test_prompts_without_effect_leave_the_memorys_score() -> None:
    learned, features = product_and_features(6, fusion="residual", residual_weight=5.0)
    silent = dataclasses.replace(
        learned, pixel_prompts=np.zeros((2, 8), np.float32), margins=tuple(map(np.zeros_like, learned.margins))
    )
    scores = scoring.score(features, silent)
    np.testing.assert_array_equal(scores.image, scores.branches.image_memory)


@pytest.mark.parametrize("rows", [3, 9000])
def test_nearest_gives_the_first_of_equal_rows(rows: int) -> None:
    rng = np.random.default_rng(7)
    bank = unit(rng, rows, 6)
    similarity, found = scoring.nearest(bank[None, ::2], np.concatenate([bank, bank]))
    np.testing.assert_array_equal(found[0], np.arange(0, rows, 2))
    np.testing.assert_allclose(similarity, 1, atol=1e-6)


@pytest.mark.parametrize("fusion", ["prompt", "memory"])
def test_fusion_of_a_single_branch_is_that_branch(fusion: scoring.Fusion) -> None:
    learned, features = product_and_features(8, fusion=fusion)
    found = scoring.score(features, learned)
    np.testing.assert_array_equal(found.image, getattr(found.branches, f"image_{fusion}"))
    np.testing.assert_array_equal(found.grid, getattr(found.branches, f"grid_{fusion}"))
    through_the_core = Scorer(learned, (2, 3))(features)
    np.testing.assert_allclose(through_the_core.image, found.image, atol=1e-5)
    np.testing.assert_allclose(through_the_core.grid, found.grid, atol=1e-5)
