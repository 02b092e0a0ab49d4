"""A station: one source's product, its decisions over time, and the thread that inspects its frames."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ..core.errors import GoodpartsError, one_line
from ..core.view import Box
from ..detector import Detector
from ..inspection import Inspection
from ..recipe.recipe import Recipe
from ..recipe.signing import Trust
from .capture import Backoff, Frame, FrameQueue, Report
from .meter import Meter
from .shared_engine import SharedEngine

Decision = Literal["good", "reject"]
Outcome = tuple[Inspection, Decision] | GoodpartsError
Emit = Callable[[Frame, Outcome, float], None]
"""Takes a frame, what came of it, and the milliseconds it waited before."""


class Smoothing:
    """Decides over time: reject while at least n of the last m frames are rejected."""

    def __init__(self, n: int, m: int) -> None:
        self._n = n
        self._last: deque[bool] = deque(maxlen=m)

    def decide(self, rejected: bool) -> Decision:
        self._last.append(rejected)
        return "reject" if sum(self._last) >= self._n else "good"


@dataclass(frozen=True)
class Product:
    """What a source is inspected for; thresholds, region and mask, where given, take the place of the recipe's; trust:
    the keys that its recipes are to be signed with."""

    recipe: Path
    image_threshold: float | None = None
    pixel_threshold: float | None = None
    roi: Box | None = None
    mask: bytes | None = None
    trust: Trust | None = None

    def open(self, shared: SharedEngine) -> Detector:
        return self.detector(shared, Recipe.open(self.recipe, self.trust))

    def detector(self, shared: SharedEngine, recipe: Recipe) -> Detector:
        seen = {name: value for name, value in (("roi", self.roi), ("mask", self.mask)) if value is not None}
        view = msgspec.structs.replace(recipe.header.view, **seen)
        header = msgspec.structs.replace(recipe.header, view=view)  # with the digest of the file that it was read from
        detector = Detector(shared.engine, dataclasses.replace(recipe, header=header))
        told = {"image": self.image_threshold, "pixel": self.pixel_threshold}
        given = {name: value for name, value in told.items() if value is not None}
        detector.thresholds = msgspec.structs.replace(detector.thresholds, **given)
        return detector


class Station(threading.Thread):
    """Inspects one source's frames. Its detector is replaced as a whole, between two frames.

    An engine that fails is said, opened again with back-off, and the frame tried again; by the policy newest it is
    given up for a newer one. product: as it was told, or adjusted since.
    """

    def __init__(
        self, product: Product, shared: SharedEngine, queue: FrameQueue, meter: Meter, smoothing: Smoothing, emit: Emit,
        stop: threading.Event, report: Report, backoff: Backoff,
    ) -> None:  # fmt: skip
        super().__init__(name=f"inspect {meter.source}", daemon=True)
        self.source = meter.source
        self._seen = _state(product.recipe)  # before it is read: what replaces it meanwhile is a change
        self.detector = product.open(shared)
        self.product, self._shared, self._queue, self._meter = product, shared, queue, meter
        self._smoothing, self._emit = smoothing, emit
        self._stopped, self._report, self._backoff = stop, report, backoff
        self._changing = threading.Lock()

    def run(self) -> None:
        while (frame := self._queue.take()) is not None:
            waited = (time.perf_counter() - frame.came) * 1e3
            outcome = self._inspect(frame)
            if outcome is None or isinstance(outcome, GoodpartsError):
                self._meter.count("failed")
            if outcome is not None:
                self._emit(frame, outcome, waited)

    def refresh(self) -> None:
        """Take the recipe's file if it has changed; a broken one is refused and the product in use stays."""
        with self._changing:
            state = _state(self.product.recipe)
            if state is None or state == self._seen:
                return
            self._seen = state
            try:
                self.detector = self.product.open(self._shared)
                said = f"now inspects with recipe {self.detector.recipe.digest[:12]}"
            except GoodpartsError as error:
                said = f"the changed recipe is refused, the old one stays: {error}"
        self._report(f"{self.source}: {said}")

    def adjust(self, threshold: float | None) -> None:
        """Reject from this raw image score on, from the next frame, or (None) from the recipe's threshold on. As one
        from the line file does, it outlasts a change of the recipe. SettingsError for a value that decides nothing."""
        with self._changing:
            detector = self.detector
            image = detector.recipe.header.thresholds.image if threshold is None else threshold
            detector.thresholds = msgspec.structs.replace(detector.thresholds, image=image)
            self.product = dataclasses.replace(self.product, image_threshold=threshold)

    def _inspect(self, frame: Frame) -> Outcome | None:
        """What came of a frame; None where it was given up."""
        if isinstance(frame.pixels, GoodpartsError):
            return frame.pixels
        while True:
            detector = self.detector
            try:
                detector.recipe.header.view.check(*frame.pixels.shape[:2])
            except GoodpartsError as error:
                return error
            try:
                inspection = detector.predict(frame.pixels)
            except Exception as error:  # whatever the inference library raises, its device may be gone
                self._recover(detector, error)
                if self._stopped.is_set() or self._queue.policy == "newest":
                    return None
                continue
            if self._backoff.reset():
                self._report(f"{self.source}: inspected again")
            return inspection, self._smoothing.decide(inspection.verdict == "reject")

    def _recover(self, failed: Detector, error: Exception) -> None:
        """Say it once, wait, open the engine again and put the product on it."""
        delay = self._backoff.next()
        if self._backoff.failures == 1:
            self._report(
                f"{self.source}: inspection failed ({one_line(error)}); the engine is opened again from {delay:g} s on"
            )
        self._stopped.wait(delay)
        try:
            self._shared.renew(failed.engine)
            with self._changing:
                if self.detector is failed:
                    self.detector = self.product.detector(self._shared, failed.recipe)
        except Exception as again:  # tried again with the next frame
            if self._backoff.failures == 1:
                self._report(f"{self.source}: the engine does not open: {again}")


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
