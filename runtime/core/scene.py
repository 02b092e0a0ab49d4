"""A check of whether a picture shows the scene that the recipe was learned from.

A moved camera, a dead lamp, a lens out of focus or an empty station changes most of a picture; a defect changes little
of it. So the check uses measures of most of the picture: its brightness, contrast and sharpness, the memory score that
three quarters of its patches exceed, and a coarse thumbnail. Each is compared with the same measure of the shots. The
tolerance is wider if there are few shots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from .preprocess import Array8
from .scoring import SMALLEST_SCORE, Floats

SceneReason = Literal["darker", "brighter", "empty", "blurred", "moved", "unlike"]

THUMBNAIL = 24
"""The number of rows and of columns of cells in a thumbnail."""
PRIOR_SPREADS = {"brightness": 0.07, "contrast": 0.12, "sharpness": 0.045, "distance": 0.2, "difference": 0.3}
"""The spread that is expected of each measure before any photo is measured. It counts like PRIOR_PHOTOS photos."""
PRIOR_PHOTOS = 4
"""The number of photos that the prior counts for."""
SPREADS = 6.0
"""A picture is of another scene if one of its measures is more than this many spreads from the shots' mean."""
SHIFT_SPREADS = 3.0
"""The same bound for a thumbnail's difference. It is lower, because a shift must explain the difference as well."""
DARK, BRIGHT = 20.0, 235.0
"""Mean levels, 0 to 255. A picture without contrast is reported as darker up to the first, brighter from the second."""
LEAST_SHIFT = 1.5
"""A smaller shift, in cells of a thumbnail, does not count as a move of the camera."""
EXPLAINED = 0.5
"""A shift explains the difference from the shots if at most this share of the difference remains after undoing it."""
ALIKE = 0.5
"""A shift is looked for only if each shot's thumbnail correlates at least this much with the mean of the others."""

_SENTENCES: dict[SceneReason, str] = {
    "darker": "the picture is darker than the photos that the recipe was learned from: check the light, and "
    "that the recipe is this product's",
    "brighter": "the picture is brighter than the photos that the recipe was learned from: check light and "
    "exposure, and that the recipe is this product's",
    "empty": "the picture shows hardly anything: check that a part is in view and nothing covers the lens",
    "blurred": "the picture is blurred: check the focus, clean the lens, and check that the recipe is this product's",
    "moved": "the picture has moved by about {across:+.0f} % of its width and {down:+.0f} % of its height: "
    "check where camera and part are",
    "unlike": "the picture is very different from the photos that the recipe was learned from: a large defect, another "
    "product, or a moved camera",
}


@dataclass(frozen=True)
class SceneChange:
    """Why a picture does not show the scene that was learned.

    Attributes:
        reason: The reason, for programs.
        sentence: The reason and what to check, for people.
    """

    reason: SceneReason
    sentence: str


