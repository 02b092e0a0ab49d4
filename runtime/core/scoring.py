"""From features to scores: the readable definition that every faster version must agree with.

Equation numbers are those of PromptAD (CVPR 2024). B views, P patches on an h×w grid, D joint width,
W_m width and R_m rows of memory m. All features and bank rows are l2-normalised float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Combination = Literal["fused", "prompt", "memory"]

MAP_SIZE = 400
"""Side of the anomaly map in pixels, as published."""
MAP_SIGMA = 4.0
"""Standard deviation of the map's Gaussian, in pixels of MAP_SIZE."""

SMALLEST_SCORE = 1e-30
"""Scores below it count as this in logarithms."""

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
        """The features of some of the views."""
        return Features(
            self.global_[views], self.local[views], tuple(memory[views] for memory in self.memory), self.grid
        )


class Scales(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What good parts typically score on each branch: geometric means over them, and over their patches."""

    image_prompt: float
    image_memory: float
    grid_prompt: float
    grid_memory: float


UNIT_SCALES = Scales(1.0, 1.0, 1.0, 1.0)
"""Leave raw scores as they are."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What scoring needs of a recipe.

    image_prompts, pixel_prompts: [2,D], the normal and the anomalous prototype. banks: one [R_m,W_m] per
    memory. temperature: the multiplier t of the cosine. image_maximum: where the memory map's maximum is
    taken for the image score: of the "grid", or of the un-smoothed 400×400 "map" (official, D14). scales: each
    branch is divided by its own before the fusion (balanced); None fuses raw scores (paper). shot_of_row: [R_m] per
    bank, the shot that each row came from; only leaving one out asks for it. combination: what the scores are made of.
    """

    image_prompts: Floats
    pixel_prompts: Floats
    banks: tuple[Floats, ...]
    temperature: float
    image_maximum: Literal["grid", "map"]
    scales: Scales | None = None
    shot_of_row: tuple[npt.NDArray[np.int32], ...] = ()
    combination: Combination = "fused"


@dataclass(frozen=True, eq=False)
class Branches:
    """Raw scores of B views, each in [0,1], higher is more anomalous."""

    image_prompt: Floats  # [B]
    image_memory: Floats  # [B]      the memory map's maximum
    grid_prompt: Floats  # [B,h,w]
    grid_memory: Floats  # [B,h,w]


@dataclass(frozen=True, eq=False)
class Scores:
    """What the branches say together: in [0,1/2] for paper fusion, 1/2 for a typical good part with balanced; of one
    branch alone in [0,1]."""

    image: Floats  # [B]
    grid: Floats  # [B,h,w]
    branches: Branches


def score(features: Features, learned: Learned) -> Scores:
    """All scores of a batch of views."""
    return combine(score_branches(features, learned), learned.scales, learned.combination)


def score_branches(features: Features, learned: Learned) -> Branches:
    """Both branches at both levels."""
    return with_prompts(features, learned, memory_scores(features.memory, learned.banks))


def with_prompts(features: Features, learned: Learned, memory: Floats) -> Branches:
    """Both branches, the memory's given: [B,P]."""
    grid_shape = (-1, *features.grid)
    grid_memory = memory.reshape(grid_shape)
    where = upsample(grid_memory, MAP_SIZE) if learned.image_maximum == "map" else grid_memory
    return Branches(
        image_prompt=prompt_scores(features.global_, learned.image_prompts, learned.temperature),
        image_memory=where.max(axis=(1, 2)),
        grid_prompt=prompt_scores(features.local, learned.pixel_prompts, learned.temperature).reshape(grid_shape),
        grid_memory=grid_memory,
    )


def combine(branches: Branches, scales: Scales | None, combination: Combination = "fused") -> Scores:
    """What the branches say together; fused, each is divided by its scale where there are scales."""
    image, grid = COMBINATIONS[combination](branches, scales or UNIT_SCALES)
    return Scores(image, grid, branches)


def _fused(branches: Branches, unit: Scales) -> tuple[Floats, Floats]:
    return (
        fuse(
            branches.image_prompt / np.float32(unit.image_prompt), branches.image_memory / np.float32(unit.image_memory)
        ),
        fuse(branches.grid_prompt / np.float32(unit.grid_prompt), branches.grid_memory / np.float32(unit.grid_memory)),
    )


COMBINATIONS: Mapping[Combination, Callable[[Branches, Scales], tuple[Floats, Floats]]] = {
    "fused": _fused,
    "prompt": lambda branches, _: (branches.image_prompt, branches.grid_prompt),
    "memory": lambda branches, _: (branches.image_memory, branches.grid_memory),
}
"""How a method makes image [B] and patch scores [B,h,w] of its branches: of both (eqs. 17, 18), or of one alone."""


def measure_scales(good: Sequence[Branches]) -> Scales:
    """The scales of good parts that the memory has not seen."""

    def typical(name: str) -> float:
        values = np.concatenate([getattr(part, name).ravel() for part in good]).astype(np.float64)
        return float(np.exp(np.log(np.maximum(values, SMALLEST_SCORE)).mean()))

    return Scales(**{name: typical(name) for name in Scales.__struct_fields__})


def prompt_scores(features: Floats, prototypes: Floats, temperature: float) -> Floats:
    """Probability of the anomalous prototype (eq. 16): features [...,D], prototypes [2,D] → [...] in [0,1]."""
    margin = temperature * (features @ (prototypes[1] - prototypes[0]))
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(margin, -80.0, 80.0))), np.float32)


