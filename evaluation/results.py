"""The results of measuring: measurements, the photos that were learned from, and the result of a category."""

from __future__ import annotations

import logging

import msgspec
from goodparts.runtime.recipe.header import Shot

log = logging.getLogger(__name__)


class Measurement(msgspec.Struct, frozen=True):
    """The metrics of one method on one category, for one number of shots, one seed and one backend.

    Attributes:
        category: The category's name.
        method: The method's name, with its settings.
        shots: The number of photos that were learned from; 0 for none.
        seed: The seed of the draw of shots.
        backend: The name of the backend that encoded.
        values: Metrics by name, from 0 to 1; NaN if `missing` states a reason.
        missing: Why a metric has no value, by the metric's name.
        threshold: The image score from which the method rejects; None if it has no threshold.
        manifest: The SHA-256 of the list of shots; empty without shots.
        difference: For torch, the largest difference of an image score from the deployed backend's; otherwise None.
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
    """The photos that were learned from.

    Attributes:
        category: The category's name.
        shots: The number of photos.
        seed: The seed of the draw.
        sha256: The digest of the list.
        photos: The photos' names and digests.
    """

    category: str
    shots: int
    seed: int
    sha256: str
    photos: tuple[Shot, ...]


class CategoryResult(msgspec.Struct):
    """The result of measuring a category.

    Attributes:
        category: The category's name.
        keys: The keys of its finished measurements in the cache.
        shown: By method, the key of the measurement whose scores a report draws.
        manifests: The photos that were learned from, for each draw.
        remarks: One line for each measurement that could not be made, with the reason.
        views: The photos whose mistakes are shown, uint8 [S,S,3] as bytes, by their index in the split's test photos.
    """

    category: str
    keys: list[str] = []
    shown: dict[str, str] = {}
    manifests: list[Manifest] = []
    remarks: list[str] = []
    views: dict[int, bytes] = {}

    def remark(self, text: str) -> None:
        """Add a remark and log it, unless the result has it already.

        Args:
            text: The remark.
        """
        if text not in self.remarks:
            self.remarks.append(text)
            log.info("%s", text)

    def extend(self, other: CategoryResult) -> None:
        """Add the result of further seeds of the category.

        Args:
            other: The result to add.
        """
        self.keys += other.keys
        self.shown |= other.shown
        self.manifests += other.manifests
        self.remarks += [text for text in other.remarks if text not in self.remarks]
        self.views |= other.views
