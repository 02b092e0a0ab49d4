"""Notes on the collected good pictures: which of them are nearly the same, blurred, or lit differently."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import GoodpartsError
from ..core.files import read_bytes
from ..core.preprocess import Array8, decode
from ..core.scene import PRIOR_SPREADS, SceneMeasures, expect, measure_scene
from ..core.view import View
from .workspace import PictureEntry, ProductFolder

ALIKE = 4.5
"""Two pictures count as nearly the same if no cell of their thumbnails differs by more than this many grey levels.

Measured on 22 kinds of drawn parts: the largest difference of a cell was at most 4.0 between two photos of the same
piece, and at least 5.8 between photos of two pieces.
"""
SPREADS = 3.0
"""A picture gets a note if one of its measures is more than this many spreads from the mean of the others.

Measured on 132 drawn good photos: no unchanged photo got a note. Every photo got a note with a quarter less light, and
every photo got one when it was blurred by 2.5 pixels.
"""
_MOST_KEPT = 2000
"""The most pictures whose measures are kept in memory."""


_Key = tuple[str, str, View]
"""A picture's path and version, and the view of the product."""


class _Examined(NamedTuple):
    """The measures of a picture.

    Attributes:
        measures: The measures; None if the picture cannot be read or does not fit the view.
        digest: The SHA-256 of the pixels.
        error: The reason why there are no measures; empty if there are measures.
    """

    measures: SceneMeasures | None
    digest: str
    error: str


class Examiner:
    """Measures collected pictures, a few at a time, and keeps the measures. Several threads may use it.

    Args:
        side: The side of the encoder's view in pixels.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._known: dict[_Key, _Examined] = {}
        self._compared: dict[str, tuple[list[_Key], Mapping[str, list[dict[str, Any]]]]] = {}
        self._lock = threading.Lock()

    def notes(
        self, product: ProductFolder, view: View, pictures: Sequence[PictureEntry], seconds: float
    ) -> Mapping[str, list[dict[str, Any]]]:
        """Return the notes on good pictures, by the pictures' names. A picture that is not measured yet has none.

        Args:
            product: The product of the pictures.
            view: The product's view.
            pictures: The pictures, all of one kind.
            seconds: How long the call may measure, in seconds; later calls measure the rest.

        Returns:
            The notes of each picture, as `compare` returns them.
        """
        end = time.monotonic() + seconds
        with self._lock:
            examined: dict[str, _Examined] = {}
            keys = [(str(product.folder / picture.kind / picture.name), picture.version, view) for picture in pictures]
            for picture, key in zip(pictures, keys, strict=True):
                if key not in self._known and time.monotonic() < end:
                    if len(self._known) >= _MOST_KEPT:
                        self._known.pop(next(iter(self._known)))
                    self._known[key] = self._examine(product, view, picture)
                if key in self._known:
                    examined[picture.name] = self._known[key]
            seen = [key for key in keys if key in self._known]
            known, notes = self._compared.get(product.id, (None, {}))
            if known != seen:
                notes = compare(examined)
                self._compared[product.id] = seen, notes
            return notes

    def _examine(self, product: ProductFolder, view: View, picture: PictureEntry) -> _Examined:
        try:
            pixels = decode(read_bytes(product.folder / picture.kind / picture.name), picture.name)
        except GoodpartsError as error:
            return _Examined(None, "", str(error))
        height, width = pixels.shape[:2]
        try:
            view.check(height, width, picture.name)
            measures, misfit = measure(view.cut(pixels, self._side)), ""
        except GoodpartsError as error:
            measures, misfit = None, str(error)
        return _Examined(measures, hashlib.sha256(pixels.tobytes()).hexdigest(), misfit)


def measure(views: Array8) -> SceneMeasures:
    """Measure the scene of a picture without a memory.

    Args:
        views: The picture's views, [tiles, side, side, 3], uint8, RGB.

    Returns:
        The measures. Their distance to the memory has no meaning.
    """
    return measure_scene(views, np.zeros((len(views), 1, 1), np.float32))


def compare(examined: Mapping[str, _Examined]) -> dict[str, list[dict[str, Any]]]:
    """Return the notes on each picture, by its name.

    Args:
        examined: The pictures' measures, by name.

    Returns:
        A list of notes for each picture. A note has a code: "unfit" (with the error as text), "same" or "alike" (with
        the name of the other picture as other), "darker", "brighter" or "blurred".
    """
    notes: dict[str, list[dict[str, Any]]] = {name: [] for name in examined}
    measured = {name: picture.measures for name, picture in examined.items() if picture.measures is not None}
    for name, picture in examined.items():
        if picture.measures is None:
            notes[name].append({"code": "unfit", "text": picture.error})
    if len(measured) < 2:
        return notes
    names = list(measured)
    thumbnails = np.stack([measures.thumbnail.ravel() - measures.thumbnail.mean() for measures in measured.values()])
    brightness = np.array([measures.brightness for measures in measured.values()])
    sharpness = np.array([measures.sharpness for measures in measured.values()])
    for index, name in enumerate(names):
        differences = np.abs(thumbnails[:index] - thumbnails[index]).max(axis=1)
        if index and differences.min() <= ALIKE:
            other = names[int(differences.argmin())]
            code = "same" if examined[other].digest == examined[name].digest else "alike"
            notes[name].append({"code": code, "other": other})
        light, blur = (
            expect(np.delete(values, index), PRIOR_SPREADS[measure]).deviation(values[index])
            for values, measure in ((brightness, "brightness"), (sharpness, "sharpness"))
        )
        if abs(light) > SPREADS:
            notes[name].append({"code": "darker" if light < 0 else "brighter"})
        elif blur < -SPREADS:
            notes[name].append({"code": "blurred"})
    return notes
