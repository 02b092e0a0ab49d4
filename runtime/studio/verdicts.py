"""The verdicts of a product's recipe on the live picture, and its scores of the collected pictures."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..core.errors import GoodpartsError
from ..core.files import read_bytes
from ..core.preprocess import Array8, decode
from ..core.scoring import anomaly_map
from ..core.threads import one_blas_thread
from ..detector import Detector
from ..inspection import Inspection
from ..line.shared_engine import SharedEngine
from ..overlay import draw_found
from ..page.recent_frames import to_jpeg
from ..recipe.calibrate import separate
from ..recipe.header import RecipeHeader
from ..recipe.recipe import Recipe
from ..recipe.settle import FEWEST_PARTS, SETTLING_RATE, settle
from .live import LiveFrame
from .workspace import Kind, PictureEntry, ProductFolder, file_state, open_recipe

SIDE = 1100
"""The longest side of a large picture, in pixels."""
THUMBNAIL = 240
"""The longest side of a small picture, in pixels."""
# The most detectors, inspections of live frames, and scores that are kept in memory.
_MOST_DETECTORS = 4
_MOST_LOOKS = 8
_MOST_SCORES = 20_000


class Scored(NamedTuple):
    """The scores of a collected picture.

    Attributes:
        kind: The picture's kind.
        name: The name of the picture's file.
        image: The raw image score; None if the picture cannot be inspected.
        pixel: The maximum of the anomaly map; None if the picture cannot be inspected.
    """

    kind: Kind
    name: str
    image: float | None
    pixel: float | None


class _Opened(NamedTuple):
    """A product's detector.

    Attributes:
        state: The state of the recipe's file when it was read (workspace.file_state).
        detector: The detector that was opened with that recipe.
        memory: A digest of everything in the recipe that raw scores depend on. It stays the same if only thresholds
            change.
    """

    state: tuple[int, int, int] | None
    detector: Detector
    memory: str


class Inspector:
    """Inspects pictures with the recipes of products. Several threads may use it.

    Args:
        shared_engine: The engine.
    """

    def __init__(self, shared_engine: SharedEngine) -> None:
        self._shared_engine = shared_engine
        self._lock = threading.Lock()
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._looks: OrderedDict[tuple[int, str, str], Inspection] = OrderedDict()
        self._looking = threading.Lock()
        self._scoring = threading.Lock()
        self._scores: OrderedDict[tuple[str, str, str], Scored] = OrderedDict()

    def detector(self, product: ProductFolder) -> Detector | None:
        """Return the detector of a product; None if it has no recipe yet.

        Args:
            product: The product whose recipe is opened.

        Raises:
            GoodpartsError: The recipe is damaged, or does not fit the engine.
        """
        opened = self._open(product)
        return None if opened is None else opened.detector

    def _open(self, product: ProductFolder) -> _Opened | None:
        with self._lock:
            state = file_state(product.recipe_path)
            known = self._opened.get(product.id)
            if known is not None and known.state == state and known.detector.engine is self._shared_engine.engine:
                self._opened.move_to_end(product.id)
                return known
            recipe = open_recipe(product)
            if recipe is None:
                self._opened.pop(product.id, None)
                return None
            opened = _Opened(state, Detector(self._shared_engine.engine, recipe), _digest_of_memory(recipe))
            self._opened[product.id] = opened
            while len(self._opened) > _MOST_DETECTORS:
                self._opened.popitem(last=False)
            return opened

    def look(self, product: ProductFolder, frame: LiveFrame) -> Inspection | None:
        """Inspect a live frame, once for all browsers.

        Args:
            product: The product whose recipe is used.
            frame: The live frame to inspect.

        Returns:
            The inspection; None if the product has no recipe yet.

        Raises:
            GoodpartsError: The recipe cannot be used, or the frame does not fit its view.
        """
        detector = self.detector(product)
        if detector is None:
            return None
        key = frame.number, product.id, detector.recipe.digest
        with self._looking:
            if key not in self._looks:
                detector.recipe.header.view.check(*frame.pixels.shape[:2])
                self._looks[key] = detector.predict(frame.pixels)
                while len(self._looks) > _MOST_LOOKS:
                    self._looks.popitem(last=False)
            return self._looks[key]

    def draw(self, product: ProductFolder, pixels: Array8, side: int = SIDE) -> bytes:
        """Return a picture with its heat-map. If the product has no recipe yet, the picture is plain.

        Args:
            product: The product whose recipe is used.
            pixels: The picture, [height, width, 3], uint8, RGB.
            side: The longest side of the result, in pixels.

        Returns:
            The bytes of a JPEG file.
        """
        detector = self.detector(product)
        if detector is None:
            return draw_plain(pixels, side)
        return to_jpeg(draw_found(pixels, detector.predict(pixels), side))

    def scores(
        self, product: ProductFolder, pictures: Sequence[PictureEntry], seconds: float
    ) -> tuple[list[Scored], int]:
        """Return the scores of collected pictures by the product's recipe.

        A shot of the recipe gets its score from the recipe's calibration, which scored it against the memory of the
        other shots.

        Args:
            product: The product of the pictures.
            pictures: The collected pictures to score.
            seconds: How long the call may inspect, in seconds. It inspects at least one picture, so that a busy engine
                cannot stop the work completely.

        Returns:
            The scores that are known, and the number of pictures that are still to be inspected.
        """
        opened = self._open(product)
        if opened is None:
            return [], 0
        found, pending, inspected = [], 0, 0
        shots = _shot_scores(opened.detector.recipe.header)
        with self._scoring:
            end = time.monotonic() + seconds
            for picture in pictures:
                key = f"{product.id}/{picture.kind}/{picture.name}", picture.version, opened.memory
                if key not in self._scores:
                    if inspected and time.monotonic() >= end:
                        pending += 1
                        continue
                    inspected += 1
                    self._scores[key] = _score(product, picture, opened.detector, shots)
                    while len(self._scores) > _MOST_SCORES:
                        self._scores.popitem(last=False)
                found.append(self._scores[key])
        return found, pending


def _score(
    product: ProductFolder, picture: PictureEntry, detector: Detector, shots: dict[str, tuple[float, float]]
) -> Scored:
    try:
        data = read_bytes(product.folder / picture.kind / picture.name)
        shot = shots.get(hashlib.sha256(data).hexdigest())
        if shot is not None:
            return Scored(picture.kind, picture.name, *shot)
        pixels = decode(data, picture.name)
        detector.recipe.header.view.check(*pixels.shape[:2])
        inspection = detector.predict(pixels)
    except GoodpartsError:
        return Scored(picture.kind, picture.name, None, None)  # the picture's note tells the reason
    with one_blas_thread():
        pixel = max(float(anomaly_map(grid).max()) for grid in inspection.grids)
    return Scored(picture.kind, picture.name, inspection.raw_score, pixel)


def _shot_scores(header: RecipeHeader) -> dict[str, tuple[float, float]]:
    """Return image and pixel scores of the recipe's shots, by the SHA-256 of their files."""
    calibration = header.shot_calibration
    if calibration.source != "leave-one-out":  # a single shot has no score of its own, only its changed copies do
        return {header.shots[0].sha256: (calibration.image.scores[0], calibration.pixel.scores[0])}
    scores = zip(calibration.image.scores, calibration.pixel.scores, strict=True)
    return {shot.sha256: score for shot, score in zip(header.shots, scores, strict=False)}


