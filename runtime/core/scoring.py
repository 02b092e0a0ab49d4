"""From features to scores: the readable definition that every faster version must agree with.

Equation numbers are those of PromptAD (CVPR 2024). B views, P patches on an h×w grid, D joint width,
W_m width and R_m rows of memory m. All features and bank rows are l2-normalised float32.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]
Fusion = Literal["paper", "residual", "prompt", "memory", "subspace"]
"""How both branches become one score: as published, by the residual margin, or one branch only. With "subspace" the
memory's distance is that from the subspace of the remembered patches, which only Python's runtime computes."""

ImageMaximum = Literal["grid", "map", "top"]
"""What the memory's image score is: the maximum of the grid, the maximum of the map before smoothing (as in PromptAD's
released code), or the mean of the grid's largest hundredth, which only scores of the memory have."""

TOP_PART = 100
""""top" averages over one patch in this many, at least over one, as AnomalyDINO and SubspaceAD do."""

MAP_SIZE = 400
"""Side of the anomaly map in pixels, as published."""
MAP_SIGMA = 4.0
"""Standard deviation of the map's Gaussian, in pixels of MAP_SIZE."""

SMALLEST_SCORE = 1e-30
"""Scores below it count as this in logarithms."""

RESIDUAL_WEIGHT = 0.04
"""What one unit of a residual margin's log odds adds to the logarithm of a patch's distance.

Log odds are a cosine margin times the scale that a backbone's training ended with (14 for `small`, 100 for CLIP). The
weight was chosen on drawn and painted parts and on solar cells (docs/accuracy.md).
"""

EXPLAINED = 0.99
"""The share of the variance of remembered patches that their subspace explains, SubspaceAD's default."""

_ROWS_AT_ONCE = 4096  # bank rows per matrix product: keeps the similarity block small for large banks


@dataclass(frozen=True, eq=False)
class Features:
    """What the encoder says about B views; every vector l2-normalised, float32.

    global_: [B,D]; local: [B,P,D]; memory: one [B,P,W_m] per memory tap; grid: (h, w) with h·w = P.
    """

    global_: Floats
    local: Floats
    memory: tuple[Floats, ...]
    grid: tuple[int, int]

    def __getitem__(self, views: slice | npt.NDArray[np.intp]) -> Features:
        """Return the features of some of the views."""
        return Features(
            self.global_[views], self.local[views], tuple(memory[views] for memory in self.memory), self.grid
        )


@dataclass(frozen=True, eq=False)
class Learned:
    """What scoring needs of a recipe.

    image_prompts, pixel_prompts: [2,D], the normal and the anomalous prototype. banks: one [R_m,W_m] per memory.
    temperature: the multiplier t of the cosine. image_maximum: where the memory's image score is taken. shot_of_row:
    [R_m] per bank, the shot that each row came from; only leaving one out asks for it. fusion: what the scores are made
    of. margins: [R_m] per bank, float32, the pixel prompts' margin (prompt_margins) of the patch that each row came
    from; only the residual fusion asks for it. residual_weight: of the residual margin in the logarithm of a score, 0
    or more.
    """

    image_prompts: Floats
    pixel_prompts: Floats
    banks: tuple[Floats, ...]
    temperature: float
    image_maximum: ImageMaximum
    shot_of_row: tuple[npt.NDArray[np.int32], ...] = ()
    fusion: Fusion = "paper"
    margins: tuple[Floats, ...] = ()
    residual_weight: float = 0.0

    @functools.cached_property
    def subspaces(self) -> tuple[Subspace, ...]:
        """The subspaces of the banks, fitted when they are first asked for."""
        return tuple(map(fit_subspace, self.banks))


@dataclass(frozen=True, eq=False)
class Subspace:
    """Mean [W] and orthonormal components [W,k] of remembered patches, float32 (SubspaceAD)."""

    mean: Floats
    components: Floats


@dataclass(frozen=True, eq=False)
class Branches:
    """Raw scores of B views, each in [0,1], higher is more anomalous; and the residual margin, a difference of cosines.

    That is a patch's prompt margin minus the mean margin of its nearest remembered patches, one of each bank. Without
    margins it is 0.
    """

    image_prompt: Floats  # [B]
    image_memory: Floats  # [B]      as Learned.image_maximum takes it
    grid_prompt: Floats  # [B,h,w]
    grid_memory: Floats  # [B,h,w]
    grid_residual: Floats  # [B,h,w], in [-4,4]


@dataclass(frozen=True, eq=False)
class Scores:
    """What the branches say together: in [0,1/2] for paper fusion, 0 or more for residual, in [0,1] of one branch."""

    image: Floats  # [B]
    grid: Floats  # [B,h,w]
    branches: Branches


def score(features: Features, learned: Learned) -> Scores:
    """Score a batch of views."""
    return combine(score_branches(features, learned), learned)


