"""Methods that describe good parts by the statistics of their patches.

They are PatchCore, SPADE, PaDiM, FastRecon and AnomalyDINO. They were published on the features of ImageNet's CNNs.
Here all of them use the encoder's memory taps, so that only the method differs between rows. Their scores therefore
differ from the papers' numbers.

A patch is the concatenation of its l2-normalised taps: [B,P,W], where W is the sum of the taps' widths. Every `fit_*`
takes the k photos' features and returns a function that scores other photos. Image scores and patch scores are at least
0.
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
"""Takes the features of the k photos, and returns the function that scores other photos."""

PATCHCORE_SHARE, PATCHCORE_NEIGHBOURS = 0.25, 9
"""The share of patches that are kept, and b, the number of rows that the re-weighting uses."""
SPADE_NEIGHBOURS = 1
"""κ: the number of nearest patches over which a distance is averaged."""
PADIM_WIDTH, PADIM_RIDGE = 100, 0.01
"""The number of channels that are drawn at random, and ε."""
FASTRECON_SHARE, FASTRECON_WEIGHT = 0.1, 2.0
"""The share of patches that support the reconstruction, and λ. The paper keeps 1 % of the patches, on finer grids."""


def patch_statistics(title: str, fit: Fit) -> Method:
    """Return the row of a method of patch statistics on the encoder's memory taps.

    Args:
        title: The row's title for readers.
        fit: Fits the method to the photos' features.
    """

    def fit_taps(data: TrainingData) -> FittedMethod:
        return FittedMethod(fit(data.features))

    return Method(title, fit_taps)


def patches(features: Features) -> Floats:
    """Return the concatenated taps, [B,P,W].

    Args:
        features: The photos' features.
    """
    return np.concatenate(features.memory, axis=-1)


def neighbourhoods(features: Features) -> Floats:
    """Average each patch with its neighbours in the 3×3 places around it (PatchCore §3.1, FastRecon).

    Args:
        features: The photos' features.

    Returns:
        The averages, float32 [B,P,W]. Places beyond the border do not count.
    """
    (h, w), single = features.grid, patches(features)
    padded = np.pad(single.reshape(len(single), h, w, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    is_patch = np.pad(np.ones((h, w, 1), np.float32), ((1, 1), (1, 1), (0, 0)))
    shifts = [(slice(y, y + h), slice(x, x + w)) for y in range(3) for x in range(3)]
    total = sum(padded[:, rows, columns] for rows, columns in shifts)
    count = sum(is_patch[rows, columns] for rows, columns in shifts)
    return np.asarray(total / count, np.float32).reshape(single.shape)


def distances(queries: Floats, rows: Floats) -> Floats:
    """Return Euclidean distances, float32 [n,R].

    Args:
        queries: Vectors [n,W].
        rows: Vectors [R,W].
    """
    squares = np.einsum("nw,nw->n", queries, queries)[:, None] + np.einsum("rw,rw->r", rows, rows)
    return np.asarray(np.sqrt(np.maximum(squares - 2.0 * (queries @ rows.T), 0.0)), np.float32)


def fit_patchcore(shots: Features, share: float = PATCHCORE_SHARE, neighbours: int = PATCHCORE_NEIGHBOURS) -> Score:
    """Fit PatchCore (Roth et al., CVPR 2022): a patch's score is its distance to the nearest row of a coreset.

    The image score is the largest distance s*, of the patch m to its nearest row m*, times 1 − exp s* / Σ exp‖m − r‖
    over the b rows r nearest to m*, which include m* (eq. 7). This factor is smallest, 1 − 1/b, if all these rows are
    as near to m as m* is. It grows if they are farther, as in a sparse part of the memory.

    Args:
        shots: The features of the k photos.
        share: The share of patches that the coreset keeps, above 0 and up to 1.
        neighbours: The number b of rows.

    Returns:
        The function that scores other photos.
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
    """Fit AnomalyDINO (Damm et al., WACV 2025): a patch's score is 1 − its cosine with the nearest patch of the shots.

    The image score is the mean of the largest hundredth of all patch scores, at least of one score. Shots are neither
    rotated nor masked.

    Args:
        shots: The features of the k photos.

    Returns:
        The function that scores other photos.
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

    The image score is the distance of the global feature to the 50 nearest photos. With few shots, these are all
    photos. A patch score is the distance to the κ nearest patches of these photos, at any place.

    Args:
        shots: The features of the k photos.
        neighbours: The number κ of patches.

    Returns:
        The function that scores other photos.
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
    """Fit PaDiM (Defard et al., ICPR 2020): a patch's score is its Mahalanobis distance to a Gaussian at its place.

    The image score is the largest distance. As published, channels are drawn at random, and ε is added on the diagonal.
    Channels are scaled to a mean square of 1, for which ε is meant. A covariance of k photos has rank k − 1. Here it is
    therefore shrunk towards the covariance of all patches of all places: Σ = (1 − 1/k) S_place + 1/k S_all + εI. This
    Σ is invertible even for one photo, and approaches the published covariance for many photos.

    Args:
        shots: The features of the k photos.
        width: The number of channels that are drawn; all if there are fewer.
        ridge: ε, which is added on the diagonal of each covariance, above 0.
        seed: The seed of the draw.

    Returns:
        The function that scores other photos.
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
    """Fit FastRecon (Fang et al., ICCV 2023): a patch's score is its distance to its reconstruction by good patches.

    S, the support, is a coreset of the good photos' neighbourhoods, and M is their mean at each place. The query's
    patches Q are reconstructed as W S, where W minimises ‖Q − W S‖² + λ‖W S − M‖². In closed form W S = (Q + λM) Π / (1
    + λ), where Π is the projection onto the span of S's rows. The image score is the largest distance.

    Args:
        shots: The features of the k photos.
        share: The share of patches that the support keeps, above 0 and up to 1.
        weight: λ, the weight of the distance from the mean, 0 or more.

    Returns:
        The function that scores other photos.
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
