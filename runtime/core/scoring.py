"""Scoring: from features to scores. Every faster version must agree with this readable definition.

Equation numbers are those of PromptAD (CVPR 2024). Shapes: B views, P patches on an h×w grid, D width of the joint
space, W_m width and R_m rows of memory m. All features and bank rows are l2-normalised, float32.
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
"""How both branches become one score: as published ("paper"), by the residual margin, or from one branch only. With
"subspace" the memory's distance is the one to the subspace of the remembered patches, which only Python computes.
"""

ImageMaximum = Literal["grid", "map", "top"]
"""How the memory's image score is computed: as the maximum of the grid, as the maximum of the map before smoothing (as
in PromptAD's released code), or as the mean of the grid's largest hundredth ("top"), which only the memory branch has.
"""

TOP_PART = 100
""""top" averages over one patch in this many, and at least over one, as AnomalyDINO and SubspaceAD do."""

MAP_SIZE = 400
"""The side of the anomaly map in pixels, as published."""
MAP_SIGMA = 4.0
"""The standard deviation of the map's Gaussian, in pixels of the map."""

SMALLEST_SCORE = 1e-30
"""In logarithms, smaller scores are replaced by this one."""

RESIDUAL_WEIGHT = 0.04
"""How much the logarithm of a patch's distance grows per unit of the residual margin's log odds.

Log odds are a cosine margin times the scale at which the training of a backbone ended (14 for `small`, 100 for CLIP).
The weight was chosen on drawn parts, painted parts and solar cells (docs/accuracy.md).
"""

EXPLAINED = 0.99
"""The share of the variance of remembered patches that their subspace explains: SubspaceAD's default."""

_ROWS_AT_ONCE = 4096  # bank rows in a matrix product, which bounds the memory that large banks need


@dataclass(frozen=True, eq=False)
class Features:
    """The encoder's outputs for B views. Every vector is l2-normalised, float32.

    Attributes:
        global_: The features of whole views in the joint space, [B,D].
        local: The features of patches in the joint space, [B,P,D].
        memory: The features of patches at each memory tap, [B,P,W_m] each.
        grid: (h, w), with h·w = P.
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
    """The part of a recipe that scoring needs.

    Attributes:
        image_prompts: The normal and the anomalous prototype for whole views, [2,D].
        pixel_prompts: The normal and the anomalous prototype for patches, [2,D].
        banks: The remembered patches of each memory, [R_m,W_m] each.
        temperature: The multiplier of cosines.
        image_maximum: How the memory's image score is computed from the patches' scores.
        shot_of_row: For each bank the shot that each row came from, [R_m]. Leave-one-out needs it. A search with a
            recall below 1 uses it if it is there.
        fusion: How the branches become one score.
        margins: For each bank the pixel prompts' margin (prompt_margins) of the patch that each row came from, [R_m],
            float32. Only the residual fusion needs it.
        residual_weight: The weight of the residual margin in the logarithm of a score, 0 or more.
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
        """The subspaces of the banks, fitted at the first access."""
        return tuple(map(fit_subspace, self.banks))


@dataclass(frozen=True, eq=False)
class Subspace:
    """A subspace of remembered patches (SubspaceAD), float32.

    Attributes:
        mean: The mean of the patches, [W].
        components: Orthonormal directions, [W,k].
    """

    mean: Floats
    components: Floats


@dataclass(frozen=True, eq=False)
class Branches:
    """The scores of B views before fusion. Higher is more anomalous.

    Attributes:
        image_prompt: The prompts' score of each view, [B], 0 to 1.
        image_memory: The memory's score of each view, [B], 0 to 1, computed as Learned.image_maximum tells.
        grid_prompt: The prompts' score of each patch, [B,h,w], 0 to 1.
        grid_memory: The memory's score of each patch, [B,h,w], 0 to 1.
        grid_residual: The residual margin of each patch, [B,h,w], −4 to 4: the patch's prompt margin minus the mean
            margin of its nearest remembered patches, one of each bank. It is 0 without margins.
    """

    image_prompt: Floats
    image_memory: Floats
    grid_prompt: Floats
    grid_memory: Floats
    grid_residual: Floats


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of B views after fusion: 0 to 1/2 for the paper fusion, 0 or more for residual, 0 to 1 for one branch.

    Attributes:
        image: The score of each view, [B].
        grid: The score of each patch, [B,h,w].
        branches: The scores before fusion.
    """

    image: Floats
    grid: Floats
    branches: Branches


def score(features: Features, learned: Learned) -> Scores:
    """Score a batch of views.

    Args:
        features: The features of B views.
        learned: The product.

    Returns:
        The scores of the views.
    """
    return combine(score_branches(features, learned), learned)


def score_branches(features: Features, learned: Learned) -> Branches:
    """Score a batch of views with both branches, before fusion.

    Args:
        features: The features of B views.
        learned: The product.

    Returns:
        The scores of both branches, for views and patches.
    """
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
    """Score the prompts, and join them with what was found in the memory.

    Args:
        features: The features of B views.
        learned: The product.
        similarities: For each bank the cosine of each patch with its nearest row, [B·P] values.
        margins: For each bank the margin of the nearest row, [B·P] values; empty without margins.

    Returns:
        The scores of both branches, for views and patches.
    """
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
    """Combine the branches by the fusion and the weight of a product.

    Args:
        branches: The scores of both branches.
        learned: The product.

    Returns:
        The scores after fusion.
    """
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
    """Return the mean of the largest hundredth of each view's patch scores, and of at least one: [B].

    Args:
        grid: The patches' scores, [B,h,w].
    """
    scores = np.sort(grid.reshape(len(grid), -1), axis=1)
    count = max(1, scores.shape[1] // TOP_PART)
    return np.asarray(scores[:, -count:].mean(axis=1), np.float32)


def weigh(memory: Floats, residual: Floats, weight: float) -> Floats:
    """Return memory · exp(weight · residual): the prompts raise or lower the memory's score.

    Unlike in `fuse`, neither of the two scores bounds the result.

    Args:
        memory: The memory's scores, of any shape.
        residual: The residual margins, of the same shape.
        weight: The weight of the residual margin, 0 or more.
    """
    return np.asarray(memory * np.exp(np.float32(weight) * residual), np.float32)


def prompt_scores(features: Floats, prototypes: Floats, temperature: float) -> Floats:
    """Return the probability of the anomalous prototype (eq. 16): [...], 0 to 1.

    Args:
        features: Features of the joint space, [...,D].
        prototypes: The normal and the anomalous prototype, [2,D].
        temperature: The multiplier of cosines.
    """
    margin = temperature * prompt_margins(features, prototypes)
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margin, -80.0, 80.0))), np.float32)


def prompt_margins(features: Floats, prototypes: Floats) -> Floats:
    """Return by how much the anomalous prototype's cosine exceeds the normal one's: [...].

    Args:
        features: Features of the joint space, [...,D].
        prototypes: The normal and the anomalous prototype, [2,D].
    """
    return np.asarray(features @ (prototypes[1] - prototypes[0]), np.float32)


def memory_scores(memory: tuple[Floats, ...], banks: tuple[Floats, ...]) -> Floats:
    """Return the distance to the nearest remembered patch (eq. 8), averaged over the banks: [B,P], 0 to 1.

    Args:
        memory: The features of patches at each memory tap, [B,P,W_m] each.
        banks: The remembered patches of each memory, [R_m,W_m] each.
    """
    return mean_distance([nearest(queries, bank)[0] for queries, bank in zip(memory, banks, strict=True)])


def mean_distance(similarities: Sequence[Floats]) -> Floats:
    """Convert cosines to distances, and average these over the banks.

    Args:
        similarities: One array of cosines for each bank, all of one shape.

    Returns:
        The mean of (1 − cosine)/2 over the banks, of the same shape, 0 to 1.
    """
    distances = [(1.0 - similarity) / 2.0 for similarity in similarities]
    return np.asarray(np.clip(np.mean(distances, axis=0), 0.0, 1.0), np.float32)


def nearest(queries: Floats, bank: Floats) -> tuple[Floats, Rows]:
    """Return each query's largest cosine with a bank's rows, and the first row that has it: [...] each.

    Args:
        queries: The queries, [...,W].
        bank: The bank's rows, [R,W].
    """
    flat = queries.reshape(-1, queries.shape[-1])
    best, rows = np.full(len(flat), -np.inf, np.float32), np.zeros(len(flat), np.intp)
    for start in range(0, len(bank), _ROWS_AT_ONCE):
        similarity = flat @ bank[start : start + _ROWS_AT_ONCE].T
        row = similarity.argmax(axis=1)
        largest = np.take_along_axis(similarity, row[:, None], axis=1)[:, 0]
        is_better = ~(largest <= best)  # NaN counts as larger than any number
        best[is_better], rows[is_better] = largest[is_better], start + row[is_better]
    return best.reshape(queries.shape[:-1]), rows.reshape(queries.shape[:-1])


def fit_subspace(rows: Floats) -> Subspace:
    """Fit the mean of rows, and as many principal components as explain EXPLAINED of their variance.

    Args:
        rows: The rows of a bank, [R,W].

    Returns:
        The subspace.
    """
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    variances, directions = np.linalg.eigh(centred.T @ centred)
    shares = np.cumsum(variances[::-1]) / max(float(variances.sum()), SMALLEST_SCORE)
    count = int(np.searchsorted(shares, EXPLAINED)) + 1
    return Subspace(mean.astype(np.float32), np.ascontiguousarray(directions[:, ::-1][:, :count], np.float32))


def subspace_similarity(queries: Floats, subspace: Subspace) -> Floats:
    """Return 1 − r²/2 for the distance r of each query from a subspace: [...], −1 to 1.

    mean_distance turns this into r²/4. `nearest` is analogous: its cosine with a row at distance d is 1 − d²/2.

    Args:
        queries: Unit vectors, [...,W].
        subspace: The subspace that `fit_subspace` fitted.
    """
    centred = queries - subspace.mean
    residual = centred - (centred @ subspace.components) @ subspace.components.T
    return np.asarray(1.0 - np.square(residual).sum(axis=-1) / 2.0, np.float32)


def fuse(a: Floats, b: Floats) -> Floats:
    """Return a·b/(a+b), half the harmonic mean (eqs. 17, 18). It is 0 if a and b are 0; NaN stays NaN.

    Args:
        a: Scores, 0 or more.
        b: Scores of the same shape, 0 or more.
    """
    total = a + b
    fused: Floats = np.divide(a * b, total, out=np.zeros_like(total), where=total != 0)
    return fused


def upsample(grids: Floats, size: int) -> Floats:
    """Resize grids bilinearly without smoothing (torch's align_corners=False).

    Args:
        grids: The grids, [B,h,w].
        size: The side of the result, in pixels.

    Returns:
        The resized grids, [B,size,size].
    """
    rows, columns = (map_matrix(side, 1, 0.0, size, 0.0) for side in grids.shape[1:])
    return np.asarray(rows @ grids @ columns.T, np.float32)


def anomaly_map(grid: Floats, size: int = MAP_SIZE, sigma: float = MAP_SIGMA) -> Floats:
    """Resize a grid bilinearly, then smooth it with a Gaussian.

    Both steps are linear and separable, so two small matrix products do them. View.stitch is the general case.

    Args:
        grid: The patches' scores, [h,w].
        size: The side of the map, in pixels.
        sigma: The Gaussian's standard deviation, in pixels of the map.

    Returns:
        The map, [size,size].
    """
    rows, columns = (map_matrix(side, 1, 0.0, size, sigma) for side in grid.shape)
    return np.asarray(rows @ grid @ columns.T, np.float32)


@functools.lru_cache(maxsize=64)
def map_matrix(
    cells: int, tiles: int, overlap: float, size: int, sigma: float, start: float = 0.0, stop: float = 1.0
) -> Floats:
    """Return the matrix that turns the cells of a row of tiles into a smoothed map, along one axis: [size,tiles·cells].

    Each tile is up-sampled to the part of the axis that it covers. Where neighbours overlap, the weight of each rises
    linearly from its edge.

    Args:
        cells: The number of cells of a tile along the axis.
        tiles: The number of tiles along the axis.
        overlap: The share of a tile's side that it has in common with its neighbour, 0 to 0.5.
        size: The length of the map, in pixels.
        sigma: The Gaussian's standard deviation, in pixels of the map; 0 does not smooth.
        start: The position at which the frame begins in a tile, 0 to 1. It is above 0 if a letterbox pads the tile.
        stop: The position at which the frame ends in a tile, 0 to 1.
    """
    length = 1.0 / (tiles - (tiles - 1) * overlap)
    place = (np.arange(size) + 0.5) / size
    inside = np.stack([(place - tile * length * (1.0 - overlap)) / length for tile in range(tiles)])  # 0 to 1 in a tile
    weight = np.where((inside >= 0) & (inside <= 1), np.minimum(inside, 1.0 - inside) + 1e-6, 0.0)
    weight /= weight.sum(axis=0)
    parts = [
        share[:, None] * bilinear_matrix(cells, start + at * (stop - start))
        for share, at in zip(weight, inside, strict=True)
    ]
    matrix: Floats = gaussian_matrix(size, sigma) @ np.concatenate(parts, axis=1).astype(np.float32)
    return matrix


def bilinear_matrix(cells: int, place: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the matrix, [N,cells], that interpolates cells linearly at N places. Beyond the end cells it is constant.

    Args:
        cells: The number of cells along the axis.
        place: The places, [N], 0 to 1.
    """
    position = np.clip(place * cells - 0.5, 0, cells - 1)
    return np.asarray(np.maximum(1.0 - np.abs(position[:, None] - np.arange(cells)[None, :]), 0.0))


@functools.lru_cache(maxsize=8)
def gaussian_matrix(size: int, sigma: float) -> Floats:
    """Return the matrix of a Gaussian filter, [size,size]: cut at 4σ, with mirrored borders.

    It equals scipy's gaussian_filter1d with the mode "reflect".

    Args:
        size: The length of the axis, in pixels.
        sigma: The standard deviation, in pixels; 0 gives the identity.
    """
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
