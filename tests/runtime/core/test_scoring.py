from __future__ import annotations

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
    # float32 logits of size 100 leave 1e-5
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
    assert 0 <= fused[0] <= min(a, b) * (1 + 1e-6) + 1e-37  # roundings, coarse among the smallest numbers
    assert np.isfinite(fused).all()


@pytest.mark.parametrize("grid", [(15, 15), (7, 9), (1, 1), (24, 24)])
def test_map_equals_torch_and_scipy(grid: tuple[int, int]) -> None:
    values = np.random.default_rng(2).random(grid, np.float32)
    up = F.interpolate(torch.tensor(values).double()[None, None], size=(400, 400), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(scoring.upsample(values[None], 400)[0], up[0, 0], atol=1e-6)
    np.testing.assert_allclose(scoring.anomaly_map(values), gaussian_filter(up[0, 0].numpy(), 4.0), atol=1e-6)


@pytest.mark.parametrize("maximum", ["grid", "map"])
def test_image_score_takes_the_maximum_where_it_is_told(maximum: str) -> None:
    rng = np.random.default_rng(3)
    features = Features(unit(rng, 2, 16), unit(rng, 2, 9, 16), (unit(rng, 2, 9, 8),), (3, 3))
    learned = Learned(unit(rng, 2, 16), unit(rng, 2, 16), (unit(rng, 4, 8),), 4.6, maximum)  # type: ignore[arg-type]
    scores = scoring.score(features, learned)
    branches = scores.branches
    where = branches.grid_memory if maximum == "grid" else scoring.upsample(branches.grid_memory, 400)
    expected = scoring.fuse(branches.image_prompt, where.max(axis=(1, 2)))
    np.testing.assert_array_equal(scores.image, expected)
    np.testing.assert_array_equal(scores.grid, scoring.fuse(branches.grid_prompt, branches.grid_memory))


@given(st.floats(0.001, 1000.0))
def test_balanced_fusion_does_not_depend_on_a_branchs_scale(factor: float) -> None:
    rng = np.random.default_rng(4)
    branches = scoring.Branches(
        *(rng.uniform(0.1, 0.5, shape).astype(np.float32) for shape in [(3,), (3,), (3, 2, 2), (3, 2, 2)])
    )
    louder = scoring.Branches(**{**vars(branches), "image_memory": branches.image_memory * np.float32(factor)})
    one, other = (scoring.combine(part, scoring.measure_scales([part])) for part in (branches, louder))
    np.testing.assert_allclose(one.image, other.image, rtol=1e-5)  # float32 roundings
    np.testing.assert_array_equal(one.grid, other.grid)


def test_a_typical_good_part_scores_one_half_with_balanced_fusion() -> None:
    branches = scoring.Branches(
        *(
            np.full(shape, value, np.float32)
            for shape, value in [((1,), 0.5), ((1,), 0.01), ((1, 1, 1), 0.4), ((1, 1, 1), 0.02)]
        )
    )
    scores = scoring.combine(branches, scoring.measure_scales([branches]))
    assert scores.image[0] == pytest.approx(0.5)
    assert scores.grid[0, 0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize("combination", ["prompt", "memory"])
def test_a_branch_alone_is_that_branch(combination: scoring.Combination) -> None:
    rng = np.random.default_rng(8)
    features = Features(unit(rng, 2, 8), unit(rng, 2, 6, 8), (unit(rng, 2, 6, 5),), (2, 3))
    learned = Learned(unit(rng, 2, 8), unit(rng, 2, 8), (unit(rng, 9, 5),), 4.6, "grid", combination=combination)
    found = scoring.score(features, learned)
    np.testing.assert_array_equal(found.image, getattr(found.branches, f"image_{combination}"))
    np.testing.assert_array_equal(found.grid, getattr(found.branches, f"grid_{combination}"))
    through_the_core = Scorer(learned, (2, 3))(features)
    np.testing.assert_allclose(through_the_core.image, found.image, atol=1e-5)
    np.testing.assert_allclose(through_the_core.grid, found.grid, atol=1e-5)
