"""What measuring yields: one measurement, the photos that were learned from, and the result of a category."""

from __future__ import annotations

import logging

import msgspec
from goodparts.runtime.recipe.header import Shot

log = logging.getLogger(__name__)


class Measurement(msgspec.Struct, frozen=True):
    """The metrics of one method on one category, for one number of shots, one seed and one backend.

    shots is 0 where nothing was learned from photos. values are metrics by name, NaN where `missing` states the reason.
    threshold is the image score from which the method rejects. manifest is the SHA-256 of the list of shots.
    difference, for torch, is the largest difference of an image score from the deployed backend's.
    """

    category: str
    method: str
    shots: int
    seed: int
    backend: str
    values: dict[str, float]
    missing: dict[str, str]
    threshold: float | None
    manifest: str
    difference: float | None = None


class Manifest(msgspec.Struct, frozen=True):
    """The photos that were learned from."""

    category: str
    shots: int
    seed: int
    sha256: str
    photos: tuple[Shot, ...]


class CategoryResult(msgspec.Struct):
    """The result of measuring a category.

    keys are those of its finished measurements in the cache. shown are, by method, the keys of those whose scores a
    report draws. views are the photos whose mistakes are shown, uint8 [S,S,3] as bytes, by their index in the split's
    test photos.
    """

    category: str
    keys: list[str] = []
    shown: dict[str, str] = {}
    manifests: list[Manifest] = []
    remarks: list[str] = []
    views: dict[int, bytes] = {}

    def remark(self, text: str) -> None:
        """Add a remark, and log it, unless it is there already."""
        if text not in self.remarks:
            self.remarks.append(text)
            log.info("%s", text)

    def extend(self, other: CategoryResult) -> None:
        """Add the result of further seeds of the category."""
        self.keys += other.keys
        self.shown |= other.shown
        self.manifests += other.manifests
        self.remarks += [text for text in other.remarks if text not in self.remarks]
        self.views |= other.views
