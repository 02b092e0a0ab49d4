"""Whether a picture shows the scene that the recipe was learned from.

A moved camera, a dead lamp, a lens out of focus and an empty station change most of a picture, a defect changes little
of it. So the scene is judged by what most of the picture says: its brightness, contrast and sharpness, the distance to
the memory that three quarters of its patches exceed, and a coarse thumbnail. Each is compared with what the shots
themselves measure, with a margin that is wider where there are few of them.
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
"""Rows and columns of a thumbnail's cells."""
PRIOR_SPREADS = {"brightness": 0.07, "contrast": 0.12, "sharpness": 0.045, "distance": 0.2, "difference": 0.3}
"""Spread of each measure expected before any photo is seen; counts as much as PRIOR_PHOTOS photos."""
PRIOR_PHOTOS = 4
SPREADS = 6.0
"""A measure that is more spreads than this from what the shots measure is of another scene."""
SHIFT_SPREADS = 3.0
"""The same of a thumbnail's difference, where a shift explains it as well."""
DARK, BRIGHT = 20.0, 235.0
"""A picture without contrast shows no light, or too much of it, below and above these mean levels of 0…255."""
LEAST_SHIFT = 1.5
"""A smaller shift, in a thumbnail's cells, is no move of the camera."""
EXPLAINED = 0.5
"""A shift explains the difference from the shots where it leaves at most this share of it."""
ALIKE = 0.5
"""A shift is looked for only where the shots' thumbnails correlate at least so much with each other."""

_SENTENCES: dict[SceneReason, str] = {
    "darker": "the picture is darker than the photos that the recipe was learned from: check the light",
    "brighter": "the picture is brighter than the photos that the recipe was learned from: check light and exposure",
    "empty": "hardly anything is to be seen in the picture: check that a part is in view and nothing covers the lens",
    "blurred": "the picture is blurred: check the focus, and clean the lens",
    "moved": "the picture has moved by about {across:+.0f} % of its width and {down:+.0f} % of its height: "
    "check where camera and part are",
    "unlike": "the picture is very different from the photos that the recipe was learned from: a large defect, another "
    "product, or a moved camera",
}


@dataclass(frozen=True)
class SceneChange:
    """Why a picture is not of the scene that was learned: a reason for programs, and a sentence for people."""

    reason: SceneReason
    sentence: str


@dataclass(frozen=True, eq=False)
class SceneMeasures:
    """What a picture measures, over all its views.

    brightness, contrast: logarithms of mean and standard deviation of the levels 0…255; sharpness: logarithm of the
    mean second difference of neighbouring pixels over the mean first one; distance: logarithm of the lower quartile of
    the patches' memory scores; level: the mean level; thumbnail: mean levels of the cells, float32 [T,24,24].
    """

    brightness: float
    contrast: float
    sharpness: float
    distance: float
    level: float
    thumbnail: Floats


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mean and spread of a measure over good photos, the spread drawn towards a prior."""

    location: float
    spread: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.location) and math.isfinite(self.spread) and self.spread > 0):
            raise ValueError(f"{self.location} ± {self.spread}: finite numbers are accepted, the spread above 0")

    def deviation(self, value: float) -> float:
        """Return by how many spreads a value is above the location; below it, the number is negative."""
        return (value - self.location) / self.spread


class Scene(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the shots of a recipe measure (SceneMeasures).

    distance: None for a single shot, which does not tell how far from it other good parts are; difference: the
    logarithm of 1 − the correlation of a shot's thumbnail with the mean of the others, None where the shots do not tell
    whether parts lie alike; thumbnail: their mean, T·24·24 levels.
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
        """How many views a picture has."""
        return len(self.thumbnail) // THUMBNAIL**2

    def judge(self, seen: SceneMeasures) -> SceneChange | None:
        """Return why a picture is of another scene; None where it is of this one."""
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
        """Return by how many rows and columns of cells the picture has moved; None where it has not."""
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
        views: the picture's views, uint8 [T,S,S,3].
        grid_memory: memory scores of its patches, [T,h,w] in [0,1].
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
    """Learn the scene from what each shot measures, its distance that to the memory of the others."""
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
    """Return mean and spread of a measure, the spread drawn towards its prior as calibrate does."""
    count = len(values)
    around = float(((values - values.mean()) ** 2).sum())
    variance = (PRIOR_PHOTOS * prior**2 + around) / (PRIOR_PHOTOS + count - 1)
    return Expected(float(values.mean()), math.sqrt(variance * (1.0 + 1.0 / count)))


def thumbnail_difference(one: Floats, other: Floats) -> float:
    """Return the logarithm of 1 − the correlation of two thumbnails, at least log 0.01."""
    one, other = ((thumbnail - thumbnail.mean()).ravel() for thumbnail in (one, other))
    size = math.sqrt(float(one @ one) * float(other @ other))
    return math.log(max(1.0 - float(one @ other) / (size + 1e-6), 0.01))


def best_shift(thumbnail: Floats, expected: Floats) -> tuple[int, int]:
    """Return by how many rows and columns of cells, a third at most, a thumbnail has moved against another."""
    size, most = 2 * THUMBNAIL, THUMBNAIL // 3
    spectra = [np.fft.rfft2(one - one.mean(), (size, size)) for one in (thumbnail, expected)]
    correlation = np.fft.irfft2((spectra[0] * spectra[1].conj()).sum(axis=0), (size, size))
    near = np.roll(correlation, (most, most), (0, 1))[: 2 * most + 1, : 2 * most + 1]
    down, across = np.unravel_index(near.argmax(), near.shape)
    return int(down) - most, int(across) - most


def _part(thumbnail: Floats, down: int, across: int) -> Floats:
    """Return the part of a thumbnail that is still there after the picture has moved."""
    rows = slice(max(down, 0), THUMBNAIL + min(down, 0))
    columns = slice(max(across, 0), THUMBNAIL + min(across, 0))
    return thumbnail[:, rows, columns]


def _halved(green: Array8) -> Floats:
    """Average 2×2 pixels: levels [T,S,S] → [T,S/2,S/2]. A last odd row or column is left out."""
    side = green.shape[1] // 2 * 2
    rows = green[:, 0:side:2, :side].astype(np.float32) + green[:, 1:side:2, :side]
    return np.asarray((rows[:, :, ::2] + rows[:, :, 1::2]) / 4, np.float32)


def _thumbnail(green: Floats) -> Floats:
    """Average levels over 24×24 cells of every view: [T,S,S] → [T,24,24]."""
    starts = np.arange(THUMBNAIL) * green.shape[1] // THUMBNAIL
    sides = np.maximum(np.diff(starts, append=green.shape[1]), 1).astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(green, starts, axis=1), starts, axis=2)
    return np.asarray(sums / np.outer(sides, sides), np.float32)
