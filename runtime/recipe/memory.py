"""The memory of good patches: which rows are kept, and what the shots themselves say about it."""

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
ShotOfRow = npt.NDArray[np.int32]

POSES = 8
"""The ways in which a square can be turned by quarters and mirrored."""

PROJECTED = 128
"""Width in which a coreset is chosen (Johnson-Lindenstrauss; PatchCore does so too)."""


@dataclass(frozen=True, eq=False)
class Memory:
    """banks float16 [R_m,W_m]; shot_of_row int32 [R_m], the shot that each row came from; margins float32 [R_m], of its
    patch (scoring.Learned); the calibration on the shots; the scene that they show."""

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
    """Remember the patches of the shots (eq. 8's banks), or a share of them, and calibrate on them.

    features, shots: per_photo views of each photo; prompts stay as they are. poses: remember every view turned and
    mirrored too. The calibration scores each shot as it is, against all poses of the others.
    """
    photos = len(shots) // per_photo
    poses_of_shots = list(encode_poses(features, shots, encode, poses))

    def by_photo(of_poses: list[npt.NDArray[np.float32]]) -> Floats:
        """Return the rows [photos,n,…] of each photo, pose after pose."""
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
    # Calibrated with what is stored, not with what was rounded away.
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
    """Yield the features of views uint8 [B,S,S,3] and, where poses are remembered, of their seven other poses."""
    yield features
    for pose in range(1, POSES if poses else 1):
        mirrored = views if pose < 4 else views[:, :, ::-1]
        yield encode(np.ascontiguousarray(np.rot90(mirrored, pose % 4, axes=(1, 2))))


def scene_of_shots(shots: Array8, per_photo: int, good: Sequence[Branches]) -> Scene:
    """Learn the scene that the shots show.

    Args:
        shots: their views, uint8 [k·per_photo,S,S,3].
        per_photo: how many views each has.
        good: what each shot scores against the memory of the others; of a single shot, what its copies score, which a
            scene passes over.
    """
    photos = [shots[start : start + per_photo] for start in range(0, len(shots), per_photo)]
    return learn_scene([
        measure_scene(views, branches.grid_memory) for views, branches in zip(photos, good, strict=False)
    ])  # fmt: skip


def coreset(rows: Floats, keep: int, per_photo: int, seed: int = 0) -> npt.NDArray[np.intp]:
    """Return rising indices of `keep` rows that leave no row far from all of them: greedy k-center, farthest first.

    It starts from the first row of every photo, per_photo rows each, so that no photo goes without. At most
    len(rows) and at least one row a photo are kept.
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
