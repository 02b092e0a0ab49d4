"""The station: a thread that inspects one source's frames, with a detector that can be replaced while it runs."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..core.errors import GoodpartsError, one_line
from ..detector import Detector
from .context import LineContext
from .frames import Frame, FrameQueue
from .inspection_settings import InspectionSettings
from .results import Outcome
from .scene_watch import SceneWatch
from .shared_engine import SharedEngine
from .smoothing import Smoothing

Emit = Callable[[Frame, Outcome | None, float], None]
"""Receives a frame, its outcome (None for a frame that was given up), and the milliseconds that it was queued."""

_FileState = tuple[int, int, int, int]  # inode, size, time of change in ns, permissions


class Station(threading.Thread):
    """Inspects one source's frames. Its detector is replaced as a whole, between two frames.

    If the engine fails, the station reports it and opens the engine again with back-off. Then it inspects the same
    frame again; under the policy newest it gives the frame up for a newer one.

    Args:
        source: The name of the source.
        settings: How the source is inspected.
        queue: The frames of the source.
        shared_engine: The engine of all stations.
        emit: Receives each frame with its outcome.
        context: The context that the line's threads share.

    Attributes:
        settings: The settings in use, as given or as adjusted since.
        detector: The detector in use.
        scene_watch: Follows whether the scene changes or the scores drift.

    Raises:
        GoodpartsError: The recipe cannot be used.
    """

    def __init__(
        self,
        source: str,
        settings: InspectionSettings,
        queue: FrameQueue,
        shared_engine: SharedEngine,
        emit: Emit,
        context: LineContext,
    ) -> None:
        super().__init__(name=f"inspect {source}", daemon=True)
        self.source = source
        self._file_state = _file_state(settings.recipe)  # taken first: a replacement while it is read is noticed
        self.detector = settings.open_detector(shared_engine.engine)
        self.settings = settings
        self._queue, self._shared_engine, self._emit = queue, shared_engine, emit
        self._context, self._backoff = context, context.make_backoff()
        self._smoothing = Smoothing(*settings.smoothing)
        self.scene_watch = SceneWatch(source, context.report)
        self._changing = threading.Lock()
        self._is_missing = False

    def run(self) -> None:
        while (frame := self._queue.take()) is not None:
            waited = (time.perf_counter() - frame.arrival) * 1e3
            self._emit(frame, self._inspect(frame), waited)

    def refresh(self) -> None:
        """Open the recipe's file again if it has changed. An unusable recipe is refused, and the old one stays.

        A file that is missing is reported once, and once more when it is back.
        """
        with self._changing:
            file = self.settings.recipe
            state = _file_state(file)
            if (state is None) != self._is_missing:
                self._is_missing = state is None
                self._report(
                    f"the recipe's file {file} is missing: the line goes on with the recipe that it has read"
                    if self._is_missing
                    else f"the recipe's file {file} is there again"
                )
            if state is None or state == self._file_state:
                return
            self._file_state = state
            try:
                self.detector = self.settings.open_detector(self._shared_engine.engine)
                recipe = self.detector.recipe
                message = f"now inspects {recipe.header.product} with recipe {recipe.digest[:12]} from {file.name}"
            except GoodpartsError as error:
                message = f"the changed recipe is refused, the old one stays: {error}"
        self._report(message)

    def adjust(self, threshold: float | None) -> None:
        """Multiply the recipe's threshold by a factor from the next frame on.

        The factor is kept when the recipe is replaced. It then applies to the new recipe's threshold.

        Args:
            threshold: The factor, as in InspectionSettings; None returns to the recipe's own threshold.

        Raises:
            SettingsError: The factor is not a finite number above 0.
        """
        with self._changing:
            settings = dataclasses.replace(self.settings, threshold=threshold)
            self.detector.thresholds = settings.replace_in(self.detector.recipe.header.thresholds)
            self.settings = settings

    def _inspect(self, frame: Frame) -> Outcome | None:
        """Return the outcome of a frame; None if it was given up."""
        if isinstance(frame.pixels, GoodpartsError):
            return frame.pixels
        while True:
            detector = self.detector
            try:
                height, width = frame.pixels.shape[:2]
                detector.recipe.header.view.check(height, width, frame.path or "the frame")
            except GoodpartsError as error:
                return error
            try:
                for_gpu = frame.yuv if detector.takes_yuv else None
                inspection = detector.predict(frame.pixels if for_gpu is None else for_gpu)
            except Exception as error:  # of any type: the device may be gone
                self._recover(detector, error)
                if self._context.stop.is_set() or self._queue.policy == "newest":
                    return None
                continue
            if self._backoff.reset():
                self._report("inspection works again")
            self.scene_watch.note(inspection, detector.recipe.header.calibration.image)
            return inspection, self._smoothing.decide(inspection.verdict)

    def _report(self, message: str) -> None:
        self._context.report(f"{self.source}: {message}")

    def _recover(self, failed: Detector, error: Exception) -> None:
        """Report the first failure, wait, open the engine again, and make a detector of the same recipe with it."""
        delay = self._backoff.next()
        if self._backoff.failures == 1:
            self._report(
                f"inspection failed ({one_line(error)}); will keep trying to reopen the engine, first in {delay:g} s"
            )
        self._context.stop.wait(delay)
        try:
            self._shared_engine.renew(failed.engine)
            with self._changing:
                if self.detector is failed:
                    self.detector = self.settings.make_detector(self._shared_engine.engine, failed.recipe)
        except Exception as next_error:  # the next frame tries again
            if self._backoff.failures == 1:
                self._report(f"the engine cannot be opened: {next_error}")


def _file_state(path: Path) -> _FileState | None:
    """Return values that change when a file is replaced; None while there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode
