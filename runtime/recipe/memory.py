"""The memory of good patches: which rows are kept, and how it is calibrated on its own shots."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.preprocess import Array8
from ..core.scene import Scene, learn_scene, measure_scene
from ..core.scoring import Branches, Features, Floats, Learned, prompt_margins
from .calibrate import Calibration, Encode, calibrate, score_shots

Halves = npt.NDArray[np.float16]
"""Rows of a bank, [R,W]."""
ShotOfRow = npt.NDArray[np.int32]
"""The index of the shot that each row of a bank came from, [R]."""

POSES = 8
"""The number of ways to turn a square by quarters and to mirror it."""

PROJECTED = 128
"""The width to which rows are projected before a coreset is chosen (Johnson-Lindenstrauss; PatchCore does so too)."""


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory of a product.

    Attributes:
        banks: The rows of each tap, [R_m,W_m], float16.
        shot_of_row: The shot that each row of a bank came from, [R_m], int32.
        margins: The prompt margin of the patch that each row came from (scoring.Learned), [R_m], float32.
        calibration: The calibration on the shots.
        scene: The scene that the shots show.
    """

    banks: tuple[Halves, ...]
    shot_of_row: tuple[ShotOfRow, ...]
    margins: tuple[Floats, ...]
    calibration: Calibration
    scene: Scene


def fit_memory(
    learned: Learned,
    features: Features,
    shots: Array8,
    per_photo: int,
    encode: Encode,
    *,
    share: float = 1.0,
    poses: bool = False,
) -> Memory:
    """Return the memory of the shots' patches, or of a share of them (PromptAD, eq. 8), calibrated on the shots.

    The calibration scores each shot, in its own pose, against all poses of the others.

    Args:
        learned: The product. Its prompts are not changed, and its memory is not read.
        features: The features of the shots' views.
        shots: The views, [k·per_photo,S,S,3], uint8, RGB.
        per_photo: The number of views of each shot.
        encode: Encodes views.
        share: The share of the patches to keep, above 0 and up to 1; `coreset` chooses them.
        poses: Whether to remember every view turned and mirrored too.
    """
    photos = len(shots) // per_photo
    poses_of_shots = list(encode_poses(features, shots, encode, poses))

    def by_photo(of_poses: list[npt.NDArray[np.float32]]) -> Floats:
        """Return the rows of each photo, pose after pose, [photos,n,…]."""
        return np.concatenate([rows.reshape(photos, -1, *rows.shape[2:]) for rows in of_poses], axis=1)

    patch_margins = by_photo([prompt_margins(pose.local, learned.pixel_prompts) for pose in poses_of_shots]).ravel()
    banks, shot_of_row, margins = [], [], []
    for of_poses in zip(*(pose.memory for pose in poses_of_shots), strict=True):
        remembered = by_photo(list(of_poses))
        per_photo_rows = remembered.shape[1]
        rows = remembered.reshape(-1, remembered.shape[-1]).astype(np.float16)
        kept = coreset(rows.astype(np.float32), math.ceil(share * len(rows)), per_photo_rows)
        banks.append(rows[kept])
        shot_of_row.append((kept // per_photo_rows).astype(np.int32))
        margins.append(patch_margins[kept])
    # The calibration uses the banks as they are stored, rounded to float16.
    stored = dataclasses.replace(
        learned,
        banks=tuple(bank.astype(np.float32) for bank in banks),
        shot_of_row=tuple(shot_of_row),
        margins=tuple(margins),
    )
    good = score_shots(stored, features, shots, per_photo, encode)
    calibration = calibrate(good, stored, len(shots) == per_photo)
    scene = scene_of_shots(shots, per_photo, good)
    return Memory(tuple(banks), tuple(shot_of_row), tuple(margins), calibration, scene)


def encode_poses(features: Features, views: Array8, encode: Encode, poses: bool) -> Iterator[Features]:
    """Yield the features of views, and then, if poses are remembered, those of their seven other poses.

    Args:
        features: The features of the views in their own pose.
        views: The views, [B,S,S,3], uint8, RGB.
        encode: Encodes views.
        poses: Whether poses are remembered.
    """
    yield features
    for pose in range(1, POSES if poses else 1):
        mirrored = views if pose < 4 else views[:, :, ::-1]
        yield encode(np.ascontiguousarray(np.rot90(mirrored, pose % 4, axes=(1, 2))))


def scene_of_shots(shots: Array8, per_photo: int, good: Sequence[Branches]) -> Scene:
    """Return the scene that the shots show.

    Args:
        shots: Their views, [k·per_photo,S,S,3], uint8, RGB.
        per_photo: The number of views of each shot.
        good: The scores of each shot against the memory of the others. For a single shot these are the scores of its
            copies, which the scene does not use.
    """
    photos = [shots[start : start + per_photo] for start in range(0, len(shots), per_photo)]
    return learn_scene([
        measure_scene(views, branches.grid_memory) for views, branches in zip(photos, good, strict=False)
    ])  # fmt: skip


def coreset(rows: Floats, keep: int, per_photo: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """Return the indices, in ascending order, of rows selected so that no row is far from all selected ones.

    The choice is the greedy k-center, farthest row first. It starts from the first row of every photo, so that each
    photo keeps at least one row.

    Args:
        rows: The rows, [n,W].
        keep: The number of rows to keep; all rows if it is larger, and one of each photo if it is smaller.
        per_photo: The number of rows of each photo.
        seed: The seed of the random projection.
    """
    kept = list(range(0, len(rows), per_photo))
    if keep >= len(rows):
        return np.arange(len(rows))
    if rows.shape[1] > PROJECTED:
        random = np.random.default_rng(seed).standard_normal((rows.shape[1], PROJECTED)).astype(np.float32)
        rows = rows @ (random / np.float32(math.sqrt(PROJECTED)))
    squares = np.einsum("rw,rw->r", rows, rows)
    nearest = np.full(len(rows), np.inf, np.float32)
    for number in range(max(keep, len(kept))):
        if number == len(kept):
            kept.append(int(nearest.argmax()))
        at = kept[number]
        np.minimum(nearest, squares + squares[at] - 2.0 * (rows @ rows[at]), out=nearest)
        nearest[at] = -np.inf
    return np.sort(np.array(kept, np.intp))