@dataclass(frozen=True, eq=False)
class SceneMeasures:
    """The measures of a picture, over all its views.

    Attributes:
        brightness: The logarithm of 1 + the mean of the levels 0 to 255.
        contrast: The logarithm of 1 + the standard deviation of the levels.
        sharpness: The logarithm of the mean second difference of neighbouring pixels over the mean first difference.
        distance: The logarithm of the lower quartile of the patches' memory scores.
        level: The mean level, 0 to 255.
        thumbnail: The mean levels of the cells, [views, 24, 24], float32.
    """

    brightness: float
    contrast: float
    sharpness: float
    distance: float
    level: float
    thumbnail: Floats


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean and spread of a measure over good photos. The spread is drawn towards a prior (see expect).

    Attributes:
        location: The mean.
        spread: The spread, above 0.

    Raises:
        ValueError: A number is not finite, or the spread is not above 0.
    """

    location: float
    spread: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.location) and math.isfinite(self.spread) and self.spread > 0):
            raise ValueError(f"{self.location} ± {self.spread}: finite numbers are accepted, the spread above 0")

    def deviation(self, value: float) -> float:
        """Return by how many spreads a value is above the mean; negative if it is below.

        Args:
            value: The measure of a picture.
        """
        return (value - self.location) / self.spread


class Scene(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The measures of a recipe's shots (see SceneMeasures).

    Attributes:
        brightness: The shots' brightness.
        contrast: The shots' contrast.
        sharpness: The shots' sharpness.
        distance: The distance of each shot to the memory of the others. None for a single shot, which does not tell how
            far from it other good parts are.
        difference: The logarithm of 1 − the correlation of a shot's thumbnail with the mean of the others. None for a
            single shot, or if the parts lie differently in the shots (see ALIKE).
        thumbnail: The mean of the shots' thumbnails, views·24·24 levels, uint8.

    Raises:
        ValueError: The thumbnail has the wrong size.
    """

    brightness: Expected
    contrast: Expected
    sharpness: Expected
    distance: Expected | None
    difference: Expected | None
    thumbnail: bytes

    def __post_init__(self) -> None:
        if not self.thumbnail or len(self.thumbnail) % THUMBNAIL**2:
            raise ValueError(f"a thumbnail of {len(self.thumbnail)} levels: a multiple of {THUMBNAIL**2} is accepted")

    @property
    def views(self) -> int:
        """The number of views of a picture."""
        return len(self.thumbnail) // THUMBNAIL**2

    def judge(self, seen: SceneMeasures) -> SceneChange | None:
        """Return why a picture shows another scene; None if it shows this one.

        Args:
            seen: The picture's measures.
        """
        brightness = self.brightness.deviation(seen.brightness)
        deviations: dict[SceneReason, float] = {
            "darker": -brightness,
            "brighter": brightness,
            "empty": -self.contrast.deviation(seen.contrast),
            "blurred": -self.sharpness.deviation(seen.sharpness),
        }
        reason = max(deviations, key=lambda name: deviations[name])
        if deviations[reason] > SPREADS:
            if reason == "empty" and not DARK < seen.level < BRIGHT:
                reason = "darker" if seen.level <= DARK else "brighter"
            return SceneChange(reason, _SENTENCES[reason])
        if (shift := self._shift(seen.thumbnail)) is not None:
            down, across = (100 * cells / THUMBNAIL for cells in shift)
            return SceneChange("moved", _SENTENCES["moved"].format(across=across, down=down))
        is_far = self.distance is not None and self.distance.deviation(seen.distance) > SPREADS
        if is_far or self.sharpness.deviation(seen.sharpness) > SPREADS:
            return SceneChange("unlike", _SENTENCES["unlike"])
        return None

    def _shift(self, thumbnail: Floats) -> tuple[int, int] | None:
        """Return by how many rows and columns of cells the picture has moved; None if it has not."""
        if self.difference is None:
            return None
        expected = np.frombuffer(self.thumbnail, np.uint8).astype(np.float32).reshape(-1, THUMBNAIL, THUMBNAIL)
        difference = thumbnail_difference(thumbnail, expected)
        if self.difference.deviation(difference) <= SHIFT_SPREADS:
            return None
        down, across = best_shift(thumbnail, expected)
        if math.hypot(down, across) < LEAST_SHIFT:
            return None
        remaining = thumbnail_difference(_part(thumbnail, down, across), _part(expected, -down, -across))
        return (down, across) if math.exp(remaining - difference) <= EXPLAINED else None


def measure_scene(views: Array8, grid_memory: Floats) -> SceneMeasures:
    """Measure a picture.

    Args:
        views: The picture's views, [views, size, size, 3], uint8, RGB.
        grid_memory: The memory scores of its patches, [views, rows, columns], 0 to 1.

    Returns:
        The measures.
    """
    green = _halved(views[..., 1])
    first = second = 0.0
    for axis in (1, 2):
        change = np.diff(green, axis=axis)
        first += float(np.abs(change).mean())
        second += float(np.abs(np.diff(change, axis=axis)).mean())
    level, deviation = float(green.mean()), float(green.std())
    quarter = grid_memory.size // 4
    distance = float(np.partition(grid_memory, quarter, axis=None)[quarter])
    return SceneMeasures(
        brightness=math.log(level + 1.0),
        contrast=math.log(deviation + 1.0),
        sharpness=math.log((second + 0.1) / (first + 0.1)),
        distance=math.log(max(distance, SMALLEST_SCORE)),
        level=level,
        thumbnail=_thumbnail(green),
    )