def memory_scores(memory: tuple[Floats, ...], banks: tuple[Floats, ...]) -> Floats:
    """Distance to the nearest remembered patch (eq. 8), mean over the banks: [B,P,W_m] each → [B,P] in [0,1]."""
    return mean_distance([nearest(queries, bank) for queries, bank in zip(memory, banks, strict=True)])


def mean_distance(similarities: Sequence[Floats]) -> Floats:
    """Mean over the banks of the distances that cosines stand for, in [0,1]."""
    distances = [(1.0 - similarity) / 2.0 for similarity in similarities]
    return np.asarray(np.clip(np.mean(distances, axis=0), 0.0, 1.0), np.float32)


def nearest(queries: Floats, bank: Floats) -> Floats:
    """Largest cosine of each query against a bank: [...,W] and [R,W] → [...]."""
    flat = queries.reshape(-1, queries.shape[-1])
    best = np.full(len(flat), -1.0, np.float32)
    for start in range(0, len(bank), _ROWS_AT_ONCE):
        similarity = flat @ bank[start : start + _ROWS_AT_ONCE].T
        np.maximum(best, similarity.max(axis=1), out=best)
    return best.reshape(queries.shape[:-1])


def fuse(a: Floats, b: Floats) -> Floats:
    """a·b/(a+b), the harmonic mean without its factor 2 (eqs. 17, 18); f(0,0) = 0. Not negative; NaN stays NaN."""
    total = a + b
    fused: Floats = np.divide(a * b, total, out=np.zeros_like(total), where=total != 0)
    return fused


def upsample(grids: Floats, size: int) -> Floats:
    """Bilinear, un-smoothed: [B,h,w] → [B,size,size] (torch's align_corners=False)."""
    rows, columns = (map_matrix(side, 1, 0.0, size, 0.0) for side in grids.shape[1:])
    return np.asarray(rows @ grids @ columns.T, np.float32)


def anomaly_map(grid: Floats, size: int = MAP_SIZE, sigma: float = MAP_SIGMA) -> Floats:
    """Bilinear up-sampling, then a Gaussian: [h,w] → [size,size].

    Both are linear and separable, so the whole is two small matrix products (View.stitch is the general case).
    """
    rows, columns = (map_matrix(side, 1, 0.0, size, sigma) for side in grid.shape)
    return np.asarray(rows @ grid @ columns.T, np.float32)


@functools.lru_cache(maxsize=64)
def map_matrix(
    cells: int, tiles: int, overlap: float, size: int, sigma: float, start: float = 0.0, stop: float = 1.0
) -> Floats:
    """[size,tiles·cells]: from the cells of a row of tiles to a smoothed map, along one axis.

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
    """[N,cells]: linear interpolation of `cells` cells at N places in [0,1], the ends held."""
    position = np.clip(place * cells - 0.5, 0, cells - 1)
    return np.asarray(np.maximum(1.0 - np.abs(position[:, None] - np.arange(cells)[None, :]), 0.0))


@functools.lru_cache(maxsize=8)
def gaussian_matrix(size: int, sigma: float) -> Floats:
    """[size,size]: Gaussian cut at 4σ with mirrored borders (scipy's gaussian_filter1d, mode "reflect")."""
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
