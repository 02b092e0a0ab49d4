"""Methods that know good parts by the statistics of their patches alone: PatchCore, SPADE, PaDiM, FastRecon.

They were published on the features of ImageNet's CNNs; here all work on the encoder's memory taps, so that rows differ
in the method alone. Numbers of the papers are therefore not what to expect of them.

A patch is its taps side by side, each l2-normalised: [B,P,W], W the sum of their widths. Every `fit_*` takes the k
photos' features and returns what scores others: Features of B views → image scores [B] and patch scores [B,h,w], both
at least 0, higher is more anomalous.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.runtime.recipe.memory import coreset

Score = Callable[[Features], tuple[Floats, Floats]]
Fit = Callable[[Features], Score]

PATCHCORE_SHARE, PATCHCORE_NEIGHBOURS = 0.25, 9
"""Of the patches that are kept; how many rows the re-weighting looks at (b)."""
SPADE_NEIGHBOURS = 1
"""κ: nearest patches that are averaged over."""
PADIM_WIDTH, PADIM_RIDGE = 100, 0.01
"""Channels that are drawn; ε."""
FASTRECON_SHARE, FASTRECON_WEIGHT = 0.1, 2.0
"""Of the patches that support the reconstruction (1 % as published, of finer grids); λ."""


def patches(features: Features) -> Floats:
    """[B,P,W]."""
    return np.concatenate(features.memory, axis=-1)


def neighbourhoods(features: Features) -> Floats:
    """Patches averaged over the 3×3 places around each that there are: [B,P,W] (PatchCore §3.1, FastRecon)."""
    (h, w), whole = features.grid, patches(features)
    grid = np.pad(whole.reshape(len(whole), h, w, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    there = np.pad(np.ones((h, w, 1), np.float32), ((1, 1), (1, 1), (0, 0)))
    places = [(slice(y, y + h), slice(x, x + w)) for y in range(3) for x in range(3)]
    total = sum(grid[:, rows, columns] for rows, columns in places)
    count = sum(there[rows, columns] for rows, columns in places)
    return np.asarray(total / count, np.float32).reshape(whole.shape)


def distances(queries: Floats, rows: Floats) -> Floats:
    """Euclidean: [n,W] and [R,W] → [n,R]."""
    squares = np.einsum("nw,nw->n", queries, queries)[:, None] + np.einsum("rw,rw->r", rows, rows)
    return np.asarray(np.sqrt(np.maximum(squares - 2.0 * (queries @ rows.T), 0.0)), np.float32)


def fit_patchcore(shots: Features, share: float = PATCHCORE_SHARE, neighbours: int = PATCHCORE_NEIGHBOURS) -> Score:
    """PatchCore (Roth et al., CVPR 2022): distance to the nearest of a coreset of neighbourhoods.

    The image score is the largest distance s*, of the patch m to its nearest row m*, times
    1 − exp s* / Σ exp‖m − r‖ over the b rows r nearest to m*, itself among them (eq. 7): less where even the rows
    around m* are as far, as is usual in a sparse part of the memory.
    """
    rows = neighbourhoods(shots).reshape(-1, sum(part.shape[-1] for part in shots.memory))
    memory = rows[coreset(rows, math.ceil(share * len(rows)), shots.memory[0].shape[1])]

    def score(features: Features) -> tuple[Floats, Floats]:
        images, grids = [], []
        for queries in neighbourhoods(features):
            apart = distances(queries, memory)
            nearest = apart.min(axis=1)
            worst = int(nearest.argmax())
            around = np.argsort(distances(memory[[apart[worst].argmin()]], memory)[0], kind="stable")[:neighbours]
            weight = 1.0 - 1.0 / np.exp(apart[worst, around] - nearest[worst]).sum()
            images.append(weight * nearest[worst])
            grids.append(nearest.reshape(features.grid))
        return np.array(images, np.float32), np.stack(grids)

    return score


def fit_spade(shots: Features, neighbours: int = SPADE_NEIGHBOURS) -> Score:
    """SPADE (Cohen & Hoshen, arXiv 2005.02357): mean squared distances to nearest neighbours.

    Of the global feature to the 50 nearest photos, which in few-shot are all there are; of a patch to the κ nearest
    patches of those photos, wherever they lie.
    """
    rows = patches(shots).reshape(-1, sum(part.shape[-1] for part in shots.memory))
    kept = min(neighbours, len(rows))

    def score(features: Features) -> tuple[Floats, Floats]:
        image = (distances(features.global_, shots.global_) ** 2).mean(axis=1)
        grids = []
        for queries in patches(features):
            apart = distances(queries, rows) ** 2
            nearest = np.partition(apart, kept - 1, axis=1)[:, :kept]
            grids.append(nearest.mean(axis=1).reshape(features.grid))
        return image, np.stack(grids)

    return score


def fit_padim(shots: Features, width: int = PADIM_WIDTH, ridge: float = PADIM_RIDGE, seed: int = 0) -> Score:
    """PaDiM (Defard et al., ICPR 2020): Mahalanobis distance to a Gaussian at each place; the image's is the largest.

    As published: channels drawn at random, ε on the diagonal; channels are scaled to a mean square of 1, to which ε
    belongs. A covariance of k photos has rank k − 1, so it is drawn towards that of all patches of all places
    (ours): Σ = (1 − 1/k) S_place + 1/k S_all + εI, which one photo gives as well, and many as published.
    """
    wide = sum(part.shape[-1] for part in shots.memory)
    channels = np.sort(np.random.default_rng(seed).permutation(wide)[:width])
    scale = math.sqrt(wide / len(shots.memory))

    def select(features: Features) -> npt.NDArray[np.float64]:
        return patches(features)[..., channels].astype(np.float64) * scale

    good = select(shots)
    count = len(good)
    mean = good.mean(axis=0)
    around = np.swapaxes(good - mean, 0, 1)  # [P,k,d]
    here = np.swapaxes(around, 1, 2) @ around / count
    everywhere = np.cov(good.reshape(-1, len(channels)), rowvar=False, bias=True).reshape(here.shape[1:])
    covariance = (1.0 - 1.0 / count) * here + everywhere / count + ridge * np.eye(len(channels))
    precision = np.linalg.inv(covariance)

    def score(features: Features) -> tuple[Floats, Floats]:
        off = np.swapaxes(select(features) - mean, 0, 1)  # [P,B,d]
        squares = np.einsum("pbd,pbd->bp", off @ precision, off)
        grid = np.sqrt(np.maximum(squares, 0.0)).astype(np.float32).reshape(-1, *features.grid)
        return grid.max(axis=(1, 2)), grid

    return score


def fit_fastrecon(shots: Features, share: float = FASTRECON_SHARE, weight: float = FASTRECON_WEIGHT) -> Score:
    """FastRecon (Fang et al., ICCV 2023): how far patches are from what good ones can reconstruct.

    With the support S, a coreset of neighbourhoods, and M the mean of the good ones at each place, the query's patches
    Q are reconstructed as W S, where W minimises ‖Q − W S‖² + λ‖W S − M‖². In closed form W S = (Q + λM) Π / (1 + λ), Π
    the projection onto the span of S's rows. A patch scores its distance from that, the image the largest.
    """
    good = neighbourhoods(shots)
    rows = good.reshape(-1, good.shape[-1])
    support = rows[coreset(rows, math.ceil(share * len(rows)), good.shape[1])].astype(np.float64)
    _, strength, directions = np.linalg.svd(support, full_matrices=False)
    span = directions[strength > 1e-6 * strength[0]]
    mean = good.mean(axis=0)

    def score(features: Features) -> tuple[Floats, Floats]:
        queries = neighbourhoods(features)
        rebuilt = (queries + weight * mean) / (1.0 + weight) @ span.T @ span
        grid = np.linalg.norm(queries - rebuilt, axis=-1).astype(np.float32).reshape(-1, *features.grid)
        return grid.max(axis=(1, 2)), grid

    return score