def score_branches(features: Features, learned: Learned) -> Branches:
    """Score both branches at both levels."""
    if learned.fusion == "subspace":
        distances = zip(features.memory, learned.subspaces, strict=True)
        return with_prompts(features, learned, [subspace_similarity(*pair) for pair in distances], ())
    found = [nearest(queries, bank) for queries, bank in zip(features.memory, learned.banks, strict=True)]
    margins = [
        np.where(np.isnan(similarity), similarity, margins[rows])
        for margins, (similarity, rows) in zip(learned.margins, found, strict=bool(learned.margins))
    ]
    return with_prompts(features, learned, [similarity for similarity, _ in found], margins)


def with_prompts(
    features: Features, learned: Learned, similarities: Sequence[Floats], margins: Sequence[Floats]
) -> Branches:
    """Score both branches from the nearest rows' cosines and margins, [B·P] values of each per bank."""
    grid_shape = (-1, *features.grid)
    grid_memory = mean_distance(similarities).reshape(grid_shape)
    residual = np.zeros_like(grid_memory)
    if margins:
        remembered = np.mean(margins, axis=0, dtype=np.float32).reshape(grid_shape)
        residual = prompt_margins(features.local, learned.pixel_prompts).reshape(grid_shape) - remembered
    where = upsample(grid_memory, MAP_SIZE) if learned.image_maximum == "map" else grid_memory
    image_memory = where.max(axis=(1, 2)) if learned.image_maximum != "top" else mean_of_top(grid_memory)
    return Branches(
        image_prompt=prompt_scores(features.global_, learned.image_prompts, learned.temperature),
        image_memory=image_memory,
        grid_prompt=prompt_scores(features.local, learned.pixel_prompts, learned.temperature).reshape(grid_shape),
        grid_memory=grid_memory,
        grid_residual=residual,
    )


def combine(branches: Branches, learned: Learned) -> Scores:
    """Combine the branches by the fusion and the weight of `learned`."""
    match learned.fusion:
        case "paper":
            image = fuse(branches.image_prompt, branches.image_memory)
            grid = fuse(branches.grid_prompt, branches.grid_memory)
        case "residual":
            grid = weigh(branches.grid_memory, branches.grid_residual, learned.residual_weight)
            image = grid.max(axis=(1, 2))
        case "prompt":
            image, grid = branches.image_prompt, branches.grid_prompt
        case "memory" | "subspace":
            image, grid = branches.image_memory, branches.grid_memory
    return Scores(image, grid, branches)


def mean_of_top(grid: Floats) -> Floats:
    """Return the mean of the largest hundredth of each view's patch scores [B,h,w], at least of one: [B]."""
    scores = np.sort(grid.reshape(len(grid), -1), axis=1)
    count = max(1, scores.shape[1] // TOP_PART)
    return np.asarray(scores[:, -count:].mean(axis=1), np.float32)


def weigh(memory: Floats, residual: Floats, weight: float) -> Floats:
    """Return memory · exp(weight · residual): prompts raise or lower a distance, and neither bounds the score."""
    return np.asarray(memory * np.exp(np.float32(weight) * residual), np.float32)


def prompt_scores(features: Floats, prototypes: Floats, temperature: float) -> Floats:
    """Return the anomalous prototype's probability (eq. 16): features [...,D], prototypes [2,D] → [...] in [0,1]."""
    margin = temperature * prompt_margins(features, prototypes)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margin, -80.0, 80.0))), np.float32)


def prompt_margins(features: Floats, prototypes: Floats) -> Floats:
    """Return by how much the anomalous prototype's cosine exceeds the normal one's: [...,D], [2,D] → [...]."""
    return np.asarray(features @ (prototypes[1] - prototypes[0]), np.float32)


def memory_scores(memory: tuple[Floats, ...], banks: tuple[Floats, ...]) -> Floats:
    """Return the distance to the nearest remembered patch (eq. 8), averaged over banks: [B,P,W_m] each → [B,P]."""
    return mean_distance([nearest(queries, bank)[0] for queries, bank in zip(memory, banks, strict=True)])


def mean_distance(similarities: Sequence[Floats]) -> Floats:
    """Average over the banks the distances, in [0,1], that cosines stand for."""
    distances = [(1.0 - similarity) / 2.0 for similarity in similarities]
    return np.asarray(np.clip(np.mean(distances, axis=0), 0.0, 1.0), np.float32)


