"""The photos that a product is learned from: their choice, and their views for the encoder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import RecipeError, SettingsError
from ..core.files import printable, read_bytes
from ..core.image_files import find_images
from ..core.preprocess import Array8, decode
from ..core.view import View
from .header import Shot
from .recipe import Recipe

log = logging.getLogger(__name__)

MAX_SHOTS = 64
"""The most photos to learn from. With more, the memory would outgrow what the runtime is built for."""


@dataclass(frozen=True, eq=False)
class Shots:
    """The k photos of a product.

    Attributes:
        manifest: The name and the digest of each photo's file.
        views: The side S of a view in pixels → the views of all photos in their order, [k·tiles,S,S,3], uint8, RGB.
    """

    manifest: list[Shot]
    views: Mapping[int, Array8]


def choose_shots(folders: Sequence[Path], count: int | None) -> list[Path]:
    """Return the photos to learn from: the first `count` of those found, or all of them.

    Args:
        folders: Photos and folders of photos. A folder is searched at every depth, and its photos are sorted by path.
        count: How many photos to learn from, 1 to MAX_SHOTS; None takes all.

    Raises:
        SettingsError: No path is given; there are fewer photos than asked for, or more than MAX_SHOTS; or a folder has
            a subfolder of good parts, so that its other photos may be of bad ones.
        FileError: A folder or photo does not exist, or a folder holds no photo.
    """
    photos = find_images(folders)
    if not photos:
        raise SettingsError("no photo to learn from: give a photo of a good part, or a folder of them")
    for folder in folders:
        for pattern in ("[Gg][Oo][Oo][Dd]", "train/good"):
            if good := next((place for place in folder.glob(pattern) if place.is_dir()), None):
                raise SettingsError(
                    f"{printable(folder)} has a folder {printable(good.relative_to(folder))}: give {printable(good)}, "
                    "so that no bad part is learned"
                )
    if count is None and len(photos) > MAX_SHOTS:
        raise SettingsError(f"{len(photos)} photos: learn from up to {MAX_SHOTS}, for example with --shots 16")
    if count is not None and not 1 <= count <= min(len(photos), MAX_SHOTS):
        raise SettingsError(
            f"--shots {count}: there are {len(photos)} photos; 1 to {min(len(photos), MAX_SHOTS)} can be used"
        )
    return photos[:count]


def load_shots(paths: Sequence[Path], view: View, sides: Sequence[int]) -> Shots:
    """Read each photo once and cut its views at every side length.

    Args:
        paths: The files of the photos.
        view: Which part of a photo is inspected, and in how many tiles.
        sides: The side lengths of the views in pixels, the encoder's own first.

    Returns:
        The photos.

    Raises:
        SettingsError: Two photos look the same to the encoder, even if their files differ: the second would teach
            nothing and falsify the calibration. Or the view does not fit a photo.
        FileError, ImageError: A photo cannot be read.
    """
    manifest: list[Shot] = []
    views: dict[int, list[Array8]] = {side: [] for side in sides}
    path_of: dict[bytes, Path] = {}
    of_size: dict[tuple[int, int], Path] = {}
    for path in paths:
        data = read_bytes(path)
        frame = decode(data, printable(path))
        view.check(frame.shape[0], frame.shape[1], printable(path))
        of_size.setdefault((frame.shape[1], frame.shape[0]), path)
        for side in sides:
            views[side].append(view.cut(frame, side))
        twin = path_of.setdefault(views[sides[0]][-1].tobytes(), path)
        if twin is not path:
            raise SettingsError(f"{printable(path)} is the same photo as {printable(twin)}: remove one of them")
        manifest.append(Shot(printable(Path(path.name)), hashlib.sha256(data).hexdigest()))
    if len(of_size) > 1:
        sizes = [f"{width}×{height} ({printable(path)})" for (width, height), path in of_size.items()]
        log.warning(
            "the photos differ in size: %s and %s; learn from photos of one camera, as large as those to be inspected",
            *sizes[:2],
        )
    return Shots(manifest, {side: np.concatenate(cuts) for side, cuts in views.items()})


def stored_shots(recipe: Recipe, sides: Sequence[int]) -> Shots:
    """Return the photos that a recipe holds, the accepted ones too.

    Args:
        recipe: The recipe, which must hold its shots.
        sides: The side lengths of the views in pixels that are needed.

    Raises:
        RecipeError: The recipe holds no photos.
        SettingsError: The recipe's views have another side, or several sides are needed.
    """
    if recipe.shots is None:
        raise RecipeError("the recipe holds no shots to learn from: give the photos with --images")
    side = recipe.header.encoder.image_size
    if list(sides) != [side]:
        needed = " and ".join(map(str, sides))
        raise SettingsError(
            f"the recipe holds its photos at {side} pixels, {needed} are needed here: give the photos with --images"
        )
    return Shots(list(recipe.header.shots), {side: recipe.shots})
