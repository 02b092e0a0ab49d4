"""New thresholds for a recipe: for another rate, on further good photos, or on parts that nobody has sorted.

The result is a proposal; nothing is written. Photos of bad parts are compared with good ones, and show which threshold
separates the two best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.errors import SettingsError
from ..core.files import printable, read_bytes
from ..core.image_files import find_images
from ..core.preprocess import Array8, decode
from .calibrate import Encode, Separation, calibrate_on, check_false_reject_rate, photo_scores, score_photos, separate
from .recipe import Recipe
from .settle import Settlement, check_parts, settle


@dataclass(frozen=True, eq=False)
class BadPhotos:
    """The scores of bad photos beside those of good ones.

    Attributes:
        good_scores: Raw image scores of good photos, [n].
        bad_scores: Raw image scores of bad photos, [m].
        rejected: How many good photos the recipe's threshold rejects.
        missed: How many bad photos it misses.
        proposal: The threshold that separates them best.
    """

    good_scores: npt.NDArray[np.float64]
    bad_scores: npt.NDArray[np.float64]
    rejected: int
    missed: int
    proposal: Separation


@dataclass(frozen=True, eq=False)
class Recalibration:
    """A recipe with its new thresholds, and the photos that they rest on.

    Attributes:
        before: The present recipe.
        recipe: The proposed recipe.
        settlement: The threshold that unlabelled parts propose; None without such parts.
        unlabelled: The files of the unlabelled parts, in the settlement's order.
        bad_photos: The scores of bad photos; None without such photos.
    """

    before: Recipe
    recipe: Recipe
    settlement: Settlement | None = None
    unlabelled: Sequence[Path] = ()
    bad_photos: BadPhotos | None = None

    @property
    def good_scores(self) -> npt.NDArray[np.float64]:
        """The raw image scores of the photos that the calibration rests on, [n]."""
        return np.array(self.recipe.header.calibration.image.scores, np.float64)

    @property
    def missed_more(self) -> int:
        """How many more of the bad photos the proposed threshold misses than the present one."""
        if self.bad_photos is None:
            return 0
        today = int((self.bad_photos.bad_scores < self.before.header.thresholds.image).sum())
        return max(0, self.bad_photos.missed - today)

    @property
    def changes(self) -> bool:
        """Whether the proposed recipe differs from the present one."""
        return self.recipe is not self.before


def recalibrate(
    recipe: Recipe,
    encode: Encode,
    good: Sequence[Path],
    bad: Sequence[Path],
    false_reject_rate: float,
    unlabelled: Sequence[Path] = (),
) -> Recalibration:
    """Propose new thresholds for a recipe.

    Without photos of good or unlabelled parts and without another rate, a threshold that was set by hand stays.

    Args:
        recipe: The recipe. It is not changed.
        encode: Encodes views with the graph that the recipe was made for.
        good: Further photos of good parts, or folders of them. None of them may be a shot of the recipe.
        bad: Photos of bad parts, or folders of them. They do not change the thresholds.
        false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.
        unlabelled: Photos of parts, most of them good, or folders of such photos. The recipe's own shots among them
            are skipped.

    Returns:
        The recipe with its new thresholds, and the scores that they rest on.

    Raises:
        SettingsError: The rate is out of range, a good or bad photo is a shot of the recipe, there are too few
            unlabelled parts, or both good and unlabelled parts are given.
        FileError, ImageError: A photo cannot be found or read.
    """
    check_false_reject_rate(false_reject_rate)
    if good and unlabelled:
        raise SettingsError("--good and --unlabelled: a threshold rests on one of them; give only one")
    before, learned, settlement = recipe, recipe.learned(), None
    files: list[Path] = []
    calibration = recipe.header.calibration
    if good:
        calibration = calibrate_on(learned, _load_views(recipe, good), encode)
    if unlabelled:
        settlement, files = _settle(recipe, encode, unlabelled, false_reject_rate)
        calibration = settlement.calibration
    if good or unlabelled or false_reject_rate != recipe.header.false_reject_rate:
        recipe = recipe.recalibrate(calibration, false_reject_rate)
    if not bad:
        return Recalibration(before, recipe, settlement, files)
    bad_scores = photo_scores(score_photos(learned, _load_views(recipe, bad), encode))[0].astype(np.float64)
    good_scores = np.array(calibration.image.scores, np.float64)
    threshold = recipe.header.thresholds.image
    if calibration.source == "unlabelled parts":  # those beyond the threshold may be bad parts
        good_scores = good_scores[good_scores < threshold]
    rejected, missed = int((good_scores >= threshold).sum()), int((bad_scores < threshold).sum())
    comparison = BadPhotos(good_scores, bad_scores, rejected, missed, separate(good_scores, bad_scores, threshold))
    return Recalibration(before, recipe, settlement, files, comparison)


def _settle(
    recipe: Recipe, encode: Encode, unlabelled: Sequence[Path], false_reject_rate: float
) -> tuple[Settlement, list[Path]]:
    """Return what unlabelled parts propose, and their files. Only one photo is in memory at a time."""
    learned, files, image, pixel, shots = recipe.learned(), [], [], [], 0
    for path, views, shot in _read_views(recipe, unlabelled):
        if shot is not None:
            shots += 1
        else:
            found = photo_scores(score_photos(learned, [views], encode))
            files.append(path)
            image.append(found[0])
            pixel.append(found[1])
    check_parts(len(files), shots)
    calibration = settle(np.concatenate(image), np.concatenate(pixel), false_reject_rate)
    names = [printable(path) for path in files]
    return Settlement(calibration, names, false_reject_rate, recipe.header.thresholds.image), files


def _load_views(recipe: Recipe, paths: Sequence[Path]) -> list[Array8]:
    """Return the views of each photo; refuse a shot of the recipe, which would score near 0."""
    loaded = []
    for path, views, shot in _read_views(recipe, paths):
        if shot is not None:
            raise SettingsError(f"{printable(path)} is the shot {shot} that the recipe was learned from: leave it out")
        loaded.append(views)
    return loaded


def _read_views(recipe: Recipe, paths: Sequence[Path]) -> Iterator[tuple[Path, Array8, str | None]]:
    """Yield each photo's file, its views [tiles,S,S,3], and the name of the recipe's shot if it is one."""
    shots = {shot.sha256: shot.name for shot in recipe.header.shots}
    size, view = recipe.header.encoder.image_size, recipe.header.view
    for path in find_images(paths):
        data = read_bytes(path)
        frame = decode(data, printable(path))
        view.check(frame.shape[0], frame.shape[1], printable(path))
        yield path, view.cut(frame, size), shots.get(hashlib.sha256(data).hexdigest())
