"""Methods that know good parts only by the statistics of their patches.

They are PatchCore, SPADE, PaDiM, FastRecon and AnomalyDINO.

They were published on the features of ImageNet's CNNs. Here all work on the encoder's memory taps, so that only the
method differs between rows; the papers' numbers are therefore not to be expected of them.

A patch is its taps side by side, each l2-normalised: [B,P,W], W the sum of their widths. Every `fit_*` takes the k
photos' features and returns a function that scores other photos; image scores and patch scores are at least 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.scoring import Features, Floats, mean_of_top, nearest
from goodparts.runtime.recipe.memory import coreset

from .method import FittedMethod, Method, Score, TrainingData

Fit = Callable[[Features], Score]

PATCHCORE_SHARE, PATCHCORE_NEIGHBOURS = 0.25, 9
"""The share of patches that are kept, and the number of rows that the re-weighting looks at (b)."""
SPADE_NEIGHBOURS = 1
"""κ: the number of nearest patches that are averaged over."""
PADIM_WIDTH, PADIM_RIDGE = 100, 0.01
"""The number of channels that are drawn, and ε."""
FASTRECON_SHARE, FASTRECON_WEIGHT = 0.1, 2.0
"""The share of patches that support the reconstruction (1 % as published, of finer grids), and λ."""


def patch_statistics(title: str, fit: Fit) -> Method:
    """Return the row of patch statistics on the encoder's memory taps."""

    def fit_taps(data: TrainingData) -> FittedMethod:
        return FittedMethod(fit(data.features))

    return Method(title, fit_taps)


def patches(features: Features) -> Floats:
    """Return the taps side by side, [B,P,W]."""
    return np.concatenate(features.memory, axis=-1)


