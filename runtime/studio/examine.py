"""What the collected pictures are like: which of the good ones are much the same, blurred, or lit otherwise."""

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
"""Two pictures are much the same where no cell of their thumbnails differs by more grey levels. Of 22 drawn kinds, the
same piece taken twice differed by up to 4.0, and two pieces by 5.8 or more."""
SPREADS = 3.0
"""A picture that differs from the others by more spreads of a measure is pointed out. None of 132 drawn good photos
was; each of them was with a quarter less light, and blurred by 2.5 pixels."""
_MOST_KEPT = 2000
"""Pictures whose measures are remembered."""


_Key = tuple[str, str, View]
"""A picture's path and version, and the view of the product."""


class _Examined(NamedTuple):
    """A picture's measures, None where it does not fit the view; the SHA-256 of its pixels; what is wrong with it."""

    measures: SceneMeasures | None
    digest: str
    error: str


class Examiner:
    """Measures collected pictures, a few at a time, and remembers what it measured. For several threads.

    side: of the encoder's view in pixels.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._known: dict[_Key, _Examined] = {}
        self._compared: dict[str, tuple[list[_Key], Mapping[str, list[dict[str, Any]]]]] = {}
        self._lock = threading.Lock()

    def notes(
        self, product: ProductFolder, view: View, pictures: Sequence[PictureEntry], seconds: float
    ) -> Mapping[str, list[dict[str, Any]]]:
        """Return what is to be said of good pictures, by name; of those that are not yet measured, nothing.

        Args:
            product: Whose pictures they are.
            view: Which part of them is looked at.
            pictures: The pictures, all of one kind.
            seconds: How long may be measured now.
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
    """Measure a picture's views uint8 [T,S,S,3] before there is a memory."""
    return measure_scene(views, np.zeros((len(views), 1, 1), np.float32))


def compare(examined: Mapping[str, _Examined]) -> dict[str, list[dict[str, Any]]]:
    """Return what is to be said of each picture: a code, and the name of the other picture or an error."""
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
