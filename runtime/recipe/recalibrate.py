"""New thresholds for a learned recipe: for another rate, on further good photos, or on parts that nobody has sorted.

Nothing is written here: what comes out is a proposal. Real bad photos say how they score beside good ones, and which
threshold tells the two apart best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import SettingsError
from ..core.files import printable, read_bytes
from ..core.image_files import find_images
from ..core.preprocess import Array8, decode
from ..core.scoring import Floats
from .calibrate import Encode, Separation, calibrate_on, photo_scores, score_photos, separate
from .recipe import Recipe
from .settle import Settlement, check_parts, settle


@dataclass(frozen=True, eq=False)
class BadPhotos:
    """How bad photos score beside good ones.

    good_scores, bad_scores: raw image scores, [n] and [m]; rejected: good photos that the recipe's threshold rejects;
    missed: bad photos that it lets pass; proposal: the threshold that separates them best.
    """

    good_scores: Floats
    bad_scores: Floats
    rejected: int
    missed: int
    proposal: Separation


@dataclass(frozen=True, eq=False)
class Recalibration:
    """The recipe with its new thresholds, and what led to them or speaks about them.

    before, recipe: the recipe as it was and as it is proposed; settlement: what unlabelled parts propose, None where
    there were none; unlabelled: their files, in its order; bad_photos: None where there were none.
    """

    before: Recipe
    recipe: Recipe
    settlement: Settlement | None = None
    unlabelled: Sequence[Path] = ()
    bad_photos: BadPhotos | None = None

    @property
    def good_scores(self) -> Floats:
        """Raw image scores of the photos that the calibration rests on, [n]."""
        return np.array(self.recipe.header.calibration.image.scores, np.float32)

    @property
    def missed_more(self) -> int:
        """How many more of the bad photos the proposed thresholds miss than today's."""
        if self.bad_photos is None:
            return 0
        today = int((self.bad_photos.bad_scores < self.before.header.thresholds.image).sum())
        return max(0, self.bad_photos.missed - today)

    @property
    def changes(self) -> bool:
        """Whether the recipe would be another one."""
        return self.recipe is not self.before


def recalibrate(
    recipe: Recipe,
    encode: Encode,
    good: Sequence[Path],
    bad: Sequence[Path],
    false_reject_rate: float,
    unlabelled: Sequence[Path] = (),
) -> Recalibration:
    """Place a recipe's thresholds anew.

    With nothing new to go by, which is neither a photo of a good or an unlabelled part nor another rate, a threshold
    that was set by hand stays.

    Args:
        recipe: the recipe; the new one is returned, and nothing is written.
        encode: views → features, by the graph that the recipe was made for.
        good: further photos of good parts, or folders of them; none of them may be a shot of the recipe.
        bad: photos of bad parts, or folders of them; they do not change the thresholds.
        false_reject_rate: share of good parts that may be rejected, above 0 and below 0.5.
        unlabelled: photos of parts of which most are good, or folders of them; the recipe's own shots among them are
            passed over.

    Raises:
        SettingsError: the rate is out of range, a good or bad photo is one of the recipe's own shots, there are too
            few unlabelled parts, or some beside further good ones.
        FileError, ImageError: a photo cannot be found or read.
    """
    if not 0.0 < false_reject_rate < 0.5:
        raise SettingsError(f"--false-reject-rate {false_reject_rate}: between 0 and 0.5, as in 0.01")
    if good and unlabelled:
        raise SettingsError("--good and --unlabelled: a threshold rests on one of them, give either")
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
    bad_scores, _ = photo_scores(score_photos(learned, _load_views(recipe, bad), encode))
    good_scores = np.array(calibration.image.scores, np.float32)
    threshold = recipe.header.thresholds.image
    if calibration.source == "unlabelled parts":  # nobody has said that those beyond the threshold are good
        good_scores = good_scores[good_scores < threshold]
    rejected, missed = int((good_scores >= threshold).sum()), int((bad_scores < threshold).sum())
    comparison = BadPhotos(good_scores, bad_scores, rejected, missed, separate(good_scores, bad_scores, threshold))
    return Recalibration(before, recipe, settlement, files, comparison)


def _settle(
    recipe: Recipe, encode: Encode, unlabelled: Sequence[Path], false_reject_rate: float
) -> tuple[Settlement, list[Path]]:
    """Return what unlabelled parts propose, and their files; one photo is in memory at a time."""
    learned, files, image, pixel = recipe.learned(), [], [], []
    for path, views, shot in _read_views(recipe, unlabelled):
        if shot is None:
            found = photo_scores(score_photos(learned, [views], encode))
            files.append(path)
            image.append(found[0])
            pixel.append(found[1])
    check_parts(len(files))
    calibration = settle(np.concatenate(image), np.concatenate(pixel), false_reject_rate)
    names = [printable(path) for path in files]
    return Settlement(calibration, names, false_reject_rate, recipe.header.thresholds.image), files


def _load_views(recipe: Recipe, paths: Sequence[Path]) -> list[Array8]:
    """Return the views of each photo; refuse a photo that the recipe was learned from, which would score nothing."""
    loaded = []
    for path, views, shot in _read_views(recipe, paths):
        if shot is not None:
            raise SettingsError(f"{printable(path)} is the shot {shot} that the recipe was learned from: leave it out")
        loaded.append(views)
    return loaded


def _read_views(recipe: Recipe, paths: Sequence[Path]) -> Iterator[tuple[Path, Array8, str | None]]:
    """Yield each photo with its views uint8 [per_photo,S,S,3], and the name of the recipe's shot that it is, if any."""
    shots = {shot.sha256: shot.name for shot in recipe.header.shots}
    size, view = recipe.header.encoder.image_size, recipe.header.view
    for path in find_images(paths):
        data = read_bytes(path)
        frame = decode(data, printable(path))
        view.check(frame.shape[0], frame.shape[1], printable(path))
        yield path, view.cut(frame, size), shots.get(hashlib.sha256(data).hexdigest())