def neighbourhoods(features: Features) -> Floats:
    """Average each patch with its neighbours in the 3×3 places around it: [B,P,W] (PatchCore §3.1, FastRecon)."""
    (h, w), single = features.grid, patches(features)
    padded = np.pad(single.reshape(len(single), h, w, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    is_patch = np.pad(np.ones((h, w, 1), np.float32), ((1, 1), (1, 1), (0, 0)))
    shifts = [(slice(y, y + h), slice(x, x + w)) for y in range(3) for x in range(3)]
    total = sum(padded[:, rows, columns] for rows, columns in shifts)
    count = sum(is_patch[rows, columns] for rows, columns in shifts)
    return np.asarray(total / count, np.float32).reshape(single.shape)


def distances(queries: Floats, rows: Floats) -> Floats:
    """Return the Euclidean distances of queries [n,W] from rows [R,W]: [n,R]."""
    squares = np.einsum("nw,nw->n", queries, queries)[:, None] + np.einsum("rw,rw->r", rows, rows)
    return np.asarray(np.sqrt(np.maximum(squares - 2.0 * (queries @ rows.T), 0.0)), np.float32)


def fit_patchcore(shots: Features, share: float = PATCHCORE_SHARE, neighbours: int = PATCHCORE_NEIGHBOURS) -> Score:
    """Fit PatchCore (Roth et al., CVPR 2022): a patch scores its distance to the nearest row of a coreset.

    The image score is the largest distance s*, of the patch m to its nearest row m*, times
    1 − exp s* / Σ exp‖m − r‖ over the b rows r nearest to m*, which include m* (eq. 7). It is smaller where even the
    rows around m* are as far, as is usual in a sparse part of the memory.
    """
    rows = neighbourhoods(shots).reshape(-1, sum(part.shape[-1] for part in shots.memory))
    memory = rows[coreset(rows, math.ceil(share * len(rows)), shots.memory[0].shape[1])]

    def score(features: Features) -> tuple[Floats, Floats]:
        images, grids = [], []
        for queries in neighbourhoods(features):
            to_rows = distances(queries, memory)
            nearest = to_rows.min(axis=1)
            worst = int(nearest.argmax())
            nearest_row = memory[[to_rows[worst].argmin()]]
            around = np.argsort(distances(nearest_row, memory)[0], kind="stable")[:neighbours]
            weight = 1.0 - 1.0 / np.exp(to_rows[worst, around] - nearest[worst]).sum()
            images.append(weight * nearest[worst])
            grids.append(nearest.reshape(features.grid))
        return np.array(images, np.float32), np.stack(grids)

    return score


def fit_anomalydino(shots: Features) -> Score:
    """Fit AnomalyDINO (Damm et al., WACV 2025): a patch scores 1 − the cosine of the nearest patch of the shots.

    The image scores the mean of the largest hundredth of all patch scores, at least of one. Shots are neither turned
    nor masked.
    """
    rows = _unit(patches(shots)).reshape(-1, sum(part.shape[-1] for part in shots.memory))

    def score(features: Features) -> tuple[Floats, Floats]:
        grid = np.stack([1.0 - nearest(queries, rows)[0] for queries in _unit(patches(features))])
        grid = np.asarray(grid, np.float32).reshape(-1, *features.grid)
        return mean_of_top(grid), grid

    return score


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def fit_spade(shots: Features, neighbours: int = SPADE_NEIGHBOURS) -> Score:
    """Fit SPADE (Cohen & Hoshen, arXiv 2005.02357): scores are mean squared distances to nearest neighbours.

    The image score is that of the global feature to the 50 nearest photos, which are all photos in few-shot. A patch
    score is that to the κ nearest patches of those photos, wherever they lie.
    """
    rows = patches(shots).reshape(-1, sum(part.shape[-1] for part in shots.memory))
    kept = min(neighbours, len(rows))

    def score(features: Features) -> tuple[Floats, Floats]:
        image = (distances(features.global_, shots.global_) ** 2).mean(axis=1)
        grids = []
        for queries in patches(features):
            squares = distances(queries, rows) ** 2
            nearest = np.partition(squares, kept - 1, axis=1)[:, :kept]
            grids.append(nearest.mean(axis=1).reshape(features.grid))
        return image, np.stack(grids)

    return score


def fit_padim(shots: Features, width: int = PADIM_WIDTH, ridge: float = PADIM_RIDGE, seed: int = 0) -> Score:
    """Fit PaDiM (Defard et al., ICPR 2020): a patch scores its Mahalanobis distance to a Gaussian at its place.

    The image scores the largest distance. As published, channels are drawn at random, and ε is added on the diagonal;
    channels are scaled to a mean square of 1, for which ε is meant. A covariance of k photos has rank k − 1. Here it
    is therefore shrunk towards the covariance of all patches of all places: Σ = (1 − 1/k) S_place + 1/k S_all + εI,
    which exists for one photo too, and for many photos is the published one.
    """
    total_width = sum(part.shape[-1] for part in shots.memory)
    channels = np.sort(np.random.default_rng(seed).permutation(total_width)[:width])
    scale = math.sqrt(total_width / len(shots.memory))

    def select(features: Features) -> npt.NDArray[np.float64]:
        return patches(features)[..., channels].astype(np.float64) * scale

    good = select(shots)
    count = len(good)
    mean = good.mean(axis=0)
    deviations = np.swapaxes(good - mean, 0, 1)  # [P,k,d]
    of_place = np.swapaxes(deviations, 1, 2) @ deviations / count
    of_all = np.cov(good.reshape(-1, len(channels)), rowvar=False, bias=True).reshape(of_place.shape[1:])
    covariance = (1.0 - 1.0 / count) * of_place + of_all / count + ridge * np.eye(len(channels))
    precision = np.linalg.inv(covariance)

    def score(features: Features) -> tuple[Floats, Floats]:
        deviations = np.swapaxes(select(features) - mean, 0, 1)  # [P,B,d]
        squares = np.einsum("pbd,pbd->bp", deviations @ precision, deviations)
        grid = np.sqrt(np.maximum(squares, 0.0)).astype(np.float32).reshape(-1, *features.grid)
        return grid.max(axis=(1, 2)), grid

    return score


def fit_fastrecon(shots: Features, share: float = FASTRECON_SHARE, weight: float = FASTRECON_WEIGHT) -> Score:
    """Fit FastRecon (Fang et al., ICCV 2023): a patch scores its distance from its reconstruction by good patches.

    With the support S, a coreset of neighbourhoods, and M the mean of the good ones at each place, the query's patches
    Q are reconstructed as W S, where W minimises ‖Q − W S‖² + λ‖W S − M‖². In closed form W S = (Q + λM) Π / (1 + λ),
    where Π is the projection onto the span of S's rows. The image scores the largest distance.
    """
    good = neighbourhoods(shots)
    rows = good.reshape(-1, good.shape[-1])
    support = rows[coreset(rows, math.ceil(share * len(rows)), good.shape[1])].astype(np.float64)
    _, singular_values, directions = np.linalg.svd(support, full_matrices=False)
    span = directions[singular_values > 1e-6 * singular_values[0]]
    mean = good.mean(axis=0)

    def score(features: Features) -> tuple[Floats, Floats]:
        queries = neighbourhoods(features)
        rebuilt = (queries + weight * mean) / (1.0 + weight) @ span.T @ span
        grid = np.linalg.norm(queries - rebuilt, axis=-1).astype(np.float32).reshape(-1, *features.grid)
        return grid.max(axis=(1, 2)), grid

    return score