def learn_scene(shots: Sequence[SceneMeasures]) -> Scene:
    """Learn the scene from the shots.

    Args:
        shots: The measures of each shot. Its distance is the one to the memory of the other shots.

    Returns:
        The scene.
    """
    thumbnails = np.stack([shot.thumbnail for shot in shots])

    def expected(name: str) -> Expected:
        return expect(np.array([getattr(shot, name) for shot in shots]), PRIOR_SPREADS[name])

    distance = difference = None
    if len(shots) > 1:
        distance = expected("distance")
        differences = np.array([
            thumbnail_difference(one, np.delete(thumbnails, index, axis=0).mean(axis=0))
            for index, one in enumerate(thumbnails)
        ])  # fmt: skip
        if differences.max() <= math.log(1 - ALIKE):
            difference = expect(differences, PRIOR_SPREADS["difference"])
    return Scene(
        brightness=expected("brightness"),
        contrast=expected("contrast"),
        sharpness=expected("sharpness"),
        distance=distance,
        difference=difference,
        thumbnail=np.rint(thumbnails.mean(axis=0)).astype(np.uint8).tobytes(),
    )


def expect(values: npt.NDArray[np.float64], prior: float) -> Expected:
    """Return mean and spread of a measure. The spread is drawn towards its prior, as calibrate does.

    Args:
        values: The measure of each photo, [photos].
        prior: The spread that is expected before any photo is measured.
    """
    count = len(values)
    around = float(((values - values.mean()) ** 2).sum())
    variance = (PRIOR_PHOTOS * prior**2 + around) / (PRIOR_PHOTOS + count - 1)
    return Expected(float(values.mean()), math.sqrt(variance * (1.0 + 1.0 / count)))


def thumbnail_difference(one: Floats, other: Floats) -> float:
    """Return the logarithm of 1 − the correlation of two thumbnails, at least log 0.01.

    Args:
        one: A thumbnail, [views, rows, columns].
        other: A thumbnail of the same shape.
    """
    one, other = ((thumbnail - thumbnail.mean()).ravel() for thumbnail in (one, other))
    size = math.sqrt(float(one @ one) * float(other @ other))
    return math.log(max(1.0 - float(one @ other) / (size + 1e-6), 0.01))


def best_shift(thumbnail: Floats, expected: Floats) -> tuple[int, int]:
    """Return by how many rows and columns of cells a thumbnail has moved, at most a third of its side each way.

    Args:
        thumbnail: The thumbnail of a picture, [views, 24, 24].
        expected: The thumbnail of the shots, of the same shape.
    """
    size, most = 2 * THUMBNAIL, THUMBNAIL // 3
    spectra = [np.fft.rfft2(one - one.mean(), (size, size)) for one in (thumbnail, expected)]
    correlation = np.fft.irfft2((spectra[0] * spectra[1].conj()).sum(axis=0), (size, size))
    near = np.roll(correlation, (most, most), (0, 1))[: 2 * most + 1, : 2 * most + 1]
    down, across = np.unravel_index(near.argmax(), near.shape)
    return int(down) - most, int(across) - most


def _part(thumbnail: Floats, down: int, across: int) -> Floats:
    """Return the part of a thumbnail that is still visible after the picture has moved."""
    rows = slice(max(down, 0), THUMBNAIL + min(down, 0))
    columns = slice(max(across, 0), THUMBNAIL + min(across, 0))
    return thumbnail[:, rows, columns]


def _halved(green: Array8) -> Floats:
    """Average 2×2 pixels: levels [T,S,S] → [T,S/2,S/2]. An odd last row or column is left out."""
    side = green.shape[1] // 2 * 2
    rows = green[:, 0:side:2, :side].astype(np.float32) + green[:, 1:side:2, :side]
    return np.asarray((rows[:, :, ::2] + rows[:, :, 1::2]) / 4, np.float32)


def _thumbnail(green: Floats) -> Floats:
    """Average levels over 24×24 cells of every view: [T,S,S] → [T,24,24]."""
    starts = np.arange(THUMBNAIL) * green.shape[1] // THUMBNAIL
    sides = np.maximum(np.diff(starts, append=green.shape[1]), 1).astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(green, starts, axis=1), starts, axis=2)
    return np.asarray(sums / np.outer(sides, sides), np.float32)
