"""AnomalyDINO and SubspaceAD against recorded numbers of their released code, with equal weights and pictures.

The record was made by goodparts/benchmarks/peers/released_patch_methods.py with dammsi/AnomalyDINO b3435f0,
facebookresearch/dinov2 b8931f7 and CLendering/SubspaceAD 2ca687e.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from goodparts.benchmarks.peers.released_patch_methods import draw_pictures, encode, open_network
from goodparts.evaluation.methods.patch_statistics import fit_anomalydino
from goodparts.runtime.core.scoring import Features, Learned, fit_subspace, score

RECORD = Path(__file__).parents[2] / "data" / "released_patch_methods.npz"
TOLERANCE = 1e-4
"""Scores of both lie between 0 and 2. When they were recorded, another order of fp32 sums made a difference of 7e-7."""


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    with np.load(RECORD) as file:
        return dict(file)


@pytest.fixture(scope="module")
def features() -> tuple[Features, Features]:
    backbone = open_network()
    shots, tests = (encode(backbone, pictures) for pictures in draw_pictures())
    return shots, tests


def learn(shots: Features, fusion: Any) -> Learned:
    nothing = np.zeros((2, shots.global_.shape[1]), np.float32)
    banks = tuple(rows.reshape(-1, rows.shape[-1]) for rows in shots.memory)
    return Learned(nothing, nothing, banks, 1.0, "grid", fusion=fusion)


def test_anomalydino_scores_photos_and_patches_as_released(
    features: tuple[Features, Features], record: dict[str, Any]
) -> None:
    shots, tests = features
    image, grid = fit_anomalydino(shots)(tests)
    np.testing.assert_allclose(grid, record["anomalydino_maps"], atol=TOLERANCE)
    np.testing.assert_allclose(image, record["anomalydino_scores"], atol=TOLERANCE)
    # A memory's distance is half of 1 − cosine; it is what an engine and a recipe score.
    np.testing.assert_allclose(
        2 * score(tests, learn(shots, "memory")).grid, record["anomalydino_maps"], atol=TOLERANCE
    )
    assert np.ptp(record["anomalydino_maps"]) > 100 * TOLERANCE


def test_subspacead_scores_patches_as_released(features: tuple[Features, Features], record: dict[str, Any]) -> None:
    shots, tests = features
    assert fit_subspace(shots.memory[0].reshape(-1, 384)).components.shape[1] == record["subspacead_components"]
    # Our score is a quarter of the squared distance, so that it lies between 0 and 1.
    seen = 4 * score(tests, learn(shots, "subspace")).grid
    np.testing.assert_allclose(seen, record["subspacead_maps"], atol=TOLERANCE)
    assert np.ptp(record["subspacead_maps"]) > 5 * TOLERANCE
