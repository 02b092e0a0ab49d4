"""Every method of patch statistics against its formula, computed place by place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from goodparts.evaluation.methods import patch_statistics as statistics
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.runtime.recipe.memory import coreset

GRID = (3, 4)


def draw(seed: int, count: int) -> Features:
    rng = np.random.default_rng(seed)

    def unit(*shape: int) -> Floats:
        vectors = rng.standard_normal(shape).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)

    cells = GRID[0] * GRID[1]
    return Features(unit(count, 8), unit(count, cells, 8), (unit(count, cells, 5), unit(count, cells, 6)), GRID)


SHOTS, TESTS = draw(0, 3), draw(1, 2)


def patch(features: Features, photo: int, place: int) -> Floats:
    return np.concatenate([memory[photo, place] for memory in features.memory])


def averaged(features: Features, photo: int, place: int) -> Floats:
    """Return the mean over a patch and its neighbours."""
    y, x = divmod(place, GRID[1])
    near = [
        patch(features, photo, j * GRID[1] + i)
        for j in range(max(0, y - 1), min(GRID[0], y + 2))
        for i in range(max(0, x - 1), min(GRID[1], x + 2))
    ]
    return np.mean(near, axis=0)


def every(features: Features) -> list[tuple[int, int]]:
    return [(photo, place) for photo in range(len(features.global_)) for place in range(GRID[0] * GRID[1])]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_patchcore(share: float) -> None:
    rows = np.stack([averaged(SHOTS, *one) for one in every(SHOTS)])
    memory = rows[coreset(rows, math.ceil(share * len(rows)), GRID[0] * GRID[1])]
    image, grid = statistics.fit_patchcore(SHOTS, share, neighbours=4)(TESTS)
    for photo in range(2):
        apart = np.array(
            [[np.linalg.norm(averaged(TESTS, photo, place) - row) for row in memory] for place in range(12)]
        )
        np.testing.assert_allclose(grid[photo].ravel(), apart.min(axis=1), atol=1e-4)
        worst = apart.min(axis=1).argmax()
        nearest = memory[apart[worst].argmin()]
        around = sorted(range(len(memory)), key=lambda row: float(np.linalg.norm(memory[row] - nearest)))[:4]
        weight = 1 - math.exp(apart[worst].min()) / sum(math.exp(apart[worst, row]) for row in around)
        assert image[photo] == pytest.approx(weight * apart[worst].min(), abs=1e-4)


@pytest.mark.parametrize("neighbours", [1, 3])
def test_spade(neighbours: int) -> None:
    rows = [patch(SHOTS, *one) for one in every(SHOTS)]
    image, grid = statistics.fit_spade(SHOTS, neighbours)(TESTS)
    for photo in range(2):
        assert image[photo] == pytest.approx(
            np.mean([np.sum((TESTS.global_[photo] - good) ** 2) for good in SHOTS.global_]), abs=1e-4
        )
        for place in range(12):
            apart = sorted(np.sum((patch(TESTS, photo, place) - row) ** 2) for row in rows)
            assert grid[photo].ravel()[place] == pytest.approx(np.mean(apart[:neighbours]), abs=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_padim(count: int) -> None:
    shots = SHOTS[:count]
    width, ridge, scale = 7, 0.01, math.sqrt(11 / 2)
    channels = np.sort(np.random.default_rng(0).permutation(11)[:width])
    image, grid = statistics.fit_padim(shots, width, ridge)(TESTS)
    everything = np.stack([patch(shots, *one)[channels] * scale for one in every(shots)]).astype(float)
    around = everything - everything.mean(axis=0)
    for place in range(12):
        good = np.stack([patch(shots, photo, place)[channels] * scale for photo in range(count)]).astype(float)
        mean = good.mean(axis=0)
        covariance = sum(np.outer(one - mean, one - mean) for one in good) / count * (1 - 1 / count)
        covariance = covariance + around.T @ around / len(around) / count + ridge * np.eye(width)
        for photo in range(2):
            off = patch(TESTS, photo, place)[channels] * scale - mean
            expected = math.sqrt(off @ np.linalg.solve(covariance, off))
            assert grid[photo].ravel()[place] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_array_equal(image, grid.max(axis=(1, 2)))


def test_fastrecon_minimises_its_formula() -> None:
    """Solve it as one ordinary least-squares problem, in which both terms are stacked."""
    weight, share = 2.0, 0.2
    rows = np.stack([averaged(SHOTS, *one) for one in every(SHOTS)])
    support = rows[coreset(rows, math.ceil(share * len(rows)), 12)].astype(float)
    _, grid = statistics.fit_fastrecon(SHOTS, share, weight)(TESTS)
    for photo in range(2):
        for place in range(12):
            query = averaged(TESTS, photo, place)
            mean = np.mean([averaged(SHOTS, shot, place) for shot in range(3)], axis=0)
            system = np.concatenate([support.T, math.sqrt(weight) * support.T])
            wanted = np.concatenate([query, math.sqrt(weight) * mean])
            weights = np.linalg.lstsq(system, wanted, rcond=None)[0]
            assert grid[photo].ravel()[place] == pytest.approx(np.linalg.norm(query - weights @ support), abs=1e-4)


@pytest.mark.parametrize(
    "fit", [statistics.fit_patchcore, statistics.fit_spade, statistics.fit_padim, statistics.fit_fastrecon]
)
def test_shots_score_less_than_others(fit: statistics.Fit) -> None:
    score = fit(SHOTS)
    (image, grid), (_, other) = score(SHOTS), score(TESTS)
    assert grid.mean() < other.mean()
    assert image.dtype == grid.dtype == np.float32
    assert (image.shape, grid.shape) == ((3,), (3, *GRID))
    assert (grid >= 0).all()
