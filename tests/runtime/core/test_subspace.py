"""Scores of only the memory: the subspace of remembered patches, and the mean of the largest patches."""

from __future__ import annotations

import numpy as np
from goodparts.runtime.core.scorer import Scorer
from goodparts.runtime.core.scoring import Features, Learned, fit_subspace, score
from sklearn.decomposition import PCA


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return unit vectors near a plane, as patches are, float32."""
    scale = 0.5 ** np.arange(shape[-1])
    vectors = rng.standard_normal(shape) * scale + 1.0
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_patches_score_their_squared_distance_from_mean_and_components() -> None:
    rng = np.random.default_rng(0)
    banks = [unit(rng, 60, 12), unit(rng, 60, 7)]
    memory = tuple(unit(rng, 2, 6, bank.shape[1]) for bank in banks)
    nothing = np.zeros((2, 3), np.float32)
    learned = Learned(nothing, nothing, tuple(banks), 1.0, "grid", fusion="subspace")
    features = Features(unit(rng, 2, 3), unit(rng, 2, 6, 3), memory, (2, 3))
    expected = np.zeros((2, 6))
    for bank, queries in zip(banks, memory, strict=True):
        pca = PCA(n_components=0.99, svd_solver="full").fit(bank.astype(np.float64))
        assert fit_subspace(bank).components.shape[1] == pca.n_components_ < bank.shape[1]
        rows = queries.reshape(-1, bank.shape[1]).astype(np.float64)
        back = pca.inverse_transform(pca.transform(rows))
        expected += np.square(rows - back).sum(axis=1).reshape(2, 6) / 4 / len(banks)
    for found in (score(features, learned), Scorer(learned, (2, 3))(features)):
        # The distance is a difference from 1 in float32, which resolves 6e-8.
        np.testing.assert_allclose(found.grid.reshape(2, 6), expected, atol=3e-7)
        np.testing.assert_allclose(found.image, expected.max(axis=1), atol=3e-7)
    assert expected.max() > 1e-4


def test_an_image_scores_the_mean_of_its_largest_hundredth() -> None:
    rng = np.random.default_rng(1)
    bank, queries = unit(rng, 30, 8), unit(rng, 2, 240, 8)
    nothing = np.zeros((2, 3), np.float32)
    learned = Learned(nothing, nothing, (bank,), 1.0, "top", fusion="memory")
    features = Features(unit(rng, 2, 3), unit(rng, 2, 240, 3), (queries,), (12, 20))
    largest = np.sort((1 - (queries @ bank.T).max(axis=2)) / 2, axis=1)[:, -2:]
    for found in (score(features, learned), Scorer(learned, (12, 20))(features)):
        np.testing.assert_allclose(found.image, largest.mean(axis=1), atol=1e-6)
        np.testing.assert_allclose(found.grid.max(axis=(1, 2)), largest[:, 1], atol=1e-6)


def test_equal_patches_have_a_subspace() -> None:
    rows = np.tile(np.array([0.6, 0.8], np.float32), (4, 1))
    np.testing.assert_allclose(fit_subspace(rows).mean, [0.6, 0.8], atol=1e-7)