def nearest(queries: Floats, bank: Floats) -> tuple[Floats, Rows]:
    """Return each query's largest cosine with a bank and its first row: [...,W] and [R,W] → [...] each."""
    flat = queries.reshape(-1, queries.shape[-1])
    best, rows = np.full(len(flat), -np.inf, np.float32), np.zeros(len(flat), np.intp)
    for start in range(0, len(bank), _ROWS_AT_ONCE):
        similarity = flat @ bank[start : start + _ROWS_AT_ONCE].T
        row = similarity.argmax(axis=1)
        largest = np.take_along_axis(similarity, row[:, None], axis=1)[:, 0]
        is_better = ~(largest <= best)  # NaN is better than a number
        best[is_better], rows[is_better] = largest[is_better], start + row[is_better]
    return best.reshape(queries.shape[:-1]), rows.reshape(queries.shape[:-1])


def fit_subspace(rows: Floats) -> Subspace:
    """Fit the mean of rows [R,W], and as many principal components as explain EXPLAINED of their variance."""
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    variances, directions = np.linalg.eigh(centred.T @ centred)
    shares = np.cumsum(variances[::-1]) / max(float(variances.sum()), SMALLEST_SCORE)
    count = int(np.searchsorted(shares, EXPLAINED)) + 1
    return Subspace(mean.astype(np.float32), np.ascontiguousarray(directions[:, ::-1][:, :count], np.float32))


def subspace_similarity(queries: Floats, subspace: Subspace) -> Floats:
    """Return 1 − r²/2 of the distances r of unit vectors […,W] from a subspace: […], in [-1,1].

    mean_distance makes r²/4 of it, as nearest gives the cosine 1 − d²/2 of a row at the distance d.
    """
    centred = queries - subspace.mean
    residual = centred - (centred @ subspace.components) @ subspace.components.T
    return np.asarray(1.0 - np.square(residual).sum(axis=-1) / 2.0, np.float32)


def fuse(a: Floats, b: Floats) -> Floats:
    """Return a·b/(a+b), half the harmonic mean (eqs. 17, 18); f(0,0) = 0. Not negative; NaN stays NaN."""
    total = a + b
    fused: Floats = np.divide(a * b, total, out=np.zeros_like(total), where=total != 0)
    return fused


def upsample(grids: Floats, size: int) -> Floats:
    """Resize bilinearly without smoothing: [B,h,w] → [B,size,size] (torch's align_corners=False)."""
    rows, columns = (map_matrix(side, 1, 0.0, size, 0.0) for side in grids.shape[1:])
    return np.asarray(rows @ grids @ columns.T, np.float32)


def anomaly_map(grid: Floats, size: int = MAP_SIZE, sigma: float = MAP_SIGMA) -> Floats:
    """Resize bilinearly, then smooth by a Gaussian: [h,w] → [size,size].

    Both are linear and separable, so the whole is two small matrix products (View.stitch is the general case).
    """
    rows, columns = (map_matrix(side, 1, 0.0, size, sigma) for side in grid.shape)
    return np.asarray(rows @ grid @ columns.T, np.float32)


@functools.lru_cache(maxsize=64)
def map_matrix(
    cells: int, tiles: int, overlap: float, size: int, sigma: float, start: float = 0.0, stop: float = 1.0
) -> Floats:
    """Return [size,tiles·cells]: it takes the cells of a row of tiles to a smoothed map, along one axis.

    Each tile is up-sampled to the part of the axis it covers; where neighbours overlap, their weights rise
    linearly from their ends. Only [start,stop] ⊂ [0,1] of a tile's cells shows the frame (letterbox).
    """
    length = 1.0 / (tiles - (tiles - 1) * overlap)
    place = (np.arange(size) + 0.5) / size
    inside = np.stack([(place - tile * length * (1.0 - overlap)) / length for tile in range(tiles)])  # 0…1 in a tile
    weight = np.where((inside >= 0) & (inside <= 1), np.minimum(inside, 1.0 - inside) + 1e-6, 0.0)
    weight /= weight.sum(axis=0)
    parts = [
        share[:, None] * bilinear_matrix(cells, start + at * (stop - start))
        for share, at in zip(weight, inside, strict=True)
    ]
    matrix: Floats = gaussian_matrix(size, sigma) @ np.concatenate(parts, axis=1).astype(np.float32)
    return matrix


def bilinear_matrix(cells: int, place: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return [N,cells], which interpolates `cells` cells linearly at N places in [0,1] and holds the ends."""
    position = np.clip(place * cells - 0.5, 0, cells - 1)
    return np.asarray(np.maximum(1.0 - np.abs(position[:, None] - np.arange(cells)[None, :]), 0.0))


@functools.lru_cache(maxsize=8)
def gaussian_matrix(size: int, sigma: float) -> Floats:
    """Return [size,size]: a Gaussian cut at 4σ with mirrored borders (scipy's gaussian_filter1d, "reflect")."""
    if sigma <= 0:
        return np.eye(size, dtype=np.float32)
    radius = int(4.0 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    source = (np.arange(size)[:, None] + offsets[None, :]) % (2 * size)
    source = np.where(source < size, source, 2 * size - 1 - source)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), weights[None, :])
    return matrix.astype(np.float32)