def _digest_of_memory(recipe: Recipe) -> str:
    digest = hashlib.sha256(recipe.header.graph.encode())
    digest.update(recipe.image_prompts.tobytes())
    for bank in recipe.banks:
        digest.update(bank.tobytes())
    return digest.hexdigest()


def propose(scores: Sequence[Scored], threshold: float) -> dict[str, Any]:
    """Return the raw thresholds that collected pictures propose.

    Args:
        scores: The scores of the pictures.
        threshold: The raw image threshold in use.

    Returns:
        settled: the threshold from the unsorted parts, None with fewer than FEWEST_PARTS of them; separated: the
        threshold that separates good from bad pictures with the fewest mistakes, with the number of good ones that it
        rejects and of bad ones that it misses, None without both; fewest: FEWEST_PARTS.
    """
    image = {kind: _values(scores, kind, "image") for kind in ("good", "bad", "settle")}
    proposal: dict[str, Any] = {"settled": None, "separated": None, "fewest": FEWEST_PARTS}
    if len(image["settle"]) >= FEWEST_PARTS:
        calibration = settle(image["settle"], _values(scores, "settle", "pixel"), SETTLING_RATE)
        proposal["settled"] = calibration.image.threshold(SETTLING_RATE)
    if len(image["good"]) and len(image["bad"]):
        best = separate(image["good"], image["bad"], threshold)
        proposal["separated"] = {"threshold": best.threshold, "rejected": best.rejected, "missed": best.missed}
    return proposal


def settled_recipe(recipe: Recipe, scores: Sequence[Scored]) -> Recipe:
    """Return a recipe with the thresholds that unsorted parts propose.

    Args:
        recipe: The recipe whose thresholds are replaced. It is not changed.
        scores: The scores of the product's pictures; only those of kind "settle" count.

    Raises:
        SettingsError: There are too few unsorted parts.
    """
    image, pixel = (_values(scores, "settle", level) for level in ("image", "pixel"))
    return recipe.recalibrate(settle(image, pixel, SETTLING_RATE), SETTLING_RATE)


def _values(scores: Sequence[Scored], kind: str, level: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = [getattr(scored, level) for scored in scores if scored.kind == kind]
    return np.array([value for value in values if value is not None], np.float32)


def draw_plain(pixels: Array8, side: int = SIDE) -> bytes:
    """Return a picture as the bytes of a JPEG file.

    Args:
        pixels: The picture, [height, width, 3], uint8, RGB.
        side: The longest side of the result, in pixels; a smaller picture keeps its size.
    """
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    return to_jpeg(picture)


def to_png(pixels: Array8) -> bytes:
    """Return a frame as the bytes of a PNG file, with little compression, which is fast.

    Args:
        pixels: The frame, [height, width, 3], uint8, RGB.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
